"""How turns share a connection: who reads, who is told, and what is left when one of them gives up.

Over a scripted transport, where each step happens when the test wants it to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import httpx
import pytest
from test_session_machine import delta, event, response

from penstock import Event, Limits
from penstock.errors import OutcomeUnknown, ResponseError, StreamTimeout
from penstock.replay import ReplayServer
from penstock.session import ResponsesSession
from penstock.session.codec import dump
from penstock.session.failures import ConnectionGone
from penstock.session.flight import Flight
from penstock.session.link import Connection
from penstock.session.over_http import HttpTransport
from penstock.session.over_websocket import WebSocketTransport

JSON = dict[str, Any]


class Script:
    """A transport whose messages the test puts in; None is its end, an error is raised."""

    keeps_state = True

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        self.sent: list[JSON] = []
        self.alive = True
        self.deaf = False
        self.readers = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        if not self.alive:
            raise ConnectionGone
        dump(message)
        self.sent.append({**message})
        if self.deaf:
            await asyncio.Event().wait()

    async def receive(self) -> list[Event]:
        assert self.readers == 0
        self.readers += 1
        try:
            message = await self.incoming.get()
        finally:
            self.readers -= 1
        if message is None:
            self.alive = False
            raise ConnectionGone(1001)
        if isinstance(message, Exception):
            raise message
        return [message]

    def abort(self) -> None:
        self.alive = False

    async def aclose(self) -> None:
        self.alive = False

    def say(self, *messages: Event | Exception | None) -> None:
        for message in messages:
            self.incoming.put_nowait(message)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def connection(script: Script) -> Connection:
    return Connection(script, Limits(), 1)


async def launched(connection: Connection, lane: str | None = None) -> Flight:
    flights: list[Flight] = []

    def begin(flight: Flight) -> dict[str, Any]:
        flights.append(flight)
        return {"type": "response.create"}

    await connection.launch(lane, begin)
    return flights[0]


def talk(script: Script, **options: Any) -> ResponsesSession:
    made = ResponsesSession("http://127.0.0.1:9", None, "m", connect_options={"proxy": None}, **options)
    made._pool._connections.append(Connection(script, Limits(), 1))
    return made


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_reads_and_hands_the_others_theirs(script: Script, connection: Connection) -> None:
    flights = [await launched(connection, lane) for lane in ("a", "b", "c")]
    waits = [asyncio.create_task(connection.wait(flight, None)) for flight in flights]
    await settled()
    script.say(response("created", "r2", "b"))
    await settled()
    assert [wait.done() for wait in waits] == [False, True, False]
    script.say(response("created", "r1", "a"), response("created", "r3", "c"))
    assert await asyncio.gather(*waits) == [True, True, True]
    assert all(len(flight.events) == 1 for flight in flights)


async def test_who_gives_up_reading_passes_it_on(script: Script, connection: Connection) -> None:
    flights = [await launched(connection, lane) for lane in ("a", "b", "c")]
    waits = [asyncio.create_task(connection.wait(flight, None)) for flight in flights]
    await settled()
    waits[0].cancel()
    await settled()
    script.say(response("created", "r3", "c"))
    assert await waits[2]
    waits[1].cancel()
    await asyncio.wait([waits[1]])
    assert script.readers == 0
    script.say(response("created", "r1", "a"))
    assert await connection.wait(flights[0], None)


async def test_who_gives_up_waiting_was_never_told(script: Script, connection: Connection) -> None:
    flights = [await launched(connection, lane) for lane in ("a", "b")]
    waits = [asyncio.create_task(connection.wait(flight, None)) for flight in flights]
    await settled()
    waits[1].cancel()
    await asyncio.wait([waits[1]])
    script.say(response("created", "r1", "a"))
    assert await waits[0]


async def test_a_turn_that_is_woken_for_nothing_waits_on(script: Script) -> None:
    async with talk(script) as made:
        turn = made.create("go")
        await turn.start()
        await turn.start()
        reading = asyncio.create_task(anext(turn))
        await settled()
        assert turn._connection is not None
        assert turn._flight is not None
        turn._connection.interrupt(turn._flight)
        await settled()
        assert not reading.done()
        script.say(response("created"))
        assert (await reading).type == "response.created"


async def test_a_closed_websocket_takes_nothing() -> None:
    async with ReplayServer() as server:
        transport = await WebSocketTransport.open(
            server.base_url.replace("http", "ws") + "/responses",
            {},
            timeout=5,
            limits=Limits(),
            options={"proxy": None},
        )
        await transport.aclose()
        with pytest.raises(ConnectionGone):
            await transport.send({"type": "response.create"})


async def test_a_request_over_http_that_is_given_up_is_at_its_end() -> None:
    async with ReplayServer(faults="delay=10") as server, httpx.AsyncClient(trust_env=False) as client:
        transport = HttpTransport(client, f"{server.base_url}/responses", {}, Limits())
        await transport.send({"type": "response.create", "model": "replay-echo", "input": "go"})
        reading = asyncio.create_task(transport.receive())
        await asyncio.sleep(0.05)
        await transport.send({"type": "response.cancel"})
        with pytest.raises(ConnectionGone):
            await reading
        await transport.aclose()
        with pytest.raises(ConnectionGone):
            await transport.receive()


async def test_a_drain_that_is_given_up_has_the_deadline_it_had(script: Script) -> None:
    async with talk(script, drain_timeout=0.2) as made:
        turn = made.create("go")
        await turn.start()
        script.say(response("created"))
        await anext(turn)
        following = made.create("on")
        began = monotonic()
        for _ in range(3):
            reading = asyncio.create_task(anext(following))
            await asyncio.sleep(0.03)
            reading.cancel()
            await asyncio.wait([reading])
        with suppress(OSError):  # then it looks for a server, and there is none
            await asyncio.wait_for(anext(following), 5)
        assert 0.15 < monotonic() - began < 5


async def test_who_is_told_to_read_and_gives_up_at_once_passes_it_on(
    script: Script, connection: Connection
) -> None:
    flights = [await launched(connection, lane) for lane in ("a", "b", "c")]
    waits = [asyncio.create_task(connection.wait(flight, None)) for flight in flights]
    await settled()
    script.say(response("created", "r1", "a"))
    while not waits[0].done():  # noqa: ASYNC110 - to the very step
        await asyncio.sleep(0)
    waits[1].cancel()  # it has been told, and has not run since
    script.say(response("created", "r3", "c"))
    assert await asyncio.wait_for(waits[2], 1)
    assert flights[2].events


async def test_a_deadline_and_an_interruption(script: Script, connection: Connection) -> None:
    flight = await launched(connection)
    assert not await connection.wait(flight, monotonic() - 1)
    assert not await connection.wait(flight, monotonic() + 0.01)
    connection.interrupt(flight)
    waiting = asyncio.create_task(connection.wait(flight, None))
    await settled()
    connection.interrupt(flight)
    assert not await waiting
    script.say(response("created"))
    assert await connection.wait(flight, None)


async def test_a_connection_that_is_gone_takes_nothing(script: Script, connection: Connection) -> None:
    flight = await launched(connection)
    script.say(response("created"))
    await connection.wait(flight, None)
    connection.machine.cancel(flight)
    script.alive = False
    await connection.flush()
    assert not connection.machine.outbox
    with pytest.raises(ConnectionGone):
        await launched(connection, "a")
    assert connection.machine.flight("a") is None
    assert not connection.usable


async def test_a_request_not_wanted_any_more_is_not_sent(script: Script, connection: Connection) -> None:
    await connection.launch(None, lambda _flight: None)
    assert script.sent == []
    assert connection.machine.flight(None) is None


async def test_a_connection_whose_next_response_may_be_anybody_s_takes_no_more(
    script: Script, connection: Connection
) -> None:
    first = await launched(connection)
    script.say(response("created"), response("completed"))
    connection.machine.cancel(first)
    assert await connection.wait(first, None)
    second = await launched(connection)
    assert connection.usable
    script.say(event("error", error={"code": "broken"}))
    assert await connection.wait(second, None)
    assert not connection.usable


async def test_an_error_of_the_transport_ends_all_flights(script: Script, connection: Connection) -> None:
    flights = [await launched(connection, lane) for lane in ("a", "b")]
    refused = ResponseError("refused")
    script.say(refused)
    assert await connection.wait(flights[0], None)
    assert [flight.error for flight in flights] == [refused, refused]
    assert not connection.usable


async def test_a_cancel_that_had_to_wait_is_sent_by_whoever_reads(
    script: Script, connection: Connection
) -> None:
    first, second = await launched(connection, "a"), await launched(connection, "b")
    connection.machine.cancel(first)
    assert connection.idle is False
    script.say(response("created", "r1", "a"), response("created", "r2", "b"))
    assert await connection.wait(second, None)
    assert script.sent[-1] == {"type": "response.cancel", "response_id": "r1"}


# Sessions.


async def test_a_server_that_takes_no_request() -> None:
    made = ResponsesSession("https://nowhere", None, "m")
    scripts = [Script() for _ in range(4)]

    async def opened() -> Connection:
        one = Connection(scripts.pop(), Limits(), 1)
        made._pool._connections.append(one)
        one._transport.send = _gone  # type: ignore[assignment, method-assign]
        return one

    made._pool._open = opened  # type: ignore[method-assign]
    async with made:
        turn = made.create("go")
        with pytest.raises(ConnectionError):
            await turn.final()
        assert (len(scripts), turn.status, turn.response_id) == (1, "new", None)


async def _gone(_message: Mapping[str, Any]) -> None:
    raise ConnectionGone


async def test_a_server_that_does_not_read_is_a_silent_one() -> None:
    script = Script()
    script.deaf = True
    async with talk(script, idle_timeout=0.05) as made:
        turn = made.create("go")
        with pytest.raises(StreamTimeout):
            await turn.final()
        assert turn.status == "error"


async def test_a_cancel_to_a_server_that_does_not_read_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.session.session.CANCEL_SECONDS", 0.05)
    script = Script()
    async with talk(script, drain_timeout=0.05) as made:
        turn = made.create("go")
        await turn.start()
        script.say(response("created"))
        await anext(turn)
        script.deaf = True
        await asyncio.wait_for(turn.cancel(), 1)
        following = made.create("on")
        reading = asyncio.create_task(following.final())
        await asyncio.sleep(0.2)
        assert not script.alive  # the drain's deadline has come
        reading.cancel()
        await asyncio.wait([reading])


async def test_a_cancelled_time_out_is_still_one() -> None:
    """Giving up takes a write; whoever is cancelled meanwhile finds the same error when he comes back."""
    script = Script()
    async with talk(script, idle_timeout=0.02) as made:
        turn = made.create("go")
        await turn.start()
        script.say(response("created"))
        await anext(turn)
        script.deaf = True
        reading = asyncio.create_task(anext(turn))
        while len(script.sent) < 2:  # noqa: ASYNC110 - the script has no events
            await asyncio.sleep(0.005)
        reading.cancel()
        await asyncio.wait([reading])
        with pytest.raises(StreamTimeout):
            await anext(turn)


@pytest.mark.parametrize("member", ["metadata", "tools", "instructions"])
async def test_a_request_that_is_no_json_leaves_the_turn_as_it_was(script: Script, member: str) -> None:
    async with talk(script) as made:
        odd: JSON = {member: {"a": object()}}
        turn = made.create("go", **odd)
        for _ in range(2):
            with pytest.raises(TypeError):
                await anext(turn)
            assert turn.status == "new"
        script.say(response("created"), delta(), response("completed"))
        assert [one.type async for one in made.create("on")][-1] == "response.completed"


async def test_a_response_without_a_name_is_not_continued(script: Script) -> None:
    async with talk(script) as made:
        script.say(response("created", None), delta(), response("completed", None))
        turn = made.say("go")
        await turn.final()
        assert turn.status == "completed"
        following = made.say("on")
        await following.start()
        assert following.plan is not None
        assert following.plan.reason == "first"
        assert "response_id" not in repr(following)


async def test_a_terminal_that_is_none_of_the_usual(script: Script) -> None:
    async with talk(script) as made:
        script.say(response("created"), response("cancelled"))
        turn = made.create("go")
        assert [one.type async for one in turn][-1] == "response.cancelled"
        assert (turn.status, (await turn.final())["id"]) == ("cancelled", "r1")


async def test_a_failed_response_without_an_error_event(script: Script) -> None:
    async with talk(script, store=False) as made:
        script.say(response("created"), response("completed", output=[]))
        await made.create([event("x").type]).final()
        script.say(
            response("created", "r2"),
            response("failed", "r2", error={"code": "server_error", "message": "secret"}),
        )
        turn = made.create(["x", "y"])
        assert [one.type async for one in turn][-1] == "response.failed"
        assert turn.plan is not None
        assert (turn.plan.reason, turn.status) == ("continues", "failed")
        with pytest.raises(ResponseError) as caught:
            await turn.final()
        assert caught.value.code == "server_error"
        assert "secret" not in str(caught.value)
        following = made.create(["x", "y", "z"])
        await following.start()
        assert following.plan is not None
        assert following.plan.reason == "not_found"


async def test_a_connection_lost_while_draining_is_replaced() -> None:
    first, second = Script(), Script()
    made = talk(first)

    async def opened() -> Connection:
        one = Connection(second, Limits(), 2)
        made._pool._connections.append(one)
        return one

    made._pool._open = opened  # type: ignore[method-assign]
    async with made:
        turn = made.create("go")
        await turn.start()
        first.say(response("created"))
        await anext(turn)
        await turn.cancel()
        first.say(None)
        second.say(response("created", "r2"), response("completed", "r2"))
        following = made.create("on")
        await following.final()
        assert following.figures.connection == 2


async def test_an_end_of_the_connection_while_several_wait() -> None:
    script = Script()
    async with talk(script) as made:
        turns = [made.create("go", stream_id=lane) for lane in ("a", "b", "c")]
        for turn in turns:
            await turn.start()
        reading = [asyncio.create_task(turn.final()) for turn in turns]
        await settled()
        script.say(None)
        ends = await asyncio.gather(*reading, return_exceptions=True)
        assert [type(end) for end in ends] == [OutcomeUnknown] * 3
        assert {end.close_code for end in ends if isinstance(end, OutcomeUnknown)} == {1001}
