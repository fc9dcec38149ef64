"""The WebSocket mode over HTTP back ends, on real sockets: sessions, lanes, faults.

What LiteLLM 1.106.2 gets wrong in its HTTP-backed handler, and the tests that show it right here:

- Nothing is read while a response runs, so it cannot be cancelled and a client's leaving goes unnoticed:
  `test_a_cancelled_response_ends_once`, `test_a_client_that_leaves_takes_its_upstream_along`.
- Unknown messages are ignored, and JSON that is no object ends the connection: `test_a_wrong_message_...`.
- Errors have no status, code or param, and no terminal: `test_one_terminal_...`, `test_errors_before_...`.
- Null members are lost, and reasoning and custom calls from the history: `test_everything_a_model_says_...`.
- An unknown `previous_response_id` is passed on, others' are read: `test_other_connections_and_tenants`.
- A connection's key goes to whatever provider a model names: `test_credentials_stay_with_their_back_end`.
- The input of a warm-up is lost: `test_a_warm_up_is_part_of_the_chain`.
- Two requests at once, and connections of any age: `test_a_second_request_...`, `test_the_connection_...`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from websocket_kit import (
    JSON,
    TERMINALS,
    Leaks,
    all_of,
    answer,
    ask,
    close_of,
    dial,
    until,
    websockets_server,
)
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from penstock.errors import InvalidResponseId
from penstock.replay import ReplayServer
from penstock.store import MemoryStore
from penstock.websocket import (
    ConnectionLimits,
    HttpBackEnd,
    LaneLimits,
    ManagedConnection,
    ManagedLimits,
    Opening,
    Outcome,
    RefusedError,
    TurnTimeouts,
)

PATHS = {"responses": "/responses", "chat": "/chat/completions"}
DIALECTS = [*PATHS]
CLIENTS: dict[str, Callable[[], Any]] = {
    "httpx": lambda: httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)),
    "httpx2": lambda: httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=None)),
    "aiohttp": lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)),
}


class Place:
    """A managed server in front of a replay upstream, and what came of its connections."""

    def __init__(self, upstream: ReplayServer, client: Any, dialect: Any, options: dict[str, Any]) -> None:
        self.upstream = upstream
        self.client = client
        self.back_end = HttpBackEnd(client, upstream.base_url + PATHS[dialect], dialect=dialect)
        self.outcomes: list[Outcome] = []
        self.options = options
        self.serve: dict[str, Any] = {"allowed_origins": None}
        self.tasks: list[asyncio.Task[Outcome]] = []
        self.url = ""

    async def __call__(self, connection: Any) -> None:
        options = {"back_end": self.back_end, **self.options}
        managed = ManagedConnection(options.pop("back_end"), **options)
        task = asyncio.create_task(managed.serve(connection, **self.serve))
        self.tasks.append(task)
        await asyncio.wait([task])
        if not task.cancelled():
            self.outcomes.append(task.result())

    def asked(self, number: int = -1) -> JSON:
        """What the upstream was asked."""
        body: JSON = self.upstream.seen[number].json()
        return body

    async def outcome(self) -> Outcome:
        await until(lambda: bool(self.outcomes))
        return self.outcomes[-1]


@asynccontextmanager
async def place(dialect: str = "responses", library: str = "aiohttp", **options: Any) -> AsyncIterator[Place]:
    """A place and its upstream; when it is over, nothing of it may be left."""
    leaks = Leaks()
    async with ReplayServer() as upstream, CLIENTS[library]() as client:
        where = Place(upstream, client, dialect, options)
        async with websockets_server(where) as url:
            where.url = url
            yield where
        assert upstream.stats.active == 0
    await leaks.settled()


def kinds(frames: list[JSON]) -> list[str]:
    return [frame["type"] for frame in frames]


def text(frames: list[JSON]) -> str:
    return "".join(frame["delta"] for frame in frames if frame["type"] == "response.output_text.delta")


def error(frames: list[JSON]) -> tuple[int, str | None]:
    assert kinds(frames) == ["error"]
    return frames[0]["status"], frames[0]["error"]["code"]


def said(body: JSON) -> list[str]:
    """The texts of what an upstream was sent, in either dialect."""
    items = body.get("input") or body["messages"]
    contents = [item["content"] for item in items]
    return [content if isinstance(content, str) else content[0]["text"] for content in contents]


# Sessions.


@pytest.mark.parametrize("library", CLIENTS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_conversation_and_its_branches(dialect: str, library: str) -> None:
    async with place(dialect, library) as where, dial(where.url) as client:
        first = await ask(client, model="replay-echo", input="one", instructions="Be brief.")
        assert text(first) == "one"
        root = first[-1]["response"]["id"]
        second = await ask(client, model="replay-echo", input="two", previous_response_id=root)
        assert second[-1]["response"]["previous_response_id"] == root
        assert said(where.asked()) == ["one", "one", "two"]
        assert "instructions" not in where.asked()  # of the request before
        branch = await ask(client, model="replay-echo", input="2", previous_response_id=root, stream_id="b")
        assert {frame["stream_id"] for frame in branch} == {"b"}
        assert said(where.asked()) == ["one", "one", "2"]
        last = second[-1]["response"]["id"]
        await ask(client, model="replay-echo", input="three", previous_response_id=last)
        assert said(where.asked()) == ["one", "one", "two", "two", "three"]
        assert not where.asked().keys() & {"previous_response_id", "stream_id", "type", "generate"}
        assert where.upstream.stats.connections == 1  # streams are read to their end, so it is used again


async def test_other_connections_and_tenants() -> None:
    store = MemoryStore()
    async with place(store=store) as where:
        async with dial(where.url) as client:
            kept = (await ask(client, model="replay-echo", input="a"))[-1]["response"]["id"]
            own = (await ask(client, model="replay-echo", input="b", store=False))[-1]["response"]["id"]
            on_kept = await ask(
                client, model="replay-echo", input="c", previous_response_id=kept, store=False
            )
            for here in (kept, own, on_kept[-1]["response"]["id"]):
                assert kinds(await ask(client, model="replay-echo", input="x", previous_response_id=here))[
                    -1
                ].endswith("completed")
        async with dial(where.url) as client:
            for id, found in [(kept, True), (own, False), (on_kept[-1]["response"]["id"], False)]:
                frames = await ask(client, model="replay-echo", input="x", previous_response_id=id)
                assert (
                    (error(frames) == (400, "previous_response_not_found")) if not found else len(frames) > 1
                )
        where.options["tenant"] = "other"
        async with dial(where.url) as client:
            frames = await ask(client, model="replay-echo", input="x", previous_response_id=kept)
            assert error(frames) == (400, "previous_response_not_found")
            assert frames[0]["error"]["param"] == "previous_response_id"


async def test_an_authentication_hook_chooses_the_tenant() -> None:
    async def by_name(opening: Opening) -> None:
        opening.tenant = opening.event.get("name")
        opening.forward = None

    store = MemoryStore()
    async with place(store=store) as where:
        where.serve["authenticate"] = by_name
        ids: dict[str, str] = {}
        for name in ("ann", "bob", "ann"):
            async with dial(where.url) as client:
                await client.send(json.dumps({"type": "auth", "name": name}))
                if name in ids:
                    frames = await ask(client, model="replay-echo", input="x", previous_response_id=ids[name])
                    assert len(frames) > 1
                    frames = await ask(
                        client, model="replay-echo", input="x", previous_response_id=ids["bob"]
                    )
                    assert error(frames) == (400, "previous_response_not_found")
                else:
                    frames = await ask(client, model="replay-echo", input=name)
                    ids[name] = frames[-1]["response"]["id"]


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_warm_up_is_part_of_the_chain(dialect: str, store: bool) -> None:
    async with place(dialect) as where, dial(where.url) as client:
        warm = await ask(client, model="replay-echo", input="context", generate=False, store=store)
        assert kinds(warm) == ["response.created", "response.in_progress", "response.completed"]
        assert where.upstream.stats.requests == 0
        id = warm[-1]["response"]["id"]
        frames = await ask(client, model="replay-echo", input="go", previous_response_id=id)
        assert text(frames) == "go"
        assert said(where.asked()) == ["context", "go"]


async def test_everything_a_model_says_is_part_of_the_history() -> None:
    """LiteLLM keeps messages and calls of functions alone, and loses null members."""
    async with place() as where, dial(where.url) as client:
        tools = [{"type": "function", "name": "look", "parameters": {}}]
        first = await ask(client, model="replay-full", input="x", tools=tools)
        output = first[-1]["response"]["output"]
        assert {item["type"] for item in output} >= {"reasoning", "message"}
        assert None in first[-1]["response"].values()
        results = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "done"}
            for item in output
            if item["type"] == "function_call"
        ]
        id = first[-1]["response"]["id"]
        await ask(client, model="replay-text", input=[*results, user("y")], previous_response_id=id)
        assert where.asked()["input"] == [user("x"), *output, *results, user("y")]


def user(text: str) -> JSON:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


class SlowStore(MemoryStore):
    """Takes its time to store, or fails to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.fails = False

    async def append(self, *arguments: Any, **options: Any) -> Any:
        await self.gate.wait()
        if self.fails:
            raise OSError("no disk")
        return await super().append(*arguments, **options)


