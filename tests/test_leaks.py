"""What 100,000 streams leave behind in one process: at most 4 MiB, no connection, no warning.

Each kind of stream runs in a process of its own, most of them cut, abandoned or broken in a way of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

HERE = Path(__file__).parent
ALLOWED_BYTES = 4 << 20
STREAMS = 100_000

HEAD = """
    import asyncio, gc, json, sys, warnings
    from flood import memory
    from penstock import *

    warnings.simplefilter("error")  # a ResourceWarning in `__del__` reaches the hook as an exception
    left = []
    sys.unraisablehook = lambda raised: left.append(repr(raised.exc_value))

    def event(type, **members):
        return b"data: " + json.dumps({"type": type, **members}).encode() + b"\\n\\n"

    RESPONSE = {"id": "r", "object": "response", "status": "in_progress", "output": []}
    DELTA = event("response.output_text.delta", output_index=0, content_index=0, item_id="m", delta="Hello")
    WHOLE = [
        event("response.created", response=RESPONSE) + DELTA,
        DELTA + event("response.completed", response=RESPONSE | {"status": "completed"}),
    ]
    CUT = [WHOLE[0], DELTA[:20]]

    def grown(streams, many):
        many(streams // 10)
        gc.collect()
        start = memory("VmRSS")
        many(streams)
        gc.collect()
        print(json.dumps([memory("VmRSS") - start, left]))
"""

KINDS = {
    "decoders": """
        def many(count):
            for number in range(count):
                decoder = Decoder()
                for chunk in WHOLE if number % 2 else CUT:
                    for event in decoder.feed(chunk):
                        event.type, event.delta, event.json()
    """,
    "accumulators": """
        def many(count):
            for number in range(count):
                accumulator = ResponseAccumulator()
                for chunk in WHOLE if number % 2 else CUT:
                    accumulator.feed(chunk)
                accumulator.finish()
                accumulator.snapshot(), accumulator.output_text, accumulator.function_calls
    """,
    "streams": """
        def many(count):
            for number in range(count):
                stream = Stream(iter(WHOLE if number % 4 else CUT))
                for event in stream:
                    if number % 8 == 1:
                        break  # and never closed
                else:
                    try:
                        stream.final()
                    except IncompleteStream:
                        assert number % 4 == 0
    """,
    "async-streams": """
        class Chunks:
            def __init__(self, chunks):
                self.chunks = iter(chunks)

            def __aiter__(self):
                return self

            async def __anext__(self):
                for chunk in self.chunks:
                    return chunk
                raise StopAsyncIteration

        async def read(number):
            async with AsyncStream(Chunks(WHOLE if number % 4 else CUT)) as stream:
                async for batch in stream.batches():
                    if number % 8 == 1:
                        return
                try:
                    await stream.final()
                except IncompleteStream:
                    assert number % 4 == 0

        def many(count):
            async def run():
                for number in range(count):
                    await read(number)
                return len(asyncio.all_tasks())
            assert asyncio.run(run()) == 1
    """,
}


@pytest.mark.parametrize("kind", KINDS)
def test_streams_leave_nothing_behind(kind: str) -> None:
    code = textwrap.dedent(HEAD) + textwrap.dedent(KINDS[kind]) + f"\ngrown({STREAMS}, many)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2_000:]
    bytes_grown, warned = json.loads(done.stdout)
    assert warned == []
    assert bytes_grown <= ALLOWED_BYTES
