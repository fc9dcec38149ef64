"""Observers beside the stream: in order, bounded, and harmless whatever they do."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.websocket import taps
from penstock.websocket.taps import TapQueue


async def test_calls_come_in_order_whether_awaited_or_not() -> None:
    queue = TapQueue()
    seen: list[int] = []

    async def slow(value: int) -> None:
        await asyncio.sleep(0.001)
        seen.append(value)

    for value in range(10):
        queue.put(1, slow if value % 2 else seen.append, value)
    assert seen == []
    await queue.aclose()
    assert seen == list(range(10))
    assert queue.dropped == 0


async def test_it_waits_for_more() -> None:
    queue = TapQueue()
    seen: list[int] = []
    for value in range(3):
        queue.put(1, seen.append, value)
        queue.put(1, seen.append, value)
        await asyncio.sleep(0.001)
        assert len(seen) == 2 * value + 2
    await queue.aclose()


async def test_what_was_never_used_has_no_task() -> None:
    before = asyncio.all_tasks()
    queue = TapQueue()
    assert asyncio.all_tasks() == before
    await queue.aclose()
    assert queue.dropped == 0


async def test_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    queue = TapQueue()
    seen: list[int] = []

    async def fails() -> None:
        raise ValueError

    with caplog.at_level(logging.ERROR, "penstock.websocket"):
        queue.put(1, lambda: 1 / 0)
        queue.put(1, fails)
        queue.put(1, seen.append, 1)
        await queue.aclose()
    assert len(caplog.records) == 2
    assert seen == [1]


@pytest.mark.parametrize(("size", "kept"), [(1, taps.MAX_QUEUED), (taps.MAX_QUEUED_BYTES // 4, 4)])
async def test_it_is_bounded_in_calls_and_bytes(
    size: int, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    queue = TapQueue()
    seen: list[int] = []
    with caplog.at_level(logging.WARNING, "penstock.websocket"):
        for value in range(taps.MAX_QUEUED + 10):
            queue.put(size, seen.append, value)
    assert queue.dropped == taps.MAX_QUEUED + 10 - kept
    assert len(caplog.records) == 1  # not one for each
    await queue.aclose()
    assert seen == list(range(kept))


@pytest.mark.parametrize("waiting", [0, 3])
async def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    monkeypatch.setattr(taps, "DRAIN_SECONDS", 0.02)
    queue = TapQueue()
    seen: list[int] = []
    queue.put(1, asyncio.sleep, 3600)
    await asyncio.sleep(0)
    for value in range(waiting):
        queue.put(1, seen.append, value)
    tasks = asyncio.all_tasks()
    await queue.aclose()
    assert seen == []
    assert queue.dropped == waiting
    assert len(asyncio.all_tasks()) == len(tasks) - 1


async def test_a_cancelled_close_ends_the_task_all_the_same() -> None:
    queue = TapQueue()
    queue.put(1, asyncio.sleep, 3600)
    closing = asyncio.create_task(queue.aclose())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert len(asyncio.all_tasks()) == 1