async def test_the_terminal_waits_for_the_store() -> None:
    store = SlowStore()
    async with place(store=store) as where, dial(where.url) as client, dial(where.url) as other:
        await client.send(json.dumps({"type": "response.create", "model": "replay-echo", "input": "x"}))
        frames = [json.loads(await client.recv()) for _ in range(6)]
        while frames[-1]["type"] != "response.output_item.done":
            frames.append(json.loads(await client.recv()))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.3)
        store.gate.set()
        (terminal,) = await answer(client)
        # Read your writes, on another connection and at once.
        frames = await ask(
            other, model="replay-echo", input="y", previous_response_id=terminal["response"]["id"]
        )
        assert len(frames) > 1


async def test_what_cannot_be_stored_has_failed() -> None:
    store = SlowStore()
    store.fails = True
    store.gate.set()
    async with place(store=store) as where, dial(where.url) as client:
        frames = await ask(client, model="replay-echo", input="x")
        assert kinds(frames)[-1] == "response.failed"
        assert frames[-1]["response"]["output"][0]["content"][0]["text"] == "x"
        id = frames[-1]["response"]["id"]
        frames = await ask(client, model="replay-echo", input="y", previous_response_id=id)
        assert error(frames) == (400, "previous_response_not_found")


@pytest.mark.parametrize("store", [True, False])
async def test_a_failed_continuation_evicts_what_only_the_connection_has(store: bool) -> None:
    async with place() as where, dial(where.url) as client:
        id = (await ask(client, model="replay-echo", input="x", store=store))[-1]["response"]["id"]
        frames = await ask(client, model="replay-echo+status=500", input="y", previous_response_id=id)
        assert error(frames) == (500, "server_error")
        frames = await ask(client, model="replay-echo", input="z", previous_response_id=id)
        assert (len(frames) > 1) is store


