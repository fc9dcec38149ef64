"""The replay upstream's WebSocket mode, as `websockets` and the openai SDK's own client meet it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import openai
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penstock.replay import ReplayServer

JSON = dict[str, Any]

TERMINALS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
WORDS = "one two three"
HEALTHY = 11
"""Events of `replay-echo` for `WORDS`."""
SLOW = "replay-echo+tokens=500+rate=200"
"""A response that is in flight for a while."""


class Client:
    """One connection that speaks JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def create(self, model: str = "replay-echo", given: Any = WORDS, **fields: Any) -> None:
        await self.send("response.create", model=model, input=given, **fields)

    async def event(self) -> JSON:
        payload = await asyncio.wait_for(self.socket.recv(), 5)
        value: JSON = json.loads(payload)
        return value

    async def until(self, *kinds: str) -> list[JSON]:
        """The events up to one of these kinds; by default to a terminal or an error."""
        ends = set(kinds) or {*TERMINALS, "error"}
        events = [await self.event()]
        while events[-1]["type"] not in ends:
            events.append(await self.event())
        return events

    async def ask(self, *args: Any, **fields: Any) -> JSON:
        """Create a response and return it, as its terminal event has it."""
        await self.create(*args, **fields)
        response: JSON = (await self.until())[-1]["response"]
        return response

    async def start(self, model: str = SLOW, **fields: Any) -> str:
        """Create a response and return its id once text comes."""
        await self.create(model, **fields)
        mine: list[JSON] = []
        while not mine or mine[-1]["type"] != "response.output_text.delta":
            event = await self.event()
            if event.get("stream_id") == fields.get("stream_id"):
                mine.append(event)
        name: str = mine[0]["response"]["id"]
        return name

    async def rest(self) -> list[JSON]:
        """The events up to the end of the connection."""
        events: list[JSON] = []
        with suppress(ConnectionClosed):
            while True:
                events.append(await self.event())
        return events

    async def quiet(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        try:
            await asyncio.wait_for(self.socket.recv(), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def talking(server: ReplayServer, query: str = "", **options: Any) -> AsyncIterator[Client]:
    url = f"{server.base_url.replace('http', 'ws', 1)}/responses{query}"
    async with connect(url, proxy=None, **options) as socket:
        yield Client(socket)


@pytest.fixture
async def server() -> AsyncIterator[ReplayServer]:
    async with ReplayServer() as running:
        yield running


@pytest.fixture
async def client(server: ReplayServer) -> AsyncIterator[Client]:
    async with talking(server) as opened:
        yield opened


def text(response: JSON) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", []))


def said(items: Iterable[JSON]) -> list[str]:
    """The texts of a conversation's items, whichever way they are written."""
    contents = [item.get("content") or item.get("output", "") for item in items]
    return [given if isinstance(given, str) else "".join(p["text"] for p in given) for given in contents]


async def test_a_response_is_the_one_that_http_gives(server: ReplayServer, client: Client) -> None:
    await client.create("replay-full")
    events = await client.until()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"model": "replay-full", "input": WORDS, "stream": True}
        answer = await http.post(f"{server.base_url}/responses", json=body)
    over_http = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert [event["type"] for event in over_http] == [event["type"] for event in events]
    assert server.stats.websockets == 1
    assert server.stats.completed == 2


@pytest.mark.parametrize(
    "body",
    [
        {"model": "replay-echo", "input": "nested"},
        {"model": "replay-echo", "input": "nested", "stream_id": "a"},
    ],
)
async def test_the_nested_form_is_the_flat_one(client: Client, body: JSON) -> None:
    await client.send("response.create", response=body)
    nested = (await client.until())[-1]
    await client.send("response.create", **body)
    flat = (await client.until())[-1]
    assert text(nested["response"]) == text(flat["response"]) == "nested"
    assert nested.get("stream_id") == flat.get("stream_id") == body.get("stream_id")


async def test_an_empty_nested_form_is_a_flat_one(client: Client) -> None:
    await client.create("replay-echo", "flat", response={})
    assert text((await client.until())[-1]["response"]) == "flat"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonsense", "invalid_request_error"),
        ("[1]", "invalid_request_error"),
        ("null", "invalid_request_error"),
        (b'{"type":"response.create"}', "invalid_request_error"),
        ('{"type":"response.dance"}', "invalid_request_error"),
        ('{"type":"response.create"}', "invalid_request_error"),
        ('{"type":"response.create","model":"replay-nobody"}', "model_not_found"),
        ('{"type":"response.create","model":"replay-echo+nonsense"}', "unknown_fault"),
        ('{"type":"response.create","model":"replay-echo","stream_id":7}', "invalid_request_error"),
        ('{"type":"response.create","model":"replay-echo","input":7}', "invalid_request_error"),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_goes_on(
    client: Client, message: str | bytes, code: str
) -> None:
    await client.socket.send(message)
    refused = await client.event()
    assert refused["type"] == "error"
    assert refused["error"]["code"] == code
    assert 400 <= refused["status"] < 500
    assert text(await client.ask()) == WORDS


async def test_a_message_in_fragments_is_one(client: Client) -> None:
    whole = json.dumps({"type": "response.create", "model": "replay-echo", "input": "ünïcode 🌊"})
    await client.socket.send([whole[at : at + 7] for at in range(0, len(whole), 7)])
    assert text((await client.until())[-1]["response"]) == "ünïcode 🌊"


@pytest.mark.parametrize("store", [True, False, None])
async def test_a_chain_is_the_conversation(server: ReplayServer, client: Client, store: bool | None) -> None:
    more: JSON = {} if store is None else {"store": store}
    first = await client.ask(given="first", **more)
    second = await client.ask(given="second", previous_response_id=first["id"], **more)
    await client.ask(given="third", previous_response_id=second["id"], **more)
    assert said(server.asked[-1].context) == ["first", "first", "second", "second"]
    assert said(server.asked[-1].body["input"]) == ["third"]
    async with talking(server) as other:
        await other.create(previous_response_id=second["id"])
        ended = (await other.until())[-1]
    assert (ended["type"] == "response.completed") == (store is not False)
    if store is False:
        assert ended["error"]["code"] == "previous_response_not_found"
        assert ended["error"]["param"] == "previous_response_id"
        assert ended["status"] == 400


async def test_the_connection_keeps_the_latest_response_of_each_lane(client: Client) -> None:
    old = await client.ask(store=False)
    new = await client.ask(store=False)
    aside = await client.ask(store=False, stream_id="a")
    for kept in (aside, new):
        await client.create(previous_response_id=kept["id"], store=False, stream_id="fork")
        assert (await client.until())[-1]["type"] == "response.completed"
    await client.create(previous_response_id=old["id"], store=False)
    assert (await client.event())["error"]["code"] == "previous_response_not_found"


async def test_http_and_websocket_share_what_is_stored(server: ReplayServer, client: Client) -> None:
    url = f"{server.base_url}/responses"
    async with httpx.AsyncClient(trust_env=False) as http:
        for stream in (False, True):
            first = await client.ask(given="by socket")
            body = {"model": "replay-echo", "input": "by http", "previous_response_id": first["id"]}
            answer = await http.post(url, json=body | {"stream": stream})
            named = json.loads(answer.text.split("data: ")[-1]) if stream else answer.json()
            second = named["response"] if stream else named
            await client.ask(given="again", previous_response_id=second["id"])
            assert said(server.asked[-1].context) == ["by socket", "by socket", "by http", "by http"]
        unknown = await http.post(url, json={**body, "previous_response_id": "resp_nobody"})
        assert unknown.status_code == 400
        assert unknown.json()["error"]["code"] == "previous_response_not_found"


async def test_a_failed_continuation_evicts_what_it_continued(client: Client) -> None:
    first = await client.ask(store=False)
    await client.create("replay-failed", previous_response_id=first["id"], store=False)
    assert (await client.until("response.failed"))[-1]["response"]["status"] == "failed"
    await client.create(previous_response_id=first["id"], store=False)
    assert (await client.event())["error"]["code"] == "previous_response_not_found"


async def test_a_warm_up_is_part_of_the_chain(server: ReplayServer, client: Client) -> None:
    await client.create(given="warm", generate=False, store=False)
    events = await client.until()
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert events[-1]["response"]["output"] == []
    await client.ask(given="go", previous_response_id=events[-1]["response"]["id"], store=False)
    assert said(server.asked[-1].context) == ["warm"]


async def test_one_response_at_a_time_without_lanes(client: Client) -> None:
    await client.start()
    await client.create()
    refused = (await client.until("error"))[-1]
    assert refused["error"]["code"] == "response_already_in_flight"
    assert (await client.until())[-1]["type"] == "response.completed"


async def test_lanes_run_side_by_side_and_each_in_order(client: Client) -> None:
    await client.create("replay-echo+rate=50", "slow", stream_id="a")
    await client.create("replay-echo", "next", stream_id="a")
    await client.create("replay-echo", "fast", stream_id="b")
    ended = [(await client.until())[-1] for _ in range(3)]
    assert [(end["stream_id"], text(end["response"])) for end in ended] == [
        ("b", "fast"),
        ("a", "slow"),
        ("a", "next"),
    ]


async def test_lanes_are_bounded(server: ReplayServer, client: Client) -> None:
    for lane in range(32):
        await client.create("replay-echo+stall@1:0.2", stream_id=f"lane{lane}")
    await client.create(stream_id="one too many")
    refused = (await client.until("error"))[-1]
    assert refused["error"]["code"] == "websocket_stream_limit_reached"
    assert refused["stream_id"] == "one too many"
    assert server.stats.active == 16
    ends = [(await client.until("response.completed"))[-1] for _ in range(32)]
    assert len({end["stream_id"] for end in ends}) == 32
    assert text(await client.ask()) == WORDS


async def test_a_cancel_ends_the_response_it_names_and_no_other(client: Client) -> None:
    name = await client.start(stream_id="a")
    await client.start(stream_id="b")
    await client.send("response.cancel", response_id="resp_nobody")
    await client.send("response.cancel", response_id=name)
    ended = (await client.until())[-1]
    assert (ended["type"], ended["stream_id"]) == ("response.incomplete", "a")
    assert ended["response"]["incomplete_details"] == {"reason": "cancelled"}
    assert 0 < len(text(ended["response"])) < 2000
    await client.send("response.cancel", response_id=name)
    assert (await client.until())[-1]["stream_id"] == "b"


async def ends_as(client: Client, word: str) -> list[JSON]:
    """What follows the cancel of a response with this fault, up to its end."""
    name = await client.start(f"{SLOW}+{word}")
    await client.send("response.cancel", response_id=name)
    return await client.until()


@pytest.mark.parametrize("how", ["completed", "incomplete", "failed", "cancelled", "error"])
async def test_a_cancel_may_end_in_any_terminal(client: Client, how: str) -> None:
    ended = (await ends_as(client, f"cancel-as={how}"))[-1]
    assert ended["type"] == ("error" if how == "error" else f"response.{how}")
    assert text(await client.ask()) == WORDS


async def test_a_cancel_may_be_ignored(client: Client) -> None:
    ended = (await ends_as(client, "cancel-as=ignored+rate=5000"))[-1]
    assert ended["type"] == "response.completed"
    assert sum(len(part["text"]) for part in ended["response"]["output"][0]["content"]) > 2000


async def test_a_cancel_may_not_be_known(client: Client) -> None:
    refused, *rest = await ends_as(client, "cancel-as=unknown+rate=5000"), *await client.until()
    assert refused[-1]["error"]["code"] == "invalid_request_error"
    assert rest[-1]["type"] == "response.completed"


async def test_a_cancel_may_get_no_terminal(client: Client) -> None:
    name = await client.start(f"{SLOW}+cancel-as=none")
    await client.send("response.cancel", response_id=name)
    while not await client.quiet(0.2):
        pass
    assert text(await client.ask()) == WORDS


async def test_a_cancel_may_cost_the_connection(client: Client) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        await ends_as(client, "cancel-as=close")
    assert caught.value.rcvd is None


async def test_a_cancel_may_work_late(client: Client) -> None:
    loop = asyncio.get_running_loop()
    name = await client.start("replay-echo+tokens=500+stall@6+late=7+cancel-after=0.15")
    while not await client.quiet():
        pass
    began = loop.time()
    await client.send("response.cancel", response_id=name)
    events = await client.until()
    assert len(events) == 8
    assert loop.time() - began >= 0.15


async def test_ghosts_of_a_cancelled_response_walk_in_the_next(client: Client) -> None:
    await ends_as(client, "ghosts=3")
    await client.create()
    events = await client.until()
    assert len(events) == HEALTHY + 3
    mine = events[-1]["response"]["output"][0]["id"]
    strangers = [event for event in events if event.get("item_id", mine) != mine]
    assert len(strangers) == 3
    assert events.index(strangers[0]) == 1


Check = Callable[[list[JSON]], bool]

FAULTS: dict[str, Check] = {
    "error=server_is_overloaded": lambda events: events[0]["status"] == 503 and len(events) == 1,
    "error=rate_limit_exceeded@4": lambda events: events[-1]["status"] == 429 and len(events) == 5,
    "error=nonsense,flat-errors": lambda events: events[0]["code"] == "nonsense" and "error" not in events[0],
    "error=nonsense": lambda events: events[0]["stream_id"] == "a",
    "error=nonsense,bare-errors": lambda events: "stream_id" not in events[0],
    "error-event@2": lambda events: events[-1]["error"]["code"] == "server_error" and len(events) == 3,
    "outcome=failed": lambda events: [e["type"] for e in events[-1:]] == ["error"],
    "outcome=incomplete": lambda events: events[-1]["type"] == "response.incomplete",
    "empty-output": lambda events: events[-1]["response"]["output"] == [],
    "noise": lambda events: sum(e.get("stream_id") == "nobody" for e in events) == len(events) / 3,
    "tokens=50": lambda events: sum(e["type"].endswith("text.delta") for e in events) == 50,
    "rate=200": lambda events: events[-1]["type"] == "response.completed",
    "delay=0.05": lambda events: events[-1]["type"] == "response.completed",
    "twice": lambda events: events[-1]["type"] == "response.completed",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_what_it_says(client: Client, fault: str) -> None:
    await client.create("replay-echo", metadata={"penstock_fault": fault}, stream_id="a")
    events = await client.until()
    assert FAULTS[fault](events), events
    await client.create(stream_id="b")
    last = [event for event in await client.until("response.completed") if event.get("stream_id") == "b"]
    assert text(last[-1]["response"]) == WORDS if last else fault in ("outcome=failed", "twice")


async def test_the_terminal_may_come_twice(client: Client) -> None:
    await client.create("replay-echo+twice")
    first = (await client.until())[-1]
    assert await client.event() == first


@pytest.mark.parametrize("count", [0, 3])
async def test_a_response_may_have_no_end(server: ReplayServer, client: Client, count: int) -> None:
    await client.create(f"replay-echo+cut@{count}")
    for _ in range(count):
        await client.event()
    assert await client.quiet()
    assert server.stats.faulted == 1
    assert text(await client.ask()) == WORDS


@pytest.mark.parametrize(
    ("fault", "code", "count"),
    [
        ("close@0", 1006, 0),
        ("close@4", 1006, 4),
        ("close@4:1011", 1011, 4),
        (f"close@{HEALTHY}:1001", 1001, HEALTHY),
        ("reset@4", 1006, 4),
        ("close-after=1012", 1012, HEALTHY),
        ("error=websocket_connection_limit_reached@3", 1000, 4),
    ],
)
async def test_the_connection_may_end(client: Client, fault: str, code: int, count: int) -> None:
    await client.create(f"replay-echo+{fault}")
    assert len(await client.rest()) == count
    assert client.socket.close_code == code


async def test_events_may_be_damaged(client: Client) -> None:
    await client.create("replay-echo+malformed@2+binary@3")
    payloads = [await client.socket.recv() for _ in range(HEALTHY)]
    assert [type(payload) is bytes for payload in payloads] == [at == 3 for at in range(HEALTHY)]
    with pytest.raises(json.JSONDecodeError):
        json.loads(payloads[2])
    assert json.loads(payloads[-1])["type"] == "response.completed"


async def test_text_that_is_no_utf_8_is_the_client_s_to_refuse(client: Client) -> None:
    await client.create("replay-echo+bad-utf8@4")
    with pytest.raises(ConnectionClosed) as caught:
        await client.until()
    assert caught.value.sent is not None
    assert caught.value.sent.code == 1007


async def test_a_connection_ages(server: ReplayServer) -> None:
    async with talking(server, "?fault=max-age=0.1") as client:
        await client.ask()
        await asyncio.sleep(0.15)
        await client.create()
        ended = await client.event()
        assert ended["error"]["code"] == "websocket_connection_limit_reached"
        assert ended["status"] == 400
        with pytest.raises(ConnectionClosed):
            await client.event()


async def test_a_response_may_be_forgotten(client: Client) -> None:
    first = await client.ask("replay-echo+forget")
    await client.create(previous_response_id=first["id"])
    assert (await client.event())["error"]["code"] == "previous_response_not_found"


async def test_calls_may_have_bad_arguments(client: Client) -> None:
    called = (await client.ask("replay-tools+bad-arguments"))["output"]
    for call in called:
        with pytest.raises(json.JSONDecodeError):
            json.loads(call["arguments"])


async def test_only_a_get_is_an_upgrade(server: ReplayServer) -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    headers["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
        body = {"model": "replay-text", "input": "Hello"}
        answer = await client.post(f"{server.base_url}/responses", json=body)
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert server.stats.websockets == 0


@pytest.mark.parametrize(
    ("fault", "status"), [("no-websocket", 426), ("status=401", 401), ("status=503", 503)]
)
async def test_an_upgrade_may_be_refused_while_http_goes_on(
    server: ReplayServer, fault: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with talking(server, f"?fault={fault}"):
            pass
    assert caught.value.response.status_code == status
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"model": "replay-echo", "input": WORDS}
        assert (await http.post(f"{server.base_url}/responses?fault=no-websocket", json=body)).is_success
        bad = await http.get(f"{server.base_url}/responses", headers={"upgrade": "websocket"})
        assert bad.status_code == 426 or bad.is_client_error


async def test_a_steer_ends_the_response_and_a_successor_follows(
    server: ReplayServer, client: Client
) -> None:
    name = await client.start(given="first", stream_id="a")
    await client.send("response.steer", previous_response_id=name, input="turn left")
    accepted = (await client.until("response.steer.accepted"))[-1]
    assert accepted["steer"]["previous_response_id"] == name
    assert accepted["stream_id"] == "a"
    ended = (await client.until())[-1]["response"]
    assert ended["incomplete_details"] == {"reason": "steered"}
    events = await client.until()
    assert events[0]["type"] == "response.created"
    assert events[0]["response"]["previous_response_id"] == name
    assert text(events[-1]["response"]) == "turn left"
    assert said(server.asked[-1].context) == ["first", text(ended)]


async def test_a_steer_of_a_calling_response_waits_for_the_outputs(
    server: ReplayServer, client: Client
) -> None:
    await client.create("replay-tools+rate=200", "call")
    name = (await client.event())["response"]["id"]
    await client.send("response.steer", previous_response_id=name, input="also this")
    pending = (await client.until("response.steer.pending"))[-1]
    assert pending["reason"] == "waiting_for_required_input"
    owed = pending["required_input"]
    assert [stub["name"] for stub in owed] == ["read_gauge", "set_gate"]
    outputs = [{"type": stub["type"], "call_id": stub["call_id"], "output": "done"} for stub in owed]
    await client.ask("replay-tools", outputs, previous_response_id=name)
    assert said(server.asked[-1].body["input"]) == ["also this", "done", "done"]


@pytest.mark.parametrize(
    ("named", "given", "code"),
    [
        ("resp_nobody", "hi", "response_not_found"),
        ("ended", "hi", "response_already_completed"),
        ("ended", "", "invalid_input"),
        ("ended", [{"role": "system", "content": "no"}], "invalid_input"),
        ("ended", [], "invalid_input"),
    ],
)
async def test_a_steer_may_fail(client: Client, named: str, given: Any, code: str) -> None:
    ended = await client.ask()
    target = ended["id"] if named == "ended" else named
    await client.send("response.steer", previous_response_id=target, input=given)
    failed = await client.event()
    assert failed["type"] == "response.steer.failed"
    assert failed["error"]["code"] == code
    assert failed["steer"]["input"] == given


async def test_a_response_takes_so_many_steers(client: Client) -> None:
    await client.create("replay-tools+stall@2")
    name = (await client.event())["response"]["id"]
    for _ in range(9):
        await client.send("response.steer", previous_response_id=name, input="more")
    assert (await client.until("response.steer.failed"))[-1]["error"]["code"] == "too_many_pending_steers"


async def test_the_client_s_departure_ends_what_it_asked_for(server: ReplayServer) -> None:
    async with talking(server) as client:
        await client.start()
        await client.start(stream_id="a")
        assert server.stats.active == 2
    for _ in range(100):
        if server.stats.active == 0:
            break
        await asyncio.sleep(0.01)
    assert server.stats.active == 0
    assert server.stats.aborted == 2


async def sdk_async(server: ReplayServer) -> list[Any]:
    events = []
    async with (
        openai.AsyncOpenAI(base_url=server.base_url, api_key="none") as client,
        client.responses.connect() as connection,
    ):
        for given in ("one", "two"):
            await connection.response.create(model="replay-echo", input=given)
            async for event in connection:
                events.append(event)
                if event.type == "response.completed":
                    break
    return events


async def sdk_sync(server: ReplayServer) -> list[Any]:
    def talk() -> list[Any]:
        events = []
        sdk = openai.OpenAI(base_url=server.base_url, api_key="none")
        with sdk as client, client.responses.connect() as connection:
            for given in ("one", "two"):
                connection.response.create(model="replay-echo", input=given)
                for event in connection:
                    events.append(event)
                    if event.type == "response.completed":
                        break
        return events

    return await asyncio.to_thread(talk)


@pytest.mark.parametrize("talk", [sdk_async, sdk_sync])
async def test_the_openai_sdk_s_own_client(
    server: ReplayServer, talk: Callable[[ReplayServer], Awaitable[list[Any]]]
) -> None:
    events = await talk(server)
    ends = [event.response for event in events if event.type == "response.completed"]
    assert [end.output_text for end in ends] == ["one", "two"]
    assert server.stats.websockets == 1


async def test_the_openai_sdk_steers_and_reads_errors(server: ReplayServer) -> None:
    async with (
        openai.AsyncOpenAI(base_url=server.base_url, api_key="none") as client,
        client.responses.connect() as connection,
    ):
        await connection.send({"type": "response.create", "model": SLOW, "input": "first"})
        created = await connection.recv()
        assert created.type == "response.created"
        await connection.response.steer(previous_response_id=created.response.id, input="left")
        kinds = []
        async for event in connection:
            kinds.append(event.type)
            if event.type == "response.completed":
                assert event.response.output_text == "left"
                break
        assert {"response.steer.accepted", "response.incomplete"} <= {*kinds}
        await connection.send({"type": "response.create", "model": "replay-echo+error=server_is_overloaded"})
        failed = await connection.recv()
        assert failed.type == "error"
