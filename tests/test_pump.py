"""Readers beside the stream: bounded, faithful, and gone when the stream is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from faces import LETTER, Chunks, silent_after
from upstream import delta

from penstock import pump
from penstock.errors import (
    IncompleteStream,
    StreamTimeout,
)
from penstock.stream import AsyncStream, Stream


async def test_pump_reads_ahead_no_more_than_its_bound() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield LETTER

    async with AsyncStream(endless(), dialect=None) as stream:
        batch = await anext(stream.batches())
        await asyncio.sleep(0.01)
        ahead = (given - len(batch)) * len(LETTER)
        assert len(batch) * len(LETTER) <= pump.HIGH_WATER + len(LETTER)
        assert ahead <= pump.HIGH_WATER + len(LETTER)
        await anext(stream.batches())


def test_thread_reads_ahead_no_more_than_its_bound() -> None:
    given = 0

    def endless() -> Iterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield LETTER

    with Stream(endless(), dialect=None, idle_timeout=30) as stream:
        taken = len(next(stream.batches()))
        for _ in range(3):
            time.sleep(0.05)
            assert (given - taken) * len(LETTER) <= pump.HIGH_WATER + 2 * len(LETTER)
            taken += len(next(stream.batches()))


@pytest.mark.parametrize("options", [{}, {"idle_timeout": 30}], ids=["direct", "pumped"])
def test_buffer_that_is_filled_anew(options: Any) -> None:
    """A source may reuse its buffer once it is asked for the next chunk."""

    def reusing() -> Iterator[memoryview]:
        buffer = bytearray(len(LETTER))
        for letter in "abc":
            buffer[:] = delta(letter)
            yield memoryview(buffer)

    assert [event.delta for event in Stream(reusing(), **options)] == ["a", "b", "c"]


async def test_buffer_that_is_filled_anew_async() -> None:
    async def reusing() -> AsyncIterator[bytearray]:
        buffer = bytearray(len(LETTER))
        for letter in "abc":
            buffer[:] = delta(letter)
            yield buffer

    assert [event.delta async for event in AsyncStream(reusing())] == ["a", "b", "c"]


@pytest.mark.parametrize("error", [ValueError("theirs"), ConnectionResetError()])
def test_thread_hands_errors_over(error: Exception) -> None:
    def failing() -> Iterator[bytes]:
        yield LETTER
        raise error

    stream = Stream(failing(), idle_timeout=30)
    assert next(stream).delta == "a"
    with pytest.raises((ValueError, IncompleteStream)) as caught:
        next(stream)
    assert error in (caught.value, caught.value.__cause__)


def test_pumped_stream_closed_before_its_first_read() -> None:
    source, leave = silent_after(LETTER)
    with pytest.warns(ResourceWarning, match="unclosed"):
        Stream(source, idle_timeout=30)
    with Stream(source, idle_timeout=30) as stream:
        pass
    assert list(stream) == []
    leave.set()


async def test_cancelled_pump_is_not_the_end_of_the_stream() -> None:
    """Whoever cancels every task cancels the pump; the stream must not pass for complete."""

    async def endless() -> AsyncIterator[bytes]:
        yield LETTER
        await asyncio.sleep(30)

    stream = AsyncStream(endless())
    await anext(stream)
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()
    with pytest.raises(IncompleteStream):
        await anext(stream)


async def test_pump_cancelled_before_its_first_step_lets_go_all_the_same() -> None:
    closed = 0

    class Source:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield LETTER

        async def aclose(self) -> None:
            nonlocal closed
            closed += 1

    stream = AsyncStream(Source())
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    await stream.aclose()
    assert closed


async def test_aclose_does_not_wait_for_a_stubborn_source_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "CLOSE_SECONDS", 0.05)
    leave = asyncio.Event()

    async def stubborn() -> AsyncIterator[bytes]:
        while not leave.is_set():
            yield LETTER
            with suppress(asyncio.CancelledError):
                await leave.wait()

    stream = AsyncStream(stubborn())
    await anext(stream)
    await asyncio.wait_for(stream.aclose(), 5)
    leave.set()
    await asyncio.sleep(0.01)


async def test_aclose_of_a_source_that_hangs_in_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "CLOSE_SECONDS", 0.05)

    class Hanging:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield LETTER

        async def aclose(self) -> None:
            await asyncio.sleep(30)

    stream = AsyncStream(Hanging())
    assert [event.delta async for event in stream] == ["a"]
    await asyncio.wait_for(stream.aclose(), 5)


def test_thread_gives_up_at_a_deadline() -> None:
    source, leave = silent_after(LETTER)
    stream = Stream(source, idle_timeout=0.1)
    assert next(stream).delta == "a"
    with pytest.raises(StreamTimeout):
        next(stream)
    leave.set()


async def test_closing_before_and_after_reading() -> None:
    async with AsyncStream(Chunks(LETTER)):
        pass
    async with AsyncStream(Chunks(b"", LETTER, b"")) as stream:
        assert len([event async for event in stream]) == 1
        await asyncio.sleep(0.01)


def test_where_no_loop_runs() -> None:
    AsyncStream(Chunks(LETTER))  # dropped at once


async def test_task_gives_up_at_a_deadline() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield LETTER
        await asyncio.sleep(30)

    async with AsyncStream(silent(), idle_timeout=0.1) as stream:
        assert (await anext(stream)).delta == "a"
        with pytest.raises(StreamTimeout):
            await anext(stream)


@pytest.mark.parametrize("error", [ValueError("theirs"), KeyError("theirs")])
async def test_task_hands_errors_over(error: Exception) -> None:
    stream = AsyncStream(Chunks(LETTER, error=error))
    assert (await anext(stream)).delta == "a"
    with pytest.raises(type(error)):
        await anext(stream)


async def test_cancelled_closing_is_done_all_the_same() -> None:
    closed = asyncio.Event()

    class Slow:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield LETTER
            await asyncio.sleep(30)

        async def aclose(self) -> None:
            await asyncio.sleep(0.05)
            closed.set()

    stream = AsyncStream(Slow())
    await anext(stream)
    closing = asyncio.create_task(stream.aclose())
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert closed.is_set()


async def test_reader_awaited_directly() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(LETTER)
    stream = AsyncStream(reader, idle_timeout=0.1)
    assert (await anext(stream)).delta == "a"
    with pytest.raises(StreamTimeout):
        await anext(stream)
    await stream.aclose()


async def test_abandoned_streams_leave_nothing_behind() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(LETTER)
    direct, pumped = AsyncStream(reader, idle_timeout=0.05), AsyncStream(Chunks(LETTER, LETTER))
    await anext(direct)
    await anext(pumped)
    del direct
    with pytest.warns(ResourceWarning, match="unclosed"):
        del pumped
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_source_that_lets_go_by_itself_is_not_cut_short() -> None:
    """As a response of httpx does at the end of its body; its place in the pool would never be free again."""

    class Source:
        is_closed = False
        freed = False

        async def aiter_bytes(self) -> AsyncIterator[bytes]:
            yield delta("hi")
            self.is_closed = True
            await asyncio.sleep(0.05)
            self.freed = True

    source = Source()
    stream = AsyncStream(source)
    await anext(stream)
    await asyncio.sleep(0.01)
    assert source.is_closed
    await stream.aclose()
    assert source.freed