# Faults of the upstream.

FAULTS = [
    "status=400", "status=401", "status=403", "status=404", "status=429", "status=500", "status=503",
    "json-error", "html", "wrong-dialect", "crlf", "no-blank-at-eof", "comment-every=2", "split=1",
    *(f"{word}@{place}" for word in
      ("cut", "close", "reset", "error-event", "json-error", "malformed", "bad-utf8")
      for place in (0, 1, 2, 3, 5, 8, 13, 40)),
    *(f"stall@{place}" for place in (0, 3)), "cut-bytes@1", "cut-bytes@100", "cut-bytes@1000",
]  # fmt: skip
"""About eighty faults for each dialect."""


@pytest.mark.parametrize("library", CLIENTS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_one_terminal_whatever_the_upstream_does(dialect: str, library: str) -> None:
    limits = ManagedLimits(timeouts=TurnTimeouts(idle=1.0), connection=ConnectionLimits(max_messages=None))
    async with place(dialect, library, limits=limits) as where, dial(where.url) as client:
        for fault in FAULTS:
            frames = await ask(client, model=f"replay-text+{fault}", input="x")
            ended = [frame for frame in frames if frame["type"] in TERMINALS]
            assert len(ended) == 1, fault
            (terminal,) = ended
            broken = not fault.startswith(("crlf", "no-blank", "comment", "split", "bad-utf8", "malformed"))
            if terminal["type"] == "response.completed":
                assert not broken, fault
            elif terminal["type"] == "error":
                assert frames == [terminal], fault
                assert terminal["status"] >= 400, fault
            else:
                assert terminal["type"] == "response.failed", fault
                assert terminal["response"]["status"] == "failed", fault
                assert terminal["response"]["error"]["message"], fault
                partial = json.dumps(terminal["response"]["output"])
                assert text(frames)[:5] in partial, fault
        # Nothing of all that is left over.
        assert text(await ask(client, model="replay-echo", input="well")) == "well"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("status=400", 400, None),
        ("status=429", 429, "rate_limit_exceeded"),
        ("status=401", 502, "upstream_refused"),  # the gateway's key is no business of the client's
        ("status=500", 500, "server_error"),
        ("html", 502, "server_error"),
        ("stall@0", 504, "server_error"),
    ],
)
async def test_errors_before_the_first_event(fault: str, status: int, code: str | None) -> None:
    limits = ManagedLimits(timeouts=TurnTimeouts(idle=0.2))
    async with place(limits=limits) as where, dial(where.url) as client:
        frames = await ask(client, model=f"replay-text+{fault}", input="x", stream_id="a")
        assert error(frames) == (status, code)
        assert frames[0]["stream_id"] == "a"
        assert "key" not in frames[0]["error"]["message"]


