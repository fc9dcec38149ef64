"""Hooks and prices on the WebSocket mode, managed and forwarded: all that they are told and do over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gateway_hooks
import pytest
from gateways import Running, running
from test_gateway_hooks import use
from websocket_kit import websockets_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection

TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
KINDS = ("replay", "chat", "forwarded")
"""Managed over Responses, managed over Chat Completions, forwarded to an upstream that speaks it."""


@pytest.fixture(autouse=True)
def seen() -> list[tuple[str, Any]]:
    gateway_hooks.SEEN.clear()
    return gateway_hooks.SEEN


@asynccontextmanager
async def connected(kind: str, **sections: Any) -> AsyncIterator[tuple[Running, ClientConnection]]:
    """A gateway with these sections, and a client of it."""
    with running() as behind:
        upstream = {"name": "ws", "url": behind.upstream.base_url, "websocket": True, "models": ["*"]}
        upstreams = {"upstreams": [upstream]} if kind == "forwarded" else {}
        with running(**upstreams, **sections) as gateway:
            url = gateway.base_url.replace("http", "ws", 1) + "/responses"
            async with connect(url, proxy=None) as client:
                yield gateway, client
            assert gateway.settled()


def name(kind: str, script: str) -> str:
    return f"{'replay' if kind == 'forwarded' else kind}-{script}"


async def create(client: ClientConnection, **members: Any) -> list[dict[str, Any]]:
    await client.send(json.dumps({"type": "response.create", "input": "x", **members}))
    async with asyncio.timeout(20):
        events = [json.loads(await client.recv())]
        while events[-1]["type"] not in TERMINALS:
            events.append(json.loads(await client.recv()))
        return events


@pytest.mark.parametrize("kind", KINDS)
async def test_each_response_is_told_of_once(kind: str, seen: list[tuple[str, Any]]) -> None:
    model = name(kind, "text")
    async with connected(kind, hooks=use("Audit")) as (gateway, client):
        for lane in ({}, {"stream_id": "b"}):
            seen.clear()
            usage = (await create(client, model=model, **lane))[-1]["response"]["usage"]
            assert seen == [("request", model), ("complete", usage)]
        # Over a WebSocket what would cut the stream ends the connection.
        for fault in ("error-event@5",) if kind == "forwarded" else ("cut@5", "reset@5", "status=500"):
            seen.clear()
            await create(client, model=model, metadata={"penstock_fault": fault})
            assert [what for what, _ in seen] == ["request", "error"], fault
        seen.clear()
        request = {"type": "response.create", "model": model, "input": "x"}
        await client.send(json.dumps({**request, "metadata": {"penstock_fault": "stall@9"}}))
        await client.recv()
        await client.close()
        assert gateway.settled(lambda: ("error", "ClientDisconnected") in seen), seen


@pytest.mark.parametrize("kind", KINDS)
async def test_events_are_edited(kind: str) -> None:
    async with connected(kind, hooks=use("Editor")) as (_, client):
        events = await create(client, model=name(kind, "text"))
        assert "response.in_progress" not in [event["type"] for event in events]
        said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert said == said.upper() != ""
        assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_guard_ends_the_response_and_not_the_connection(
    kind: str, seen: list[tuple[str, Any]]
) -> None:
    async with connected(kind, hooks=use("Guard", "Refusals")) as (gateway, client):
        (refused,) = await create(client, model=name(kind, "text"), user="refuse")
        assert (refused["type"], refused["error"]["code"]) == ("error", "refused")
        events = await create(client, model=name(kind, "text"))  # of whose words one is refused
        last = events[-1]
        assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "refused")
        assert last["response"]["output"], "what had come is kept"
        events = await create(client, model=name(kind, "echo"), input="dry")  # of which the end is
        assert (events[-1]["type"], events[-1]["response"]["error"]["code"]) == ("response.failed", "refused")
        await create(client, model=name(kind, "tools"), user="mark")
        if kind != "forwarded":
            assert b'"marked"' in gateway.upstream.seen[-1].body
    assert [what for what, _ in seen].count("error") == 3
    assert seen[-1] == ("complete", "completed")


@pytest.mark.parametrize("answers", [False, True], ids=["silent", "refusing"])
async def test_what_follows_a_refused_response_waits_until_the_upstream_has_stopped(
    *, answers: bool, seen: list[tuple[str, Any]]
) -> None:
    heard: list[str] = []

    async def one_at_a_time(server: ServerConnection) -> None:
        async def say(kind: str, **members: Any) -> None:
            await server.send(json.dumps({"type": kind, **members}))

        async def stop(response: dict[str, Any]) -> None:
            if answers:
                await say("error", error={"code": "cancellation_failed", "message": "It ends by itself."})
            await asyncio.sleep(0.2)
            current.clear()
            await say("response.output_text.delta", delta="more", output_index=0)
            await say("response.incomplete", response={**response, "status": "incomplete"})

        current: list[dict[str, Any]] = []
        tasks = []
        async for message in server:
            frame = json.loads(message)
            heard.append(frame["type"])
            if frame["type"] == "response.cancel":
                tasks.append(asyncio.create_task(stop(current[0])))
            elif current:
                await say("error", error={"code": "response_already_in_flight", "message": "One at a time."})
            else:
                current.append({"id": f"resp_{len(heard)}", "model": "m", "output": []})
                await say("response.created", response={**current[0], "status": "in_progress"})
                if len(heard) == 1:
                    await say("response.output_text.delta", delta="steel", output_index=0)
                else:
                    await say("response.completed", response={**current.pop(), "status": "completed"})

    async with websockets_server(one_at_a_time) as url:
        base = url.replace("ws", "http", 1).partition("/responses")[0]
        upstream = {"name": "ws", "url": base, "websocket": True, "models": ["*"]}
        with running(upstreams=[upstream], hooks=use("Guard", "Refusals")) as gateway:
            address = gateway.base_url.replace("http", "ws", 1) + "/responses"
            async with connect(address, proxy=None) as client:
                events = await create(client, model="m")
                assert events[-1]["response"]["error"]["code"] == "refused"
                events = await create(client, model="m")
                assert [event["type"] for event in events] == ["response.created", "response.completed"]
    assert heard == ["response.create", "response.cancel", "response.create"]
    assert seen == [("error", "GuardFailed"), ("complete", "completed")]


@pytest.mark.parametrize("kind", KINDS)
async def test_prices_are_stamped_on_answers(kind: str) -> None:
    prices = {"*": {"input": 1_000_000, "output": 2_000_000}}
    async with connected(kind, prices=prices) as (gateway, client):
        last = (await create(client, model=name(kind, "text")))[-1]["response"]
        usage = last["usage"]
        assert usage["cost"] == usage["input_tokens"] + 2 * usage["output_tokens"]
        if kind != "forwarded":
            with gateway.client() as http:
                assert http.get(f"/responses/{last['id']}").json()["usage"] == usage
