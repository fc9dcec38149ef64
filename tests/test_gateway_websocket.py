"""The WebSocket mode on `/v1/responses`: real clients, routing by model, conversations shared with HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from gateways import Running, running
from openai import AsyncOpenAI
from test_gateway import MODELS, ask, body, text, words
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

KEY = "sk-0123456789abcdefghij"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running(
        keys=[{"name": "a", "key": KEY}, {"name": "b", "key": KEY[::-1], "models": ["replay-*"]}]
    ) as gateway:
        yield gateway


def dial(gateway: Running, key: str = KEY, **options: Any) -> connect:
    url = gateway.base_url.replace("http", "ws", 1) + "/responses"
    return connect(url, additional_headers={"authorization": f"Bearer {key}"}, proxy=None, **options)


async def create(socket: ClientConnection, **members: Any) -> list[dict[str, Any]]:
    """The events of one response."""
    await socket.send(json.dumps({"type": "response.create", **members}))
    return [event async for event in until_terminal(socket)]


async def until_terminal(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    async for message in socket:
        event = json.loads(message)
        yield event
        if event["type"] in ("response.completed", "response.failed", "response.incomplete", "error"):
            return


@pytest.mark.parametrize("model", MODELS)
async def test_conversations_over_one_connection_and_on_http(gateway: Running, model: str) -> None:
    async with dial(gateway) as socket:
        first = (await create(socket, model=f"{model}-echo", input="one"))[-1]["response"]
        second = (await create(socket, model=f"{model}-echo", input="two", previous_response_id=first["id"]))[
            -1
        ]["response"]
    assert text(second) == "two"
    sent = gateway.upstream.seen[-1].json()
    assert [words(item) for item in sent.get("input") or sent["messages"]] == ["one", "one", "two"]
    with gateway.client(KEY) as client:
        assert client.get(f"/responses/{second['id']}").json()["previous_response_id"] == first["id"]
        third = ask(client, body(f"{model}-echo", input="three", previous_response_id=second["id"]))
    assert text(third) == "three"


async def test_the_sdk_s_connection(gateway: Running) -> None:
    async with (
        AsyncOpenAI(base_url=gateway.base_url, api_key=KEY) as sdk,
        sdk.responses.connect() as connection,
    ):
        for model in MODELS:
            await connection.response.create(model=f"{model}-text", input="Hello")
            kinds = []
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.completed":
                    break
            assert kinds[0] == "response.created"
            assert "response.output_text.delta" in kinds


async def test_lanes_go_to_their_own_upstreams(gateway: Running) -> None:
    async with dial(gateway) as socket:
        for model in MODELS:
            request = {
                "type": "response.create",
                "stream_id": model,
                "model": f"{model}-text",
                "input": "Hello",
            }
            await socket.send(json.dumps(request))
        done: dict[str, str] = {}
        while len(done) < len(MODELS):
            event = json.loads(await socket.recv())
            if event["type"] == "response.completed":
                done[event["stream_id"]] = text(event["response"])
    assert set(done) == set(MODELS)
    assert gateway.settled()
    assert {record.transport for record in list(gateway.gateway.ledger.ended)[-3:]} == {"websocket"}


async def test_a_client_that_leaves_stops_the_upstream(gateway: Running) -> None:
    before = gateway.upstream.stats.aborted
    async with dial(gateway) as socket:
        metadata = {"penstock_fault": "stall@5"}
        request = {"type": "response.create", "model": "replay-text", "input": "x", "metadata": metadata}
        await socket.send(json.dumps(request))
        await socket.recv()
    assert gateway.settled(lambda: gateway.upstream.stats.aborted == before + 1)
    assert gateway.settled()


@pytest.mark.parametrize("fault", ["cut@5", "reset@5", "error-event@5", "status=500", "html", "close@0"])
async def test_faults_end_in_one_terminal(gateway: Running, fault: str) -> None:
    async with dial(gateway) as socket:
        events = await create(socket, model="replay-text", input="x", metadata={"penstock_fault": fault})
        assert events[-1]["type"] in ("response.failed", "error")
        after = await create(socket, model="replay-text", input="x")
        assert after[0]["type"] == "response.created", "the connection goes on"
        assert after[-1]["type"] == "response.completed"


async def test_errors_are_typed(gateway: Running) -> None:
    async with dial(gateway, KEY[::-1]) as socket:
        rows = [
            (
                {"model": "replay-text", "input": "x", "previous_response_id": "resp_none"},
                "previous_response_not_found",
            ),
            ({"model": "chat-text", "input": "x"}, "model_not_found"),
            ({"model": "none", "input": "x"}, "model_not_found"),
        ]
        for request, code in rows:
            (event,) = await create(socket, **request)
            assert (event["type"], event["error"]["code"]) == ("error", code)


async def test_who_is_let_in(gateway: Running) -> None:
    for key in ("wrong", ""):
        with pytest.raises(InvalidStatus) as refused:
            await dial(gateway, key)
        assert refused.value.response.status_code == 401
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            await dial(gateway, origin=origin)
        assert refused.value.response.status_code == 403
    async with dial(gateway, origin=gateway.url) as socket:
        assert (await create(socket, model="replay-text", input="x"))[-1]["type"] == "response.completed"
    offered = [f"openai-insecure-api-key.{KEY}", "realtime"]
    async with dial(gateway, "", subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
    with pytest.raises(InvalidStatus):
        await connect(f"ws://127.0.0.1:{gateway.port}/v1/other", proxy=None)


SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105


@pytest.mark.parametrize("ids", [{}, {"keys": {"k1": SECRET}}])
async def test_connections_are_forwarded_where_all_upstreams_speak_it(ids: dict[str, Any]) -> None:
    keys = [{"name": "a", "key": KEY, "models": ["my-*"]}]
    with running() as behind:
        upstream = {
            "name": "ws",
            "url": behind.upstream.base_url,
            "websocket": True,
            "models": ["my-*=replay-*"],
        }
        with running(upstreams=[upstream], keys=keys, ids=ids) as gateway:
            async with dial(gateway) as socket:
                first = (await create(socket, model="my-echo", input="one"))[-1]["response"]
                second = await create(socket, model="my-echo", input="two", previous_response_id=first["id"])
                assert text(second[-1]["response"]) == "two"
                (error,) = await create(socket, model="other", input="x")
                assert error["error"]["code"] == "model_not_found"
                assert (
                    first["id"] in {asked.body.get("previous_response_id") for asked in behind.upstream.asked}
                ) == (not ids)
                assert (await create(socket, model="my-text", input="x"))[-1]["type"] == "response.completed"
            assert gateway.settled()
            ended = gateway.gateway.ledger.ended
            assert [record.terminal for record in ended] == ["completed"] * 3
            assert {record.transport for record in ended} == {"websocket"}
            async with dial(gateway) as socket:
                (error,) = await create(socket, model="none", input="x")
                assert error["type"] == "error"
            with pytest.raises(InvalidStatus):
                await dial(gateway, "wrong")