async def test_a_back_end_that_is_not_there() -> None:
    async with place() as where, dial(where.url) as client:
        where.back_end._url = "http://127.0.0.1:1/v1/responses"
        assert error(await ask(client, model="m", input="x")) == (502, "upstream_unavailable")


@pytest.mark.parametrize("timeouts", [{"first_event": 0.2}, {"duration": 0.2}, {"idle": 0.2}])
async def test_time_outs(timeouts: dict[str, float]) -> None:
    limits = ManagedLimits(timeouts=TurnTimeouts(**timeouts))
    async with place(limits=limits) as where, dial(where.url) as client:
        assert error(await ask(client, model="replay-text+stall@0", input="x"))[0] == 504
        if "first_event" not in timeouts:
            frames = await ask(client, model="replay-text+stall@5", input="x")
            assert kinds(frames)[-1] == "response.failed"
        await until(lambda: where.upstream.stats.active == 0)


# What clients get wrong.


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("nope", None, None),
        ("[]", None, None),
        ("null", None, None),
        ('"response.create"', None, None),
        ("{}", None, "type"),
        ('{"type":1}', None, "type"),
        ('{"type":"session.update"}', None, "type"),
        (b"\x00", "binary_message", None),
        ('{"type":"response.create"}', None, "model"),
        ('{"type":"response.create","model":5}', None, "model"),
        ('{"type":"response.create","model":""}', None, "model"),
        ('{"type":"response.create","model":"m","input":5}', None, "input"),
        ('{"type":"response.create","model":"m","input":["x"]}', None, "input"),
        ('{"type":"response.create","model":"m","input":[{"n":1e999}]}', None, "input"),
        ('{"type":"response.create","model":"m","temperature":1e999}', None, None),
        ('{"type":"response.create","model":"m","background":true}', None, "background"),
        ('{"type":"response.create","model":"m","store":"no"}', None, "store"),
        ('{"type":"response.create","model":"m","generate":0}', None, "generate"),
        ('{"type":"response.create","model":"m","previous_response_id":5}', None, "previous_response_id"),
        ('{"type":"response.create","model":"m","stream_id":"a b"}', "invalid_stream_id", "stream_id"),
        ('{"type":"response.create","model":"m","stream_id":5}', "invalid_stream_id", "stream_id"),
        ('{"type":"response.cancel","response_id":5}', None, "response_id"),
        ('{"type":"response.cancel","stream_id":""}', "invalid_stream_id", "stream_id"),
    ],
)
async def test_a_wrong_message_is_answered_and_the_connection_goes_on(
    message: str | bytes, code: str | None, param: str | None
) -> None:
    async with place() as where, dial(where.url) as client:
        await client.send(message)
        frames = await answer(client)
        assert error(frames) == (400, code)
        assert frames[0]["error"]["type"] == "invalid_request_error"
        assert frames[0]["error"]["param"] == param
        assert text(await ask(client, model="replay-echo", input="well")) == "well"


async def test_a_request_nested_and_flat() -> None:
    async with place() as where, dial(where.url) as client:
        nested = {"model": "replay-echo", "input": "nested", "stream_id": "a"}
        assert text(await ask(client, response=nested, model="no")) == "nested"
        assert text(await ask(client, response={}, model="replay-echo", input="flat")) == "flat"
        await client.send('{"type":"response.processed","response_id":"resp_1"}')  # Codex's; no answer
        assert text(await ask(client, model="replay-echo", input="well")) == "well"


