"""`websocket.forward` over real sockets: bytes, closes, taps, limits, back-pressure, and LiteLLM's faults."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websocket_kit import (
    SERVERS,
    TERMINALS,
    Leaks,
    Server,
    all_of,
    asgi_server,
    close_of,
    dial,
    until,
    websockets_server,
)
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penstock.errors import InvalidResponseId, LimitExceeded
from penstock.replay import ReplayServer
from penstock.websocket import ConnectionLimits, Opening, Outcome, RefusedError, connect, forward

Upstream = Callable[[ServerConnection], Awaitable[Any]]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


class Edge:
    """A server that forwards, of the `websockets` library; what came of each connection."""

    def __init__(self, upstream_url: str, **options: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.opened = 0
        self._url = upstream_url
        self._options = {"allowed_origins": None, **options}

    async def __call__(self, connection: Any) -> None:
        self.outcomes.append(await forward(connection, self._open, **self._options))

    async def _open(self, _opening: Opening) -> Any:
        self.opened += 1
        return await connect(self._url)

    async def outcome(self) -> Outcome:
        await until(lambda: bool(self.outcomes))
        return self.outcomes[-1]


@asynccontextmanager
async def forwarding(
    upstream: Upstream = echo, **options: Any
) -> AsyncIterator[tuple[ClientConnection, Edge]]:
    """A client, an edge that forwards and an upstream, each on a socket of its own; nothing may be left."""
    leaks = Leaks()
    async with websockets_server(upstream) as url:
        edge = Edge(url, **options)
        async with websockets_server(edge) as edge_url, dial(edge_url) as client:
            yield client, edge
    await leaks.settled()


TEXTS = [
    "hello",
    "",
    '{"type":"response.output_text.delta","delta":"a\u2028b\u0085c"}',
    '{ "type" : "x" ,"big":123456789012345678901234567890,"f":1e400,"n":-0.0 }',
    '{"type":"a","type":"b"}',
    "[]",
    "null",
    "1",
    '"text"',
    "{",
    '{"type":1}',
    '{"delta":"\\ud83d"}',
    "\x00\ufeff🌊é",
    "x" * 300_000,
]
"""LiteLLM's forwarder died of those that are no JSON objects."""


async def test_text_passes_byte_by_byte_both_ways() -> None:
    async with forwarding() as (client, edge):
        for text in TEXTS:
            await client.send(text)
            assert await client.recv() == text
        await client.close()
        outcome = await edge.outcome()
    assert outcome == Outcome("client", 1000, upwards=len(TEXTS), downwards=len(TEXTS))


async def test_binary_passes_if_asked_to() -> None:
    async with forwarding(binary="forward") as (client, _edge):
        await client.send(b"\x00\xff")
        assert await client.recv() == b"\x00\xff"


