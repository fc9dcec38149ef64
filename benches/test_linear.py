"""Four times the input takes four times as long, however little of it a read brings.

One event, or what comes before one, of 64 MiB beside one of 16 MiB, in reads of 1,400 bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from itertools import chain, repeat
from time import process_time

import pytest

from benches import rows
from benches.measure import Measure, Pass
from benches.streams import SEGMENT_BYTES
from penstock import Decoder, Limits, ResponseAccumulator

pytestmark = pytest.mark.benchmark(timer=process_time)

MIB = 1 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
UNLIMITED = Limits(max_line_bytes=None, max_event_bytes=None, max_idle_bytes=None, max_message_bytes=None)


@pytest.fixture(scope="module", autouse=True)
def fresh_memory() -> Iterator[None]:
    """Let every large buffer be mapped anew.

    glibc would keep one of 16 MiB for the next pass, but never one above 32 MiB: the large input alone would
    pay for page faults, which cost several times what the decoder does.
    """
    adjust_malloc(MIB, MIB)
    yield
    adjust_malloc(32 * MIB, 64 * MIB)  # where glibc's own adjustment ends


def adjust_malloc(mmap_threshold: int, trim_threshold: int) -> None:
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, mmap_threshold)
        libc.mallopt(M_TRIM_THRESHOLD, trim_threshold)
        libc.malloc_trim(0)


def one_event(head: bytes, piece: bytes, size: int) -> Pass:
    """An event that begins with `head` and goes on with `piece` until `size` bytes have come."""

    def run() -> int:
        decoder = Decoder(limits=UNLIMITED)
        decoder.feed(head)
        for _ in range(size // len(piece)):
            decoder.feed(piece)
        return len(decoder.feed(b"\n\ndata: \n\n"))

    return run


def line(size: int) -> Pass:
    return one_event(b"data: ", b"x" * SEGMENT_BYTES, size)


def data_lines(size: int) -> Pass:
    return one_event(b"", b"data: x\n" * (SEGMENT_BYTES // 8), size)


def comments(size: int) -> Pass:
    return one_event(b"", b": x\n" * (SEGMENT_BYTES // 4), size)


def arguments(size: int) -> Pass:
    """A function call of `size` bytes of arguments, accumulated and parsed as far as it has come."""
    text = b"water and wheels " * 60
    pieces = size // len(text)
    before = (
        b'data: {"type":"response.created","response":{"id":"r","object":"response","output":[]}}\n\n',
        b'data: {"type":"response.output_item.added","output_index":0,"item":{"type":"function_call",'
        b'"id":"f","call_id":"c","name":"note","arguments":"","status":"in_progress"}}\n\n',
        delta(b'{\\"text\\":\\"'),
    )

    def run() -> int:
        accumulator = ResponseAccumulator(limits=UNLIMITED)
        for chunk in chain(before, repeat(delta(text), pieces), [delta(b'\\"}')]):
            accumulator.feed(chunk)
        value = accumulator.partial_arguments(0)
        assert len(value["text"]) == pieces * len(text)
        return 1

    return run


def delta(text: bytes) -> bytes:
    return (
        b'data: {"type":"response.function_call_arguments.delta","output_index":0,"item_id":"f","delta":"'
        + text
        + b'"}\n\n'
    )


INPUTS: dict[str, Callable[[int], Pass]] = {
    "line": line,
    "data-lines": data_lines,
    "comments": comments,
    "arguments": arguments,
}


@pytest.mark.parametrize("kind", INPUTS)
def test_linear(measure: Measure, kind: str) -> None:
    unit = MIB // 64 if measure.benchmark.disabled else MIB
    small, large = (INPUTS[kind](count * unit) for count in (16, 64))
    row = rows.LINEAR[kind]
    assert measure(row, "", "penstock", version("penstock"), large, reference=small) > 0