async def test_steering_is_refused_in_its_own_words() -> None:
    async with place() as where, dial(where.url) as client:
        await client.send(json.dumps({"type": "response.steer", "previous_response_id": "r", "input": []}))
        frame = json.loads(await client.recv())
        assert frame["type"] == "response.steer.failed"
        assert frame["error"]["code"] == "steering_not_supported"
        assert frame["steer"] == {"previous_response_id": "r", "input": []}


async def test_what_chat_completions_cannot_do_is_said() -> None:
    async with place("chat") as where, dial(where.url) as client:
        frames = await ask(client, model="m", input="x", truncation="auto")
        assert error(frames) == (400, "unsupported_parameter")
        frames = await ask(client, model="m", input=[{"type": "item_reference", "id": "x"}])
        assert frames[0]["error"]["param"] == "input[0]"
        assert error(await ask(client, model="m", input=[{"type": "message"}])) == (400, None)


# Lanes and cancellation.


def create(**params: Any) -> str:
    return json.dumps({"type": "response.create", "model": "replay-text", "input": "x", **params})


async def test_a_second_request_does_not_disturb_the_first() -> None:
    async with place() as where, dial(where.url) as client:
        await client.send(create(model="replay-text+rate=200+tokens=40"))
        await client.recv()
        await client.send(create())
        frames = await all_until(client, 1)
        refusals = [frame for frame in frames if frame["type"] == "error"]
        assert [frame["error"]["code"] for frame in refusals] == ["response_already_in_flight"]
        if frames[-1]["type"] == "error":
            frames += await answer(client)
        assert frames[-1]["type"] == "response.completed"
        assert len([frame for frame in frames if frame["type"].endswith("text.delta")]) == 40


async def all_until(client: ClientConnection, terminals: int, seconds: float = 30) -> list[JSON]:
    """Read until so many terminal frames have come."""
    frames: list[JSON] = []
    while terminals:
        frames += await answer(client, seconds)
        terminals -= 1
    return frames


async def test_lanes_run_side_by_side_and_each_in_order() -> None:
    limits = ManagedLimits(lanes=LaneLimits(max_active=3))
    async with place(limits=limits) as where, dial(where.url) as client:
        for turn in range(3):
            for lane in "abcd":
                await client.send(create(model="replay-echo+rate=300", input=f"{lane}{turn}", stream_id=lane))
        frames = await all_until(client, 12)
        for lane in "abcd":
            mine = [frame for frame in frames if frame["stream_id"] == lane]
            created = [index for index, frame in enumerate(mine) if frame["type"] == "response.created"]
            assert [kinds(mine)[index - 1] for index in created[1:]] == ["response.completed"] * 2
            assert [text(mine[a:b]) for a, b in zip(created, [*created[1:], None], strict=True)] == [
                f"{lane}{turn}" for turn in range(3)
            ]
        running = most = 0
        for frame in frames:
            running += {"response.created": 1, "response.completed": -1}.get(frame["type"], 0)
            most = max(most, running)
        assert most == 3


async def test_a_lane_may_continue_what_is_still_running_in_it() -> None:
    async with place() as where, dial(where.url) as client:
        await client.send(create(model="replay-echo+rate=200", input="one", stream_id="a"))
        id = json.loads(await client.recv())["response"]["id"]
        await client.send(create(model="replay-echo", input="two", stream_id="a", previous_response_id=id))
        await client.send(create(model="replay-echo", input="2", stream_id="b", previous_response_id=id))
        frames = await all_until(client, 3)
        failed = [frame for frame in frames if frame["type"] == "error"]
        assert [(frame["stream_id"], frame["error"]["code"]) for frame in failed] == [
            ("b", "previous_response_not_found")
        ]
        assert said(where.asked()) == ["one", "one", "two"]


async def test_thirty_two_lanes() -> None:
    async with place() as where, dial(where.url) as client:
        for number in range(32):
            assert len(await ask(client, model="replay-echo", input="x", stream_id=f"lane-{number}")) > 1
        frames = await ask(client, model="replay-echo", input="x", stream_id="lane-32")
        assert error(frames) == (400, "websocket_stream_limit_reached")