async def test_binary_is_refused() -> None:
    async with forwarding() as (client, edge):
        await client.send(b"\x00")
        frame = json.loads(await client.recv())
        assert frame["error"]["code"] == "binary_message"
        assert await close_of(client) == (1003, "binary_message")
        outcome = await edge.outcome()
    assert (outcome.by, outcome.code, outcome.upwards) == ("penstock", 1003, 0)


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [
        (1000, "", 1000),
        (1001, "bye", 1001),
        (1011, "boom", 1011),
        (1012, "é" * 61, 1012),
        (4321, "own", 4321),
    ],
)
async def test_the_upstream_s_close_reaches_the_client(code: int, reason: str, seen: int) -> None:
    async def upstream(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    async with forwarding(upstream) as (client, edge):
        assert await close_of(client) == (seen, reason)
        outcome = await edge.outcome()
    assert (outcome.by, outcome.code, outcome.reason) == ("upstream", code, reason)


async def test_an_upstream_that_breaks_off_is_1011() -> None:
    async def upstream(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with forwarding(upstream) as (client, edge):
        assert await close_of(client) == (1011, "")
        assert (await edge.outcome()).code == 1006


async def test_an_upstream_message_that_is_too_big_is_1011_for_the_client() -> None:
    async def upstream(connection: ServerConnection) -> None:
        await connection.send("x" * 2_000)
        await connection.wait_closed()

    async with websockets_server(upstream) as url:

        async def opens(_opening: Opening) -> Any:
            return await connect(url, max_message_bytes=1_000)

        async def edge(connection: ServerConnection) -> None:
            outcome = await forward(connection, opens, allowed_origins=None)
            assert (outcome.by, outcome.code) == ("upstream", 1009)

        async with websockets_server(edge) as edge_url, dial(edge_url) as client:
            assert (await close_of(client))[0] == 1011


@pytest.mark.parametrize(("code", "seen"), [(1000, 1000), (1001, 1001), (4001, 4001)])
async def test_the_client_s_close_reaches_the_upstream(code: int, seen: int) -> None:
    closes: list[tuple[int | None, str | None]] = []

    async def upstream(connection: ServerConnection) -> None:
        await connection.wait_closed()
        closes.append((connection.close_code, connection.close_reason))

    async with forwarding(upstream) as (client, edge):
        await client.close(code, "done")
        outcome = await edge.outcome()
        await until(lambda: bool(closes))
    assert closes == [(seen, "done")]
    assert (outcome.by, outcome.code) == ("client", code)


async def test_a_client_that_breaks_off_is_going_away() -> None:
    closes: list[int | None] = []

    async def upstream(connection: ServerConnection) -> None:
        await connection.wait_closed()
        closes.append(connection.close_code)

    async with forwarding(upstream) as (client, edge):
        await client.send("x")
        client.transport.abort()
        assert (await edge.outcome()).code == 1006
        await until(lambda: bool(closes))
    assert closes == [1001]


async def test_an_upstream_that_ignores_the_close_is_cut_off() -> None:
    over = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.pause_reading()
        await over.wait()
        connection.transport.abort()

    async with forwarding(deaf) as (client, edge):
        await client.send("x")
        await until(lambda: edge.opened == 1)
        await client.close()
        await edge.outcome()  # while the upstream has not said anything
        assert not over.is_set()
        over.set()


# What is under way when the upstream is lost.

CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}
DELTA = {
    "type": "response.output_text.delta",
    "output_index": 0,
    "content_index": 0,
    "item_id": "m",
    "delta": "hé",
}


def says(*frames: dict[str, Any], code: int | None = None) -> Upstream:
    """An upstream that answers the first message with frames, numbered, and goes."""

    async def upstream(connection: ServerConnection) -> None:
        await connection.recv()
        for number, frame in enumerate(frames):
            await connection.send(json.dumps({**frame, "sequence_number": number}))
        if code is None:
            connection.transport.abort()
        else:
            await connection.close(code)

    return upstream


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 1012])
@pytest.mark.parametrize("lane", [{}, {"stream_id": "a"}])
async def test_a_response_under_way_fails_truthfully(code: int | None, lane: dict[str, str]) -> None:
    seen: list[str] = []
    upstream = says({**CREATED, **lane}, {**DELTA, **lane}, {**DELTA, **lane}, code=code)
    async with forwarding(upstream, on_event=lambda event: seen.append(event.type)) as (client, _edge):
        await client.send('{"type":"response.create"}')
        frames = await all_of(client)
    *_, last = frames
    assert [frame["type"] for frame in frames].count("response.failed") == 1
    assert last["type"] == "response.failed"
    assert last["sequence_number"] == 3
    assert last.get("stream_id") == lane.get("stream_id")
    assert last["response"]["id"] == "resp_1"
    assert last["response"]["output"][0]["content"][0]["text"] == "héhé"
    assert last["response"]["output"][0]["status"] == "incomplete"
    assert seen == ["response.created", "response.failed"]


async def test_a_request_that_nothing_came_of_gets_an_error() -> None:
    async with forwarding(says()) as (client, _edge):
        await client.send('{"type":"response.create"}')
        (frame,) = await all_of(client)
    assert (frame["type"], frame["status"]) == ("error", 502)


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed", "error"])
async def test_a_response_that_has_ended_has_ended(kind: str) -> None:
    terminal = {"type": kind, "response": {"id": "resp_1", "output": []}}
    async with forwarding(says(CREATED, DELTA, terminal)) as (client, _edge):
        await client.send('{"type":"response.create"}')
        frames = await all_of(client)
    assert [frame["type"] for frame in frames] == [CREATED["type"], DELTA["type"], kind]


