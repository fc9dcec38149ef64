"""What iterating a stream costs on top of decoding it: the reference is the same reads by a bare decoder.

The source has its next chunk at hand whenever it is asked, so what is measured is the stream's own work and
not an event loop's or a client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import process_time
from typing import Any

import pytest

from benches import peers, rows
from benches.measure import Measure
from benches.rows import Row
from benches.streams import BUFFER_BYTES, RECORDINGS, SEGMENT_BYTES, SOURCES, Source, events, joined, load
from benches.test_decode import EVENTS
from penstock import AsyncStream, Stream

pytestmark = [
    pytest.mark.benchmark(timer=process_time),
    pytest.mark.parametrize("source", SOURCES),
]


class Arrivals:
    """Chunks that have arrived already, with the reading side of an aiohttp body."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = iter(chunks)

    async def readany(self) -> bytes:
        return next(self._chunks, b"")

    def set_exception(self, error: BaseException) -> None:
        raise error


async def by_batches(streams: peers.Streams) -> list[Any]:
    last = []
    for stream in streams:
        kind = None
        async with AsyncStream(Arrivals(stream.chunks), dialect=None) as reading:
            async for batch in reading.batches():
                for event in batch:
                    kind = event.type
                    event.delta  # noqa: B018 - reading it is the work
        last.append(kind)
    return last


async def by_events(streams: peers.Streams) -> list[Any]:
    last = []
    for stream in streams:
        kind = None
        async with AsyncStream(Arrivals(stream.chunks), dialect=None) as reading:
            async for event in reading:
                kind = event.type
                event.delta  # noqa: B018 - reading it is the work
        last.append(kind)
    return last


def blocking(streams: peers.Streams) -> list[Any]:
    last = []
    for stream in streams:
        kind = None
        with Stream(stream.chunks, dialect=None) as reading:
            for event in reading:
                kind = event.type
                event.delta  # noqa: B018 - reading it is the work
        last.append(kind)
    return last


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("row", "reader", "read_bytes"),
    [
        (rows.ASYNC_BATCHES, by_batches, SEGMENT_BYTES),
        (rows.ASYNC_BATCHES_64K, by_batches, BUFFER_BYTES),
        (rows.ASYNC_EVENTS, by_events, SEGMENT_BYTES),
        (rows.ASYNC_EVENTS_64K, by_events, BUFFER_BYTES),
    ],
    ids=["batches", "batches-64k", "events", "events-64k"],
)
def test_async(
    measure: Measure,
    loop: asyncio.AbstractEventLoop,
    source: Source,
    row: Row,
    reader: Callable[[peers.Streams], Awaitable[list[Any]]],
    read_bytes: int,
) -> None:
    def read(streams: peers.Streams) -> list[Any]:
        return loop.run_until_complete(reader(streams))

    beside_decoding(measure, source, row, read, read_bytes)


def test_blocking(measure: Measure, source: Source) -> None:
    beside_decoding(measure, source, rows.BLOCKING, blocking, SEGMENT_BYTES)


def beside_decoding(
    measure: Measure,
    source: Source,
    row: Row,
    reader: Callable[[peers.Streams], list[Any]],
    read_bytes: int,
) -> None:
    streams = joined(load(source, "responses"), read_bytes)
    if not streams:
        pytest.skip(f"no recordings in {RECORDINGS}")
    decode = EVENTS.prepare(streams)
    result = measure(
        row,
        source,
        EVENTS.name,
        EVENTS.version,
        lambda: reader(streams),
        reference=decode,
        per=events(streams),
    )
    assert result == decode()