@pytest.mark.parametrize("by", ["id", "lane"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_cancelled_response_ends_once(dialect: str, by: str) -> None:
    async with place(dialect) as where, dial(where.url) as client:
        await client.send(create(model="replay-text+rate=100", stream_id="a"))
        frames: list[JSON] = []
        while not frames or "delta" not in frames[-1]:
            frames.append(json.loads(await client.recv()))
        target = {"response_id": frames[0]["response"]["id"]} if by == "id" else {"stream_id": "a"}
        await client.send(json.dumps({"type": "response.cancel", **target}))
        frames += await answer(client)
        terminal = frames[-1]
        assert terminal["type"] == "response.incomplete"
        assert terminal["response"]["incomplete_details"] == {"reason": "cancelled"}
        assert terminal["response"]["output"][0]["content"][0]["text"] == text(frames)
        assert terminal["stream_id"] == "a"
        await until(lambda: where.upstream.stats.aborted == 1)
        # It is not continued, cannot be cancelled twice, and nothing of it leaks into what comes after.
        await client.send(json.dumps({"type": "response.cancel", **target}))
        id = terminal["response"]["id"]
        frames = await ask(client, model="replay-echo", input="x", previous_response_id=id)
        assert error(frames) == (400, "previous_response_not_found")
        assert text(await ask(client, model="replay-echo", input="well", stream_id="a")) == "well"


async def test_cancelled_before_anything_came() -> None:
    async with place() as where, dial(where.url) as client:
        await client.send(create(model="replay-text+delay=30"))
        await until(lambda: where.upstream.stats.active == 1)
        await client.send('{"type":"response.cancel"}')
        assert error(await answer(client)) == (400, "response_cancelled")
        assert text(await ask(client, model="replay-echo", input="well")) == "well"


async def test_cancelled_before_it_began_to_run() -> None:
    limits = ManagedLimits(lanes=LaneLimits(max_active=1))
    async with place(limits=limits) as where, dial(where.url) as client:
        await client.send(create(model="replay-text+rate=100+tokens=30"))
        await client.recv()
        await client.send(create(stream_id="a"))
        await client.send('{"type":"response.cancel","stream_id":"a"}')
        frames = await all_until(client, 2)
        (refused,) = [frame for frame in frames if frame["type"] == "error"]
        assert (refused["stream_id"], refused["error"]["code"]) == ("a", "response_cancelled")
        assert frames[-1]["type"] == "response.completed"
        assert where.upstream.stats.streams == 1


async def test_nothing_to_cancel() -> None:
    async with place() as where, dial(where.url) as client:
        for target in ({}, {"response_id": "resp_unknown"}, {"stream_id": "a"}):
            await client.send(json.dumps({"type": "response.cancel", **target}))
        assert text(await ask(client, model="replay-echo", input="well")) == "well"


# The end of a connection.


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("library", CLIENTS)
@pytest.mark.parametrize("model", ["replay-text+delay=30", "replay-text+stall@5", "replay-text+rate=50"])
async def test_a_client_that_leaves_takes_its_upstream_along(model: str, library: str, how: str) -> None:
    async with place(library=library) as where:
        async with dial(where.url) as client:
            for lane in "abc":
                await client.send(create(model=model, stream_id=lane))
            await until(lambda: where.upstream.stats.active == 3)
            if how == "close":
                await client.close()
            else:
                client.transport.abort()
            await until(lambda: where.upstream.stats.active == 0)
            assert where.upstream.stats.aborted == 3
        assert (await where.outcome()).by == "client"


async def test_the_connection_has_its_time() -> None:
    async with place(limits=ManagedLimits(max_seconds=0.2)) as where, dial(where.url) as client:
        frames = await all_of(client)
        assert error(frames) == (400, "websocket_connection_limit_reached")
        assert client.close_code == 1001
        outcome = await where.outcome()
    assert (outcome.by, outcome.code) == ("penstock", 1001)


async def test_what_runs_then_may_end() -> None:
    async with place(limits=ManagedLimits(max_seconds=0.2)) as where, dial(where.url) as client:
        await client.send(create(model="replay-text+rate=100+tokens=60", stream_id="a"))
        await asyncio.sleep(0.4)
        await client.send(create(stream_id="b"))
        frames = await all_of(client)
        ended = [(frame["type"], frame.get("stream_id")) for frame in frames if frame["type"] in TERMINALS]
        assert ended == [("error", "b"), ("response.completed", "a"), ("error", None)]
        assert frames[-1]["error"]["code"] == "websocket_connection_limit_reached"


async def test_but_not_for_ever() -> None:
    limits = ManagedLimits(max_seconds=0.1, grace_seconds=0.2)
    async with place(limits=limits) as where, dial(where.url) as client:
        await client.send(create(model="replay-text+stall@5", stream_id="a"))
        *_, last = await all_of(client)
        assert (last["type"], last["stream_id"]) == ("response.failed", "a")
        assert last["response"]["error"]["code"] == "websocket_connection_limit_reached"
        assert client.close_code == 1001


async def test_a_server_that_stops_says_so() -> None:
    async with place() as where, dial(where.url) as client:
        for lane in "abb":  # the last waits
            await client.send(create(model="replay-text+stall@5", stream_id=lane))
        await until(lambda: where.upstream.stats.active == 2)
        await asyncio.sleep(0.1)
        where.tasks[0].cancel()
        frames = await all_of(client)
        ended = [(frame["type"], frame["stream_id"]) for frame in frames if frame["type"] in TERMINALS]
        assert sorted(ended) == [("error", "b"), ("response.failed", "a"), ("response.failed", "b")]
        assert client.close_code == 1001


async def test_messages_beyond_the_limits() -> None:
    limits = ManagedLimits(connection=ConnectionLimits(max_message_bytes=1000))
    async with place(limits=limits) as where, dial(where.url) as client:
        await client.send(create(input="x" * 1000))
        assert error(await answer(client)) == (413, "message_too_big")
        assert await close_of(client) == (1009, "message_too_big")
    limits = ManagedLimits(connection=ConnectionLimits(max_messages=2))
    async with place(limits=limits) as where, dial(where.url) as client:
        for _ in range(3):
            await client.send("{}")
        assert [error([frame])[1] for frame in await all_of(client)] == [None, None, "rate_limit_exceeded"]
        assert client.close_code == 1008


async def test_origins() -> None:
    async with place() as where:
        where.serve["allowed_origins"] = ["https://good.example"]
        async with dial(where.url, origin="https://evil.example") as client:
            assert (await close_of(client))[0] == 1008
        async with dial(where.url, origin="https://good.example") as client:
            assert text(await ask(client, model="replay-echo", input="well")) == "well"


# Whose credentials go where.


@pytest.mark.parametrize("library", CLIENTS)
async def test_credentials_stay_with_their_back_end(library: str) -> None:
    """LiteLLM sends the connection's key and address to whatever provider an event's model names."""
    heads: list[tuple[str, JSON]] = []

    class Provider:
        """Notes what it is asked, and fails."""

        def __init__(self, name: str) -> None:
            self.name = name

        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            heads.append((f"{self.name} {head}", json.loads(await reader.readexactly(length))))
            writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

    async with CLIENTS[library]() as client:
        servers, back_ends = [], {}
        for name in ("one", "two"):
            server = await asyncio.start_server(Provider(name), "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/responses"
            key = {"Authorization": f"Bearer key-of-{name}"}
            servers.append(server)
            back_ends[name] = HttpBackEnd(client, url, headers=key)
            assert "key-of" not in repr(back_ends[name])

        def route(params: JSON) -> HttpBackEnd:
            if params["model"] not in back_ends:
                raise RefusedError("No such model.", status=404, code="model_not_found", param="model")
            return back_ends[params["model"]]

        async def edge(connection: ServerConnection) -> None:
            await ManagedConnection(route).serve(connection, allowed_origins=None)

        async with (
            websockets_server(edge) as url,
            dial(url, additional_headers={"x-secret": "canary"}) as client_,
        ):
            extra: JSON = {
                "api_key": "canary", "api_base": "http://evil.example", "base_url": "canary",
                "extra_headers": {"x": "canary"}, "custom_llm_provider": "canary", "timeout": "canary",
            }  # fmt: skip
            for name in ("one", "two", "one"):
                frames = await ask(client_, model=name, input="x", **extra)
                assert error(frames) == (500, "server_error")
            assert error(await ask(client_, model="three", input="x")) == (404, "model_not_found")
        for server in servers:
            server.close()
            await server.wait_closed()
    assert [head.split()[0] for head, _ in heads] == ["one", "two", "one"]
    for head, body in heads:
        name = head.split()[0]
        other = {"one": "two", "two": "one"}[name]
        assert f"bearer key-of-{name}" in head
        assert f"key-of-{other}" not in head
        assert "canary" not in head + json.dumps(body)
        assert set(body) == {"model", "input", "stream"}


@pytest.mark.parametrize("library", CLIENTS)
async def test_redirects_are_not_followed(library: str) -> None:
    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    async with place(library=library) as where, dial(where.url) as client:
        where.back_end._url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        frames = await ask(client, model="m", input="x")
        assert error(frames)[0] == 502
        assert frames[0]["error"]["code"] == "server_error"
    server.close()
    await server.wait_closed()


def test_what_is_no_back_end() -> None:
    with pytest.raises(TypeError, match="httpx"):
        HttpBackEnd(object(), "http://x")
    with pytest.raises(ValueError, match="dialect"):
        HttpBackEnd(httpx.AsyncClient(), "http://x", dialect="messages")  # type: ignore[arg-type]


# Observing, rewriting, waiting.


async def test_observers_and_rewriting() -> None:
    class Seals:
        def to_client(self, text: str) -> str:
            return text.replace('"resp_', '"sealed_')

        def to_upstream(self, text: str) -> str:
            return text.replace('"sealed_', '"resp_')

    seen: list[tuple[str, bool]] = []

    def on_event(event: Any) -> None:
        seen.append((event.type, "resp_" in event.data.decode()))

    async with place(rewriter=Seals(), on_event=on_event) as where, dial(where.url) as client:
        first = await ask(client, model="replay-echo", input="one")
        id = first[-1]["response"]["id"]
        assert id.startswith("sealed_")
        second = await ask(client, model="replay-echo", input="two", previous_response_id=id)
        assert second[-1]["response"]["previous_response_id"] == id
        assert "resp_" not in json.dumps([first, second])
        await client.send(create(model="replay-text+rate=100"))
        running = json.loads(await client.recv())["response"]["id"]
        await client.send(json.dumps({"type": "response.cancel", "response_id": running}))
        assert kinds(await answer(client))[-1] == "response.incomplete"
    ends = ["response.created", "response.completed"]
    assert [kind for kind, _ in seen] == [*ends, *ends, "response.created", "response.incomplete"]


async def test_what_cannot_be_rewritten_does_not_pass() -> None:
    class Broken:
        def to_client(self, text: str) -> str:
            if "resp_" in text:
                raise InvalidResponseId("damaged")
            return text

        def to_upstream(self, text: str) -> str:
            return text

    async with place(rewriter=Broken()) as where, dial(where.url) as client:
        await client.send(create())
        frames = await all_of(client)
        assert [frame["error"]["message"] for frame in frames] == ["The gateway made a mistake."]
        assert client.close_code == 1011


async def test_a_slow_client_slows_the_upstream_down() -> None:
    """The upstream stands still while its client reads nothing; in between is what pipes and sockets hold."""
    sent = 0
    event = b'data: {"type":"vendor:event","padding":"%s"}\n\n' % (b"x" * 16_000)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for _ in range(3_000):
            writer.write(event)
            await writer.drain()
            sent += len(event)
        writer.write(b'data: {"type":"response.completed","response":{"id":"resp_1","output":[]}}\n\n')
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with place() as where, dial(where.url) as client:
        where.back_end._url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        client.transport.pause_reading()
        await client.send(create())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert 0 < before < 20_000_000  # of 48 MB
        client.transport.resume_reading()
        assert len(await answer(client, 60)) == 3_001
    server.close()
    await server.wait_closed()


async def test_a_client_that_takes_nothing_is_put_out() -> None:
    limits = ManagedLimits(connection=ConnectionLimits(write_seconds=0.2))
    async with place(limits=limits) as where, dial(where.url) as client:
        client.transport.pause_reading()
        await client.send(create(model="replay-text+tokens=100000"))
        outcome = await where.outcome()
        client.transport.abort()
    assert (outcome.by, outcome.code, outcome.reason) == ("penstock", 1008, "client_too_slow")