async def test_lanes_fail_one_by_one_and_a_steered_successor_counts() -> None:
    lanes = [{**CREATED, "stream_id": name} for name in "ab"]
    done = {"type": "response.incomplete", "response": {"id": "resp_1", "output": []}, "stream_id": "a"}
    async with forwarding(says(*lanes, done, lanes[0])) as (client, _edge):
        await client.send('{"type":"response.create"}')
        frames = await all_of(client)
    failed = [frame["stream_id"] for frame in frames if frame["type"] == "response.failed"]
    assert sorted(failed) == ["a", "b"]
    assert len(frames) == 6


@pytest.mark.parametrize("place", [0, 1, 2, 3, 5, 8, 13, 40])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("close@{}", 1011),
        ("close@{}:1001", 1001),
        ("close@{}:1012", 1012),
        ("close@{}:4321", 4321),
        ("reset@{}", 1011),
    ],
)
async def test_one_terminal_whatever_the_upstream_does(fault: str, code: int, place: int) -> None:
    async with ReplayServer() as upstream:
        url = upstream.base_url.replace("http", "ws", 1) + "/responses"
        async with websockets_server(Edge(url)) as edge_url, dial(edge_url) as client:
            model = f"replay-text+{fault.format(place)}"
            await client.send(json.dumps({"type": "response.create", "model": model, "input": "x"}))
            frames = await all_of(client)
            assert client.close_code in (code, 1000)  # 1000: the upstream gave no code
    ended = [frame for frame in frames if frame["type"] in TERMINALS]
    assert ended == frames[-1:]
    assert ended[0]["type"] == ("error" if place == 0 else "response.failed")
    texts = [frame["delta"] for frame in frames if frame["type"] == "response.output_text.delta"]
    assert "".join(texts) in json.dumps(ended[0], ensure_ascii=False)


# Observers.


async def test_observers_see_what_they_asked_for() -> None:
    events: list[str] = []
    inputs: list[list[Any]] = []
    flat = {"type": "response.create", "input": "hi"}
    nested = {"type": "response.create", "response": {"input": [{"type": "function_call_output"}]}}
    terminal = {"type": "response.completed", "response": {"id": "r", "output": []}}

    async def upstream(connection: ServerConnection) -> None:
        for _ in range(2):
            await connection.recv()
        for frame in (CREATED, DELTA, terminal):
            await connection.send(json.dumps(frame))
        await connection.wait_closed()

    async def on_event(event: Any) -> None:
        await asyncio.sleep(0)
        events.append(event.type)

    def on_input(items: list[Any], event: Any) -> None:
        inputs.append(items)
        assert event.type == "response.create"

    async with forwarding(upstream, on_event=on_event, on_input=on_input) as (client, _edge):
        await client.send(json.dumps(flat))
        await client.send(json.dumps(nested))
        for _ in range(3):
            await client.recv()
    assert events == ["response.created", "response.completed"]
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    assert inputs == [[message], [{"type": "function_call_output"}]]


async def test_observers_that_fail_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    async with forwarding(on_event=fails, on_input=fails, observe={"response.create"}) as (client, edge):
        with caplog.at_level(logging.ERROR, "penstock.websocket"):
            for _ in range(3):
                await client.send('{"type":"response.create","input":1}')
                await client.recv()
            await client.close()
            await edge.outcome()
    assert len(caplog.records) == 6


async def test_an_observer_that_hangs_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.websocket.taps.DRAIN_SECONDS", 0.05)
    hung: list[int] = []

    async def hangs(_event: Any) -> None:
        hung.append(1)
        await asyncio.sleep(3600)

    limits = ConnectionLimits(max_messages=None)
    async with forwarding(on_event=hangs, observe={"x"}, limits=limits) as (client, edge):
        for _ in range(1_500):
            await client.send('{"type":"x"}')
            assert await client.recv() == '{"type":"x"}'
        await client.close()
        outcome = await edge.outcome()
    assert len(hung) == 1
    assert outcome.downwards == 1_500
    assert outcome.unobserved >= 1_500 - 1


# Letting in.


