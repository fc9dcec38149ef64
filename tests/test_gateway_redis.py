"""Redis behind the gateway, killed and started again while conversations go on."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import redis_server as servers
from gateways import Running, running
from test_gateway import body, text
from websockets.asyncio.client import connect

from penstock import Decoder
from penstock.store.redis import RedisStore

KILLS = 6
Say = Any


def completed(event: dict[str, Any]) -> dict[str, Any] | None:
    """The response, if its client may take it for good."""
    response: dict[str, Any] = event.get("response") or {}
    return response if event["type"] == "response.completed" else None


async def whole(
    gateway: Running, request: dict[str, Any], client: httpx.AsyncClient
) -> dict[str, Any] | None:
    answer = await client.post("/responses", json=request)
    return answer.json() if answer.status_code == 200 else None


async def streamed(
    gateway: Running, request: dict[str, Any], client: httpx.AsyncClient
) -> dict[str, Any] | None:
    answer = await client.post("/responses", json={**request, "stream": True})
    return completed(Decoder().feed(answer.content)[-1].json()) if answer.status_code == 200 else None


async def over_websocket(
    gateway: Running, request: dict[str, Any], client: httpx.AsyncClient
) -> dict[str, Any] | None:
    async with connect(gateway.base_url.replace("http", "ws", 1) + "/responses", proxy=None) as socket:
        await socket.send(json.dumps({"type": "response.create", **request}))
        async for message in socket:
            event = json.loads(message)
            if event["type"] in ("response.completed", "response.failed", "error"):
                return completed(event)
    return None


async def converse(gateway: Running, say: Say, model: str, over: asyncio.Event) -> AsyncIterator[str]:
    """The texts that were said and answered, in order; what failed is said again."""
    previous, number = None, 0
    async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=60) as client:
        while not over.is_set():
            said = f"{number}"
            request = body(f"{model}-echo", input=said)
            request |= {} if previous is None else {"previous_response_id": previous}
            response = await say(gateway, request, client)
            if response is not None:
                assert text(response) == said
                previous, number = response["id"], number + 1
                yield previous
            await asyncio.sleep(0.005)


async def test_no_committed_turn_is_lost(own_server: servers.RedisServer) -> None:
    """What a client has seen completed is there in the end, with all that was said before it."""
    chance, over = random.Random(7), asyncio.Event()  # noqa: S311 - moments, not secrets
    ways = [(say, model) for say in (whole, streamed, over_websocket) for model in ("replay", "chat")]
    with running(store={"kind": "redis", "url": own_server.url, "wait": 1}) as gateway:

        async def talk(say: Say, model: str) -> list[str]:
            return [said async for said in converse(gateway, say, model, over)]

        talks = [asyncio.create_task(talk(say, model)) for say, model in ways]
        for kill in range(KILLS):
            await asyncio.sleep(0.3 + chance.random() / 4)
            await asyncio.to_thread(own_server.kill)
            # Sometimes it is back in time, sometimes clients are told that a response is not kept.
            await asyncio.sleep((0.0, 0.3, 1.5)[kill % 3])
            await asyncio.to_thread(own_server.start)
        await asyncio.sleep(0.5)
        over.set()
        told = await asyncio.gather(*talks)
        assert gateway.settled()
        store = RedisStore.from_url(own_server.url)
        async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=30) as client:
            for ids in told:
                assert len(ids) > KILLS
                for response_id in ids:
                    assert (await client.get(f"/responses/{response_id}")).status_code == 200
                history = (await store.load_history("local", ids[-1])).json()
                assert [_words(item) for item in history] == [str(n) for n in range(len(ids)) for _ in "qa"]
        await store.close()


def _words(item: dict[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def test_a_store_that_stays_away_is_told_truthfully(own_server: servers.RedisServer) -> None:
    with running(store={"kind": "redis", "url": own_server.url, "wait": 0.1}) as gateway:
        async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=30) as client:
            first = await whole(gateway, body("replay-text"), client)
            assert first is not None
            await asyncio.to_thread(own_server.kill)
            answer = await client.post("/responses", json=body("replay-text"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "response_not_stored")
            answer = await client.post("/responses", json=body("replay-text", stream=True))
            last = Decoder().feed(answer.content)[-1]
            assert last.type == "response.failed"
            assert last["response"]["error"]["code"] == "response_not_stored"
            assert text(last["response"]), "what has come is the client's"
            for request in (
                client.post("/responses", json=body("replay-text", previous_response_id=first["id"])),
                client.get(f"/responses/{first['id']}"),
            ):
                answer = await request
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
            assert await over_websocket(gateway, body("replay-text"), client) is None
            unstored = await client.post("/responses", json=body("replay-text", store=False))
            assert unstored.status_code == 200
        assert gateway.settled()
