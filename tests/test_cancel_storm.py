"""Cancels without mercy, row 16 of the scoreboard: no event lost or doubled, nothing left, no word on stderr.

Most of the hundred thousand fall on a session over a scripted transport that suspends at random, so that
every await is met; some thousands on real sockets, with asyncio's loop and with uvloop.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
import uvloop

from penstock import Event, Limits
from penstock.replay import ReplayServer
from penstock.session import ResponsesSession, Turn
from penstock.session.failures import ConnectionGone
from penstock.session.link import Connection

JSON = dict[str, Any]

CANCELS = 50_000
"""Per loop: a hundred thousand in all."""

LENGTH = 12

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Injector:
    """A transport that answers by itself, and gives up the loop wherever it may."""

    keeps_state = True

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._made = 0
        self.alive = True
        self.sent: list[JSON] = []

    async def _falter(self) -> None:
        for _ in range(self._chance.choice((0, 0, 0, 1, 1, 2))):
            await asyncio.sleep(0)

    def _say(self, kind: str, number: int, **fields: Any) -> None:
        body = {"type": f"response.{kind}", "sequence_number": number, "mark": self._made, **fields}
        self._events.append(Event(json.dumps(body)))

    async def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append({**message})
        if message["type"] == "response.create":
            self._made += 1
            response = {"id": f"r{self._made}", "output": []}
            self._say("created", 0, response=response)
            for number in range(1, LENGTH - 1):
                self._say("output_text.delta", number, output_index=0, item_id=f"m{self._made}", delta="x")
            self._say("completed", LENGTH - 1, response=response)
            self._arrived.set()
        await self._falter()

    async def receive(self) -> list[Event]:
        await self._falter()
        while not self._events:
            self._arrived.clear()
            if not self.alive:
                raise ConnectionGone
            await self._arrived.wait()
        count = self._chance.randint(1, len(self._events))
        return [self._events.popleft() for _ in range(count)]

    def abort(self) -> None:
        self.alive = False
        self._arrived.set()

    async def aclose(self) -> None:
        self.abort()


async def take(turn: Turn, chance: random.Random, cancels: list[int], most: int | None = None) -> list[Event]:
    """Take a turn's events, every wait cancelled as often as not, at any of its awaits."""
    seen: list[Event] = []
    while most is None or len(seen) < most:
        task = asyncio.ensure_future(anext(turn, None))
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        for _ in range(chance.choice((0, 1, 1, 2))):
            cancels[0] += task.cancel()
        try:
            event = await task
        except asyncio.CancelledError:
            continue
        if event is None:
            break
        seen.append(event)
    return seen


async def stop(turn: Turn, chance: random.Random, cancels: list[int]) -> None:
    """Cancel a turn, in a task that may be cancelled itself."""
    task = asyncio.ensure_future(turn.cancel())
    for _ in range(chance.randint(0, 2)):
        await asyncio.sleep(0)
    cancels[0] += task.cancel() if chance.random() < 0.5 else 0
    await asyncio.wait([task])


def check(seen: list[Event]) -> None:
    assert [event.sequence_number for event in seen] == list(range(LENGTH))
    assert len({event["mark"] for event in seen}) == 1
    assert [event.type for event in seen].count("response.completed") == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_no_event_is_lost_or_doubled_however_waits_are_cancelled(
    loop: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def storm() -> int:
        chance, cancels, turns = random.Random(16), [0], 0  # noqa: S311 - a storm that can be had again
        injector = Injector(chance)
        talk = ResponsesSession("https://nowhere", None, "m")
        talk._pool._connections.append(Connection(injector, Limits(), 1))
        async with talk:
            while cancels[0] < CANCELS:
                turn = talk.create("go")
                if chance.random() < 0.3:
                    seen = await take(turn, chance, cancels, chance.randint(0, LENGTH))
                    assert [event.sequence_number for event in seen] == list(range(len(seen)))
                    if chance.random() < 0.7:  # else the next turn finds it unfinished
                        await stop(turn, chance, cancels)
                else:
                    check(await take(turn, chance, cancels))
                turns += turn.figures.attempts
                assert turn.figures.attempts <= 1
            assert [message["type"] for message in injector.sent].count("response.create") == turns
            assert len(asyncio.all_tasks()) == 1
        return cancels[0]

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(storm()) >= CANCELS
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("loop", LOOPS)
def test_lanes_lose_nothing_either(loop: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the connection may be cancelled at any moment; another then reads on."""

    async def storm() -> None:
        chance, cancels = random.Random(7), [0]  # noqa: S311
        async with (
            ReplayServer() as server,
            ResponsesSession(server.base_url, None, "replay-echo", connect_options={"proxy": None}) as talk,
        ):

            async def lane(name: str) -> None:
                for number in range(120):
                    words = f"{name} says {number}"
                    turn = talk.create(words, stream_id=name)
                    seen = await take(turn, chance, cancels)
                    assert [event.sequence_number for event in seen] == list(range(len(seen)))
                    assert {event.stream_id for event in seen} == {name}
                    assert "".join(event.delta or "" for event in seen) == words

            await asyncio.gather(*(lane(name) for name in ("a", "b", "c", "d")))
            assert (talk.connections, server.stats.requests) == (1, 481)
            assert len(asyncio.all_tasks()) <= 4
        assert cancels[0] > 2_000

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(storm())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", ["websocket", "http"])
def test_turns_that_are_cut_off_anywhere_leave_nothing_behind(
    loop: str, transport: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Interruptions as in speech: half of the turns are cancelled somewhere, the next must be its own."""

    async def storm() -> None:
        chance = random.Random(3)  # noqa: S311
        async with ReplayServer() as server:
            # Two slots: one that a cancel leaves occupied would soon be missed.
            slots = httpx.Limits(max_connections=2)
            client = httpx.AsyncClient(trust_env=False, limits=slots, timeout=5)
            talk = ResponsesSession(
                server.base_url,
                None,
                "replay-echo",
                transport=transport,
                client=client,
                drain_timeout=5,
                connect_options={"proxy": None},
            )
            async with client, talk:
                for number in range(250):
                    turn = talk.create(f"speech {number}", model="replay-echo+tokens=40")
                    count = chance.randint(0, 30)
                    if count < 15:
                        reader = asyncio.ensure_future(_some(turn, count))
                        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.003)))
                        reader.cancel()
                        await asyncio.wait([reader])
                        await turn.cancel()
                    else:
                        seen = [event async for event in turn]
                        assert [event.sequence_number for event in seen] == list(range(len(seen)))
                        assert seen[-1].type == "response.completed"
                        assert turn.output_text.startswith(f"speech {number}")
                assert transport == "http" or talk.connections == 1
            for _ in range(500):
                if not server._open:
                    break
                await asyncio.sleep(0.01)
            assert (server.stats.active, len(server._open)) == (0, 0)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(storm())
    assert capfd.readouterr().err == ""


async def _some(turn: Turn, count: int) -> None:
    async for _ in turn:
        count -= 1
        if count <= 0:
            return
