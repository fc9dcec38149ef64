"""Large input in small pieces: right to the last byte, in a process that no quadratic algorithm finishes.

The ratio of times is measured in `benches/`. Here a child has a budget of processor time some hundred times
what linear work takes: it turns a quadratic loop into a failure instead of an endless run.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent

BUDGET_SECONDS = 60

CASES = {
    "one line of 16 MiB in reads of 256 bytes": """
        size = 16 * MIB - 6
        decoder.feed(b"data: ")
        for _ in range(size // 256):
            decoder.feed(b"x" * 256)
        (event,) = decoder.feed(b"\\n\\n")
        assert event.data == b"x" * (size // 256 * 256)
    """,
    "four million data lines of one event": """
        lines = b"data: x\\n" * 1024
        for _ in range(4096):
            assert decoder.feed(lines) == []
        (event,) = decoder.feed(b"\\n")
        assert event.data == b"\\n".join([b"x"] * (1 << 22))
    """,
    "data lines in reads that cut most of them": """
        text = b"data: x\\n" * (1 << 19)
        for at in range(0, len(text), 13):
            assert decoder.feed(text[at : at + 13]) == []
        (event,) = decoder.feed(b"\\n")
        assert event.data == b"\\n".join([b"x"] * (1 << 19))
    """,
    "sixteen million bytes of comments": """
        comments = b": x\\n" * 4096
        for _ in range(1024):
            decoder.feed(comments)
        assert decoder.comments == 4096 * 1024
    """,
    "a comment of 32 MiB in reads of 256 bytes": """
        decoder.feed(b": ")
        for _ in range(32 * MIB // 256):
            decoder.feed(b"x" * 256)
        (event,) = decoder.feed(b"\\ndata: x\\n\\n")
        assert (event.data, decoder.comments) == (b"x", 1)
    """,
    "a million events in one chunk": """
        events = decoder.feed(b"data: x\\n\\n" * (1 << 20))
        assert len(events) == decoder.events == 1 << 20
        assert events[-1].data == b"x"
    """,
    "blank lines": """
        decoder.feed(b"\\n" * (8 * MIB))
        decoder.feed(b"\\r" * (8 * MIB))
        (event,) = decoder.feed(b"data: x\\r\\n\\r\\n")
        assert event.data == b"x"
    """,
    "a string of 8 MiB of escapes": """
        value = Event(b'"' + b"\\\\n" * (4 * MIB) + b'"').json()
        assert value == "\\n" * (4 * MIB)
    """,
    "a string of 12 MiB of surrogate pairs": """
        value = Event(b'"' + b"\\\\ud83d\\\\ude00" * MIB + b'"').json()
        assert value == "\\U0001f600" * MIB
    """,
    "a string of broken bytes": """
        value = Event(b'"' + b"\\xff" * (4 * MIB) + b'"').json()
        assert value == "\\ufffd" * (4 * MIB)
    """,
    "one key a million times": """
        assert Event(b"{" + b'"a":1,' * MIB + b'"a":2}').json() == {"a": 2}
    """,
    "half a million keys": """
        text = "{" + ",".join(f'"k{n}":{n}' for n in range(MIB // 2)) + "}"
        value = Event(text).json()
        assert len(value) == MIB // 2 and value[f"k{MIB // 2 - 1}"] == MIB // 2 - 1
    """,
    "a million small containers": """
        assert Event(b"[" + b"[],{}," * MIB + b"0]").json() == [[], {}] * MIB + [0]
    """,
    "white space": """
        assert Event(b" " * (8 * MIB) + b"[" + b"\\n" * (8 * MIB) + b"]").json() == []
    """,
    "a delta of 8 MiB behind a million fields": """
        text = b"{" + b'"f":[0],' * MIB + b'"delta":"' + b"\\\\u0041" * MIB + b'"}'
        event = Event(text)
        assert event.delta == "A" * MIB and event.type == "message"
    """,
    "ndjson lines in reads of 7 bytes": """
        decoder = Decoder(framing="ndjson")
        text = b'{"a":1}\\n' * MIB
        seen = 0
        for at in range(0, len(text), 7):
            seen += len(decoder.feed(text[at : at + 7]))
        assert seen == MIB
    """,
}


@pytest.mark.parametrize("name", CASES)
def test_a_linear_reader_finishes(name: str) -> None:
    head = """
        import resource
        from penstock import Decoder, Event, Limits
        resource.setrlimit(resource.RLIMIT_CPU, (BUDGET, BUDGET))
        MIB = 1 << 20
        decoder = Decoder(limits=Limits(max_line_bytes=None, max_event_bytes=None, max_idle_bytes=None))
    """.replace("BUDGET", str(BUDGET_SECONDS))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(CASES[name])],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
