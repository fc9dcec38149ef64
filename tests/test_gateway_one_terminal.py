"""One terminal in each of 160 faults: 20 places in a stream, on each of 8 ways through the gateway.

Four ways over HTTP, each API from upstreams of each; four over WebSocket, managed over both, on a lane, and
forwarded. Whatever breaks after the first event, the client reads one end, and not that it was completed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from gateways import Running, running
from test_gateway_faults import stream, terminals
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

ENDS = ("response.completed", "response.failed", "response.incomplete", "response.cancelled", "error")
KINDS = ("reset", "close", "json-error", "error-event", "cut")
FAULTS = [f"{KINDS[place % 5]}@{1 + 7 * place}" for place in range(20)]
FORWARDED = [f"{('reset', 'close')[place % 2]}@{1 + 7 * place}" for place in range(20)]
"""An upstream on a WebSocket has no other way to break off."""


@pytest.fixture(scope="module")
def gateways() -> Iterator[dict[str, Running]]:
    """One that manages WebSockets, and one that forwards them."""
    with ExitStack() as stack:
        managing = stack.enter_context(running(retry={"attempts": 1}))
        upstream = {"name": "ws", "url": managing.upstream.base_url, "websocket": True, "models": ["*"]}
        yield {"managing": managing, "forwarding": stack.enter_context(running(upstreams=[upstream]))}


async def over_http(gateways: dict[str, Running], api: str, model: str, fault: str) -> list[str]:
    gateway = gateways["managing"]
    answer = await asyncio.to_thread(stream, gateway, api, model, fault)
    assert answer.status_code == 200
    return terminals(api, answer.content)


async def over_websocket(
    gateways: dict[str, Running], kind: str, model: str, fault: str, **lane: str
) -> list[str]:
    """The ends up to those of the next response, or of the connection."""
    found = []
    base_url = gateways[kind].base_url.replace("http", "ws", 1)
    async with asyncio.timeout(20), connect(f"{base_url}/responses", proxy=None) as client:
        for metadata in ({"penstock_fault": fault}, {}):
            request = {"type": "response.create", "model": model, "input": "x", "metadata": metadata, **lane}
            try:
                await client.send(json.dumps(request))
                while (event := json.loads(await client.recv()))["type"] not in ENDS:
                    assert event.get("stream_id") == lane.get("stream_id")
            except ConnectionClosed:
                assert kind == "forwarding"
                break
            found.append(event["type"])
    assert kind == "forwarding" or found.pop() == "response.completed", "the connection goes on"
    return found


Way = Callable[[dict[str, Running], str], Coroutine[Any, Any, list[str]]]

WAYS: dict[str, Way] = {
    "responses from responses": lambda all, fault: over_http(all, "responses", "responses", fault),
    "responses from chat": lambda all, fault: over_http(all, "responses", "chat", fault),
    "chat from chat": lambda all, fault: over_http(all, "chat", "chat", fault),
    "chat from responses": lambda all, fault: over_http(all, "chat", "responses", fault),
    "websocket from responses": lambda all, fault: over_websocket(all, "managing", "responses-text", fault),
    "websocket from chat": lambda all, fault: over_websocket(all, "managing", "chat-text", fault),
    "websocket on a lane": lambda all, fault: over_websocket(
        all, "managing", "replay-text", fault, stream_id="lane"
    ),
    "websocket forwarded": lambda all, fault: over_websocket(all, "forwarding", "replay-text", fault),
}
CASES = [(way, fault) for way in WAYS for fault in (FORWARDED if way == "websocket forwarded" else FAULTS)]


def test_there_are_160_of_them() -> None:
    assert len(set(CASES)) == 160


@pytest.mark.parametrize(("way", "fault"), CASES)
async def test_one_terminal(gateways: dict[str, Running], way: str, fault: str) -> None:
    (terminal,) = await WAYS[way](gateways, fault)
    assert terminal in ("response.failed", "error")


def test_nothing_is_left_of_them(gateways: dict[str, Running]) -> None:
    for gateway in gateways.values():
        assert gateway.settled(lambda gateway=gateway: not gateway.gateway.ledger.active)  # type: ignore[misc]
    assert gateways["managing"].settled()