@pytest.mark.parametrize(
    ("origin", "status"), [("https://good.example", None), ("https://evil.example", 403), (None, 403)]
)
@pytest.mark.parametrize("server", SERVERS)
async def test_origins_are_checked_before_the_handshake(
    server: Server, origin: str | None, status: int | None
) -> None:
    async with websockets_server(echo) as url:
        edge = Edge(url, allowed_origins=["https://good.example"])

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await edge((scope, receive, send))

        async with asgi_server(server, app) as edge_url:
            if status is None:
                async with dial(edge_url, origin=origin) as client:
                    await client.send("x")
                    assert await client.recv() == "x"
            else:
                with pytest.raises(InvalidStatus) as caught:
                    async with dial(edge_url, origin=origin):
                        pass
                assert caught.value.response.status_code == status
                assert edge.opened == 0
                assert (await edge.outcome()).by == "penstock"


async def test_origins_after_the_handshake_close_with_1008() -> None:
    async with forwarding(allowed_origins=["https://good.example"]) as (client, edge):
        frame = json.loads(await client.recv())
        assert (frame["status"], frame["error"]["code"]) == (403, "origin_not_allowed")
        assert (await close_of(client))[0] == 1008
        assert edge.opened == 0


async def allow_sesame(opening: Opening) -> None:
    if opening.event.type != "auth" or opening.event.get("key") != "sesame":
        raise RefusedError("Wrong key.", status=401, code="invalid_api_key")
    assert opening.channel.path == "/v1/responses"
    assert opening.channel.query == "a=1"
    opening.forward = None
    assert "sesame" not in repr(opening)


async def test_the_first_message_authenticates() -> None:
    async with forwarding(authenticate=allow_sesame) as (client, edge):
        await asyncio.sleep(0.05)
        assert edge.opened == 0
        await client.send('{"type":"auth","key":"sesame"}')
        await client.send("hello")
        assert await client.recv() == "hello"
        await client.close()
        assert (await edge.outcome()).upwards == 1


@pytest.mark.parametrize("first", ['{"type":"auth","key":"x"}', "{", '{"type":"response.create"}'])
async def test_a_wrong_first_message(first: str) -> None:
    async with forwarding(authenticate=allow_sesame) as (client, edge):
        await client.send(first)
        assert json.loads(await client.recv())["error"]["code"] == "invalid_api_key"
        assert await close_of(client) == (1008, "invalid_api_key")
        assert edge.opened == 0


async def test_a_first_message_that_is_binary() -> None:
    async with forwarding(authenticate=allow_sesame) as (client, edge):
        await client.send(b"x")
        assert (await close_of(client))[0] == 1003
        assert edge.opened == 0


async def test_a_first_message_that_is_too_big() -> None:
    limits = ConnectionLimits(max_message_bytes=10)
    async with forwarding(authenticate=allow_sesame, limits=limits) as (client, edge):
        await client.send("x" * 11)
        assert (await close_of(client))[0] == 1009
        assert edge.opened == 0


async def test_a_first_message_that_does_not_come() -> None:
    limits = ConnectionLimits(first_message_seconds=0.05)
    async with forwarding(authenticate=allow_sesame, limits=limits) as (client, edge):
        assert await close_of(client) == (1008, "authentication_timeout")
        assert edge.opened == 0


async def test_a_client_that_leaves_before_it_says_anything() -> None:
    async with forwarding(authenticate=allow_sesame) as (client, edge):
        await client.close(4000)
        assert (await edge.outcome()).code == 4000
        assert edge.opened == 0


async def test_an_authenticating_message_can_go_on() -> None:
    async def replaces(opening: Opening) -> None:
        opening.forward = opening.message.upper()

    async with forwarding(authenticate=replaces) as (client, _edge):
        await client.send("abc")
        assert await client.recv() == "ABC"


@pytest.mark.parametrize("server", SERVERS)
async def test_an_upstream_that_cannot_be_reached_is_an_http_answer(server: Server) -> None:
    edge = Edge("ws://127.0.0.1:1/")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await edge((scope, receive, send))

    async with asgi_server(server, app) as edge_url:
        with pytest.raises(InvalidStatus) as caught:
            async with dial(edge_url):
                pass
    assert caught.value.response.status_code == 502
    assert json.loads(caught.value.response.body)["error"]["code"] == "upstream_unavailable"
    assert (await edge.outcome()).code == 1013


async def test_a_refusal_while_opening_the_upstream() -> None:
    async def refuses(_opening: Opening) -> Any:
        raise RefusedError("No such model.", status=404, code="model_not_found", close_code=4404)

    async def edge(connection: ServerConnection) -> None:
        await forward(connection, refuses, allowed_origins=None)

    async with websockets_server(edge) as url, dial(url) as client:
        assert await close_of(client) == (4404, "model_not_found")


