"""What it costs to pass a stream through, to give it to many, and to answer a request with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from time import process_time
from typing import Any

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import PYTHON, Contender, Pass, Streams
from benches.rows import QUEUES, STARLETTE
from benches.streams import SOURCES, Source
from penstock import Broadcast, Relay, synthesize

SUBSCRIBERS = 500
TOKENS = 200
"""Deltas of one pass; each is published in a turn of the loop of its own, as they come from a model."""


def frames() -> list[bytes]:
    text = "".join(f"{number:05d}" for number in range(TOKENS))
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {"id": "m", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    response = {"id": "r", "object": "response", "status": "completed", "output": [message]}
    return list(synthesize(response, format="sse"))


FRAMES = frames()


def relayed(streams: Streams) -> Pass:
    def run() -> int:
        events = 0
        for stream in streams:
            relay = Relay()
            for chunk in stream.chunks:
                relay.feed(chunk)
            events += relay.events
        return events

    return run


RELAY = Contender("penstock", "penstock", relayed)


@pytest.mark.benchmark(timer=process_time)
@pytest.mark.parametrize("source", SOURCES)
def test_relay(race: Callable[..., None], source: Source) -> None:
    race(rows.RELAY, source, "responses", RELAY, RELAY)


def broadcast(_: Streams) -> Pass:
    async def consume(subscription: Any) -> int:
        size = 0
        async for chunk in subscription:
            size += len(chunk)
        return size

    async def fan_out() -> int:
        stream = Broadcast(dialect="responses")
        subscriptions = [stream.subscribe() for _ in range(SUBSCRIBERS)]
        consumers = [asyncio.ensure_future(consume(subscription)) for subscription in subscriptions]
        await asyncio.sleep(0)
        for frame in FRAMES:
            await stream.publish(frame)
            await asyncio.sleep(0)
        await stream.finish()
        return len(set(await asyncio.gather(*consumers)))

    return lambda: asyncio.run(fan_out())


def queues(_: Streams) -> Pass:
    """A queue a subscriber, as most applications have it; nobody can join late or come back."""

    async def consume(queue: asyncio.Queue[bytes]) -> int:
        size = 0
        while frame := await queue.get():
            size += len(frame)
        return size

    async def fan_out() -> int:
        subscribers: list[asyncio.Queue[bytes]] = [asyncio.Queue(256) for _ in range(SUBSCRIBERS)]
        consumers = [asyncio.ensure_future(consume(queue)) for queue in subscribers]
        await asyncio.sleep(0)
        for frame in [*FRAMES, b""]:
            for queue in subscribers:
                queue.put_nowait(frame)
            await asyncio.sleep(0)
        return len(set(await asyncio.gather(*consumers)))

    return lambda: asyncio.run(fan_out())


OURS = Contender("penstock", "penstock", broadcast)
PLAIN = Contender(QUEUES, PYTHON, queues)


@pytest.mark.benchmark(timer=process_time)
@pytest.mark.parametrize("who", [OURS, PLAIN], ids=str)
def test_broadcast(measure: Measure, who: Contender) -> None:
    run, reference = who.prepare([]), None if who is OURS else OURS.prepare([])
    per = SUBSCRIBERS * len(FRAMES)
    assert measure(rows.BROADCAST, "generated", who.name, who.version, run, reference=reference, per=per) == 1


async def stream() -> AsyncIterator[bytes]:
    for frame in FRAMES:
        yield frame


def responding(make: Callable[[Any], Any]) -> Callable[[Streams], Pass]:
    """One response after the other, over ASGI calls that a server would make."""

    async def receive() -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    async def respond() -> int:
        sent = 0

        async def send(message: Any) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "headers": []}
        await make(stream())(scope, receive, send)
        return sent

    return lambda _streams: lambda: asyncio.run(respond())


def ours(source: Any) -> Any:
    from penstock.asgi import EventStreamResponse  # noqa: PLC0415 - only it needs the peer

    return EventStreamResponse(source, dialect="responses")


def starlette(source: Any) -> Any:
    from starlette.responses import StreamingResponse  # noqa: PLC0415

    return StreamingResponse(source, media_type="text/event-stream")


RESPONSES = [
    Contender("penstock", "penstock", responding(ours)),
    Contender(STARLETTE, "starlette", responding(starlette)),
]


@pytest.mark.benchmark(timer=process_time)
@pytest.mark.parametrize("who", RESPONSES, ids=str)
def test_response(measure: Measure, who: Contender) -> None:
    if not who.installed:
        pytest.skip(f"{who.distribution} is not installed")
    run = who.prepare([])
    reference = None if who is RESPONSES[0] else RESPONSES[0].prepare([])
    per = len(FRAMES)
    sent = measure(rows.RESPONDING, "generated", who.name, who.version, run, reference=reference, per=per)
    assert sent == sum(map(len, FRAMES))
