"""Memory under hostile input: endless floods, deep nesting on a small stack, what repeated use leaves behind.

Each test runs in a process of its own: a crash is then a failure, and the peak is the decoder's alone.
"""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from flood import FLOODS, MIB, NDJSON_FLOODS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

HERE = Path(__file__).parent

ALLOWED_GROWTH = 24 * MIB
LIMITS = {
    "line": "max_line_bytes",
    "unknown-line": "max_idle_bytes",
    "data-lines": "max_event_bytes",
    "empty-data-lines": "max_event_bytes",
    "ndjson-line": "max_line_bytes",
    "ndjson-spaces": "max_line_bytes",
}
VALUES = {"max_line_bytes": 16 * MIB, "max_event_bytes": 16 * MIB, "max_idle_bytes": MIB}


def child(*arguments: str) -> Any:
    """Run a Python process to its end and read the JSON it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=HERE, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("size", [1024, 16 * 1024, MIB])
@pytest.mark.parametrize("kind", [*FLOODS, *NDJSON_FLOODS])
def test_endless_input_ends_in_a_typed_error(kind: str, size: int) -> None:
    result = child("flood.py", kind, str(size))
    limit = LIMITS.get(kind, "max_idle_bytes")
    assert result["limit"] == limit
    assert result["grown"] <= ALLOWED_GROWTH
    # A line of `data: x` gives two bytes of payload, so the stream is longer than what is held of it.
    heads_and_ends = 8 if limit == "max_event_bytes" else 1
    assert result["offset"] <= (VALUES[limit] + 16) * heads_and_ends
    assert result["fed"] <= result["offset"] + 2 * size


@pytest.mark.parametrize("kind", ["line", "data-lines", "comments", "unknown-fields"])
def test_single_bytes_hold_no_more(kind: str) -> None:
    result = child("flood.py", kind, "1", str(4 * MIB))
    assert result["limit"] == (None if kind in ("line", "data-lines") else "max_idle_bytes")
    assert result["grown"] <= ALLOWED_GROWTH


def script(body: str) -> Any:
    """Run lines of Python in a child that knows `penstock` and `memory`."""
    head = "import json, sys\nfrom flood import MIB, memory\nfrom penstock import *\n"
    return child("-c", head + textwrap.dedent(body))


def test_nesting_of_100_000_levels_on_a_stack_of_128_kib() -> None:
    shapes = script("""
        import threading
        results = []

        def read():
            for unit, close in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")):
                for text in (unit * 100_000, unit * 100_000 + b"1" + close * 100_000):
                    event = Event(text)
                    try:
                        event.json()
                    except LimitExceeded as exceeded:
                        results.append(exceeded.limit)
                    (row,) = Decoder().feed(b"data: " + text + b"\\n\\n", fields=("type", "delta"))
                    results.append(row)
                    results.append([event.type, event.delta, len(repr(event)) < 1000])
                    flushed = Decoder(eof="flush")
                    flushed.feed(b"data: " + text)
                    results.append(len(flushed.finish()))
            nested = Event(b"[" * 128 + b"]" * 128).json()
            results.append(repr(nested) == "[" * 128 + "]" * 128)

        threading.stack_size(128 * 1024)
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        print(json.dumps(results))
    """)
    assert shapes == ["max_depth", ["message", None], ["message", None, True], 0] * 6 + [True]


@pytest.mark.parametrize(
    "work",
    [
        'Decoder().feed(b\'event: n\\nid: 1\\ndata: {"type":"x","delta":"y"}\\n\\ndata: cut\')',
        '[event.json() for event in Decoder().feed(b\'data: {"a":[1,2.5,"x",{"b":null}]}\\n\\n\' * 4)]',
        "Decoder(eof='flush').feed(b'data: ' + b'x' * 70_000)",
        "refused(lambda: Event(b'[1,').json())",
        "refused(lambda: Event(b'[' * 200).json())",
        "refused(lambda: Decoder(errors='strict').feed(b'data: \\xff\\n\\n'))",
        "refused(lambda: Decoder(limits=Limits(max_line_bytes=5)).feed(b'data: 1\\n\\ndata: 1234567'))",
        "Decoder().feed(b'data: {\"type\":\"x\"}\\n\\n' * 4, fields=('type', 'delta', 'data'))",
        "[(e.type, e.delta, e['a'], e.json(), hash(e), e == e, repr(e)) for e in [Event('{\"a\":1}')]]",
        "pickle.loads(pickle.dumps(Event('{\"a\":1}', name='n', id='i')))",
    ],
)
def test_repeated_use_leaves_nothing_behind(work: str) -> None:
    grown = script(f"""
        import pickle

        def refused(call):
            try:
                call()
            except PenstockError:
                return
            raise AssertionError

        for _ in range(5_000):
            {work}
        start = memory("VmRSS")
        for _ in range(20_000):
            {work}
        print(memory("VmRSS") - start)
    """)
    assert grown <= 4 * MIB


def test_a_hundred_thousand_streams_in_one_process() -> None:
    grown = script("""
        event = b': c\\nevent: n\\nid: 1\\ndata: {"type":"x","delta":"yz"}\\n\\n'
        stream = event * 3 + b"data: cut"

        def decode(count):
            for _ in range(count):
                decoder = Decoder()
                for event in decoder.feed(stream[:50]) + decoder.feed(stream[50:]) + decoder.finish():
                    assert event.delta == "yz"

        decode(10_000)
        start = memory("VmRSS")
        decode(100_000)
        print(memory("VmRSS") - start)
    """)
    assert grown <= 4 * MIB


def test_a_small_event_does_not_keep_its_large_chunk_alive() -> None:
    grown = script("""
        decoder = Decoder()
        kept = []
        start = memory("VmRSS")
        for _ in range(64):
            chunk = b"data: small\\n\\n: " + b"c" * (900 * 1024) + b"\\n"
            kept += decoder.feed(chunk)
        assert len(kept) == 64
        print(memory("VmRSS") - start)
    """)
    assert grown <= 8 * MIB


def test_a_large_event_is_given_back() -> None:
    grown = script("""
        decoder = Decoder()
        start = memory("VmRSS")
        for _ in range(3):
            decoder.feed(b"data: ")
            for _ in range(15):
                decoder.feed(b"x" * MIB)
            (event,) = decoder.feed(b"\\n\\n")
            assert len(event.data) == 15 * MIB
            del event
        print(memory("VmRSS") - start)
    """)
    assert grown <= 4 * MIB