# Limits.


async def test_a_message_that_is_too_big() -> None:
    async with forwarding(limits=ConnectionLimits(max_message_bytes=100)) as (client, edge):
        await client.send("é" * 50)
        assert await client.recv() == "é" * 50
        await client.send("é" * 51)
        frame = json.loads(await client.recv())
        assert (frame["status"], frame["error"]["code"]) == (413, "message_too_big")
        assert await close_of(client) == (1009, "message_too_big")
        outcome = await edge.outcome()
    assert isinstance(outcome.error, LimitExceeded)
    assert outcome.upwards == 1


async def test_too_many_messages() -> None:
    async with forwarding(limits=ConnectionLimits(max_messages=3)) as (client, edge):
        for _ in range(3):
            await client.send("x")
            assert await client.recv() == "x"
        await client.send("x")
        assert json.loads(await client.recv())["error"]["code"] == "rate_limit_exceeded"
        assert await close_of(client) == (1008, "rate_limit_exceeded")
        assert isinstance((await edge.outcome()).error, RefusedError)


async def test_what_is_under_way_when_the_client_is_put_out_fails() -> None:
    async def upstream(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps(CREATED))
        await connection.wait_closed()

    async with forwarding(upstream) as (client, _edge):
        await client.send('{"type":"response.create"}')
        await client.recv()
        await client.send(b"x")
        (frame,) = await all_of(client)
    assert (frame["type"], frame["response"]["error"]["code"]) == ("response.failed", "binary_message")


# Rewriting.


class Seals:
    """Ids with a mark on the client's side and without one on the upstream's."""

    def to_client(self, text: str) -> str:
        return text.replace("resp_", "resp_sealed_")

    def to_upstream(self, text: str) -> str:
        if "resp_" in text and "resp_sealed_" not in text:
            raise InvalidResponseId("no id of ours")
        return text.replace("resp_sealed_", "resp_")


async def test_texts_are_rewritten_both_ways() -> None:
    heard: list[Any] = []

    async def upstream(connection: ServerConnection) -> None:
        async for message in connection:
            heard.append(message)
            await connection.send('{"type":"x","id":"resp_1"}')

    async with forwarding(upstream, rewriter=Seals()) as (client, edge):
        await client.send('{"previous_response_id":"resp_sealed_0"}')
        assert await client.recv() == '{"type":"x","id":"resp_sealed_1"}'
        await client.send('{"previous_response_id":"resp_0"}')  # refused, and the connection goes on
        frame = json.loads(await client.recv())
        assert (frame["type"], frame["status"]) == ("error", 400)
        await client.send("{}")
        assert await client.recv() == '{"type":"x","id":"resp_sealed_1"}'
        await client.close()
        assert (await edge.outcome()).upwards == 2
    assert heard == ['{"previous_response_id":"resp_0"}', "{}"]


async def test_what_cannot_be_rewritten_does_not_pass() -> None:
    class Broken(Seals):
        def to_client(self, text: str) -> str:
            raise InvalidResponseId("damaged")

    async with forwarding(rewriter=Broken()) as (client, edge):
        await client.send("{}")
        assert (await close_of(client))[0] == 1011
        assert (await edge.outcome()).downwards == 0


# Waiting.


async def test_a_slow_client_slows_the_upstream_down() -> None:
    """Nothing piles up in between: the upstream is stopped by what the sockets' buffers hold."""
    sent = 0

    async def upstream(connection: ServerConnection) -> None:
        nonlocal sent
        for _ in range(2_000):
            await connection.send("x" * 65_536)
            sent += 1

    async with forwarding(upstream) as (client, _edge):
        client.transport.pause_reading()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < 500  # of 2,000, with some 4 MiB in each socket's buffers
        client.transport.resume_reading()
        for _ in range(before + 50):
            await client.recv()
        assert sent > before


async def test_a_client_that_takes_nothing_is_put_out() -> None:
    async def upstream(connection: ServerConnection) -> None:
        while True:
            await connection.send("x" * 65_536)

    async with forwarding(upstream, limits=ConnectionLimits(write_seconds=0.2)) as (client, edge):
        client.transport.pause_reading()
        outcome = await edge.outcome()
        client.transport.abort()
    assert (outcome.by, outcome.code, outcome.reason) == ("penstock", 1008, "client_too_slow")


