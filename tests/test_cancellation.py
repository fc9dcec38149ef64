"""Cancellation at every await, once, twice and thrice: no event lost or doubled, no pool slot, task or fd
leaked.

`PENSTOCK_CANCELLATIONS` sets the number of runs (default 2,000, shared by all cases).
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import aiohttp
import clients
import httpx
import httpx2
import pytest
import uvloop
from upstream import KEEP, STALL, Step, Upstream, chunked, head, responses_stream

from penstock.stream import AsyncStream, Stream

RUNS = int(os.environ.get("PENSTOCK_CANCELLATIONS", "2000"))
EVENTS = responses_stream(" ".join(f"word{number}" for number in range(12)))
SEEN = [event.data for event in Stream(EVENTS)]

Open = Callable[[], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def _httpx_client(module: Any, url: str) -> AsyncIterator[Open]:
    limits, patience = module.Limits(max_connections=1), module.Timeout(5, pool=2)
    async with module.AsyncClient(limits=limits, timeout=patience, trust_env=False) as client:
        yield lambda: client.stream("GET", url)


@asynccontextmanager
async def _aiohttp_client(url: str) -> AsyncIterator[Open]:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5)) as session:
        yield lambda: session.get(url)


@asynccontextmanager
async def _generator(_url: str) -> AsyncIterator[Open]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async def generate() -> AsyncIterator[bytes]:
            for number, one in enumerate(EVENTS):
                for _ in range(number % 3):
                    await asyncio.sleep(0)
                yield one

        yield generate()

    yield opened


@asynccontextmanager
async def _reader(url: str) -> AsyncIterator[Open]:
    yield lambda: clients.asyncio_reader(url)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "httpx": lambda url: _httpx_client(httpx, url),
    "httpx2": lambda url: _httpx_client(httpx2, url),
    "aiohttp": _aiohttp_client,
    "generator": _generator,
    "asyncio": _reader,
}


def plan(run: int) -> list[int]:
    """One, two or three cancellations, in turns of the event loop since the last.

    The first visits every turn of a stream's life, the others follow closely.
    """
    first, count = run // 3 % 60, run % 3
    return [first, *(run // 7 % 5, run // 35 % 4)[:count]]


async def cancel(task: asyncio.Task[None], pauses: list[int]) -> None:
    for pause in pauses:
        for _ in range(pause):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def storm(
    client: str,
    loop: Any,
    upstream: Upstream,
    steps: list[Step],
    consume: Callable[[Any], Coroutine[Any, Any, None]],
) -> None:
    complaints: list[Any] = []
    url = upstream.url(steps)

    async def main() -> None:
        before = 0
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with CLIENTS[client](url) as opened:
            for run in range(max(RUNS // (2 * 2 * len(CLIENTS)), 1)):
                # Only what is done with the response is cancelled: clients leak slots of their own accord
                # when they are cancelled while they connect.
                async with opened() as source:
                    await cancel(asyncio.ensure_future(consume(source)), plan(run))
                before = before or descriptors()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert upstream.settled()
        assert descriptors() <= before

    with warnings.catch_warnings(action="error"), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert complaints == []


each_client = pytest.mark.parametrize("client", CLIENTS)
each_loop = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def answer(client: str, events: list[bytes], last: Step) -> list[Step]:
    """In uneven pieces, for some of which the client has to wait."""
    pieces = [b"".join(events[:5]), *events[5:9], b"".join(events[9:])]
    steps = [head(), *pieces] if client == "asyncio" else chunked(pieces)[: None if last == KEEP else -1]
    return [*steps[:3], 0.001, *steps[3:], *([] if client == "asyncio" and last == KEEP else [last])]


@each_client
@each_loop
def test_no_event_is_lost_or_doubled(client: str, loop: Any, upstream: Upstream) -> None:
    """The consumer shrugs each cancellation off and asks again."""

    async def consume(source: Any) -> None:
        seen: list[bytes] = []
        stream = AsyncStream(source)
        ended = False
        while not ended:
            try:
                seen.append((await anext(stream)).data)
            except asyncio.CancelledError:
                pass
            except StopAsyncIteration:
                ended = True
        assert seen == SEEN
        final = None
        while final is None:
            with suppress(asyncio.CancelledError):
                final = await stream.final()
        assert final["status"] == "completed"
        await stream.aclose()

    storm(client, loop, upstream, answer(client, EVENTS, KEEP), consume)


@each_client
@each_loop
def test_nothing_is_leaked(client: str, loop: Any, upstream: Upstream) -> None:
    """The consumer dies at once, in the middle of the stream or of its closing.

    The client's pool has one slot, so a leak fails the next run.
    """

    async def consume(source: Any) -> None:
        try:
            async with AsyncStream(source) as stream:
                async for _event in stream:
                    pass
        finally:
            # What the client's own context manager does next, in the task that is still being cancelled.
            if hasattr(source, "aclose"):
                await source.aclose()

    storm(client, loop, upstream, answer(client, EVENTS[:12], STALL), consume)