async def test_an_upstream_that_takes_nothing_is_given_up() -> None:
    async def upstream(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    limits = ConnectionLimits(write_seconds=0.2, max_messages=None, max_bytes=None)
    async with forwarding(upstream, limits=limits) as (client, edge):
        sending = asyncio.create_task(flood(client))
        outcome = await edge.outcome()
        assert (outcome.code, outcome.reason) == (1013, "upstream_too_slow")
        await asyncio.wait([sending])


async def flood(client: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await client.send("x" * 65_536)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_cancelled_forward_closes_both_sides(streaming: bool) -> None:
    upstream_closes: list[int | None] = []
    tasks: list[asyncio.Task[Any]] = []

    async def upstream(connection: ServerConnection) -> None:
        await connection.recv()
        if streaming:
            await connection.send(json.dumps(CREATED))
        await connection.wait_closed()
        upstream_closes.append(connection.close_code)

    async with websockets_server(upstream) as url:

        async def edge(connection: ServerConnection) -> None:
            tasks.append(asyncio.create_task(Edge(url)(connection)))
            await asyncio.wait(tasks)

        async with websockets_server(edge) as edge_url, dial(edge_url) as client:
            await client.send('{"type":"response.create"}')
            if streaming:
                await client.recv()
            await asyncio.sleep(0.05)
            tasks[0].cancel()
            (frame,) = await all_of(client)
            assert client.close_code == 1001
            assert frame["type"] == ("response.failed" if streaming else "error")
            await until(lambda: bool(upstream_closes))
    assert upstream_closes == [1001]
    assert tasks[0].cancelled()


async def test_one_task_beside_the_caller_s() -> None:
    async with forwarding() as (client, _edge):
        await client.send("x")
        await client.recv()
        mine = [task for task in asyncio.all_tasks() if "Forwarding" in f"{task.get_coro()!r}"]
        assert len(mine) == 1


# Servers and frameworks.


@asynccontextmanager
async def app_of(kind: str, edge: Edge) -> AsyncIterator[Any]:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await edge((scope, receive, send))

    async def route(websocket: WebSocket) -> None:
        await edge(websocket)

    async def accepting(websocket: WebSocket) -> None:
        await websocket.accept()
        await edge(websocket)

    if kind == "asgi":
        yield plain
    else:
        endpoint = route if kind == "starlette" else accepting
        yield Starlette(routes=[WebSocketRoute("/v1/responses", endpoint)])


@pytest.mark.parametrize("kind", ["asgi", "starlette", "starlette, accepted"])
@pytest.mark.parametrize("server", ["uvicorn", "uvicorn-wsproto", "hypercorn", "granian"])
async def test_servers(server: Server, kind: str) -> None:
    closes: list[int | None] = []

    async def upstream(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while (message := await connection.recv()) != "bye":
                await connection.send(message)
            await connection.close(4321, "bye")
        closes.append(connection.close_code)

    async with websockets_server(upstream) as url:
        edge = Edge(url)
        async with app_of(kind, edge) as app, asgi_server(server, app) as edge_url:
            async with dial(edge_url) as client:
                for text in TEXTS:
                    await client.send(text)
                    assert await client.recv() == text
                await client.send("bye")
                assert await close_of(client) == (4321, "bye")
            async with dial(edge_url) as client:
                await client.send("x")
                await client.recv()
                await client.close(4000)
                await until(lambda: len(closes) == 2)
            async with dial(edge_url) as client:
                await client.send("x")
                await client.recv()
                client.transport.abort()
                await until(lambda: len(closes) == 3)
    assert closes[1] == (1001 if server == "hypercorn" else 4000)  # which calls every end 1006
    assert [outcome.by for outcome in edge.outcomes] == ["upstream", "client", "client"]


async def test_what_is_no_connection() -> None:
    with pytest.raises(TypeError, match="no WebSocket"):
        await forward(object(), object(), allowed_origins=None)
    with pytest.raises(TypeError, match="websocket"):
        await forward(({"type": "http"}, None, None), object(), allowed_origins=None)
    with pytest.raises(ValueError, match="binary"):
        await forward(object(), object(), allowed_origins=None, binary="maybe")  # type: ignore[arg-type]
