"""Both kinds of connection behind real servers, with real clients: the openai SDK's, and crowds.

`PENSTOCK_CROWD` sets how many clients a crowd has.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
import pytest
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websocket_kit import SERVERS, Leaks, Server, asgi_server, ask, dial, until
from websockets.asyncio.client import ClientConnection, connect

import penstock.websocket
from penstock.replay import ReplayServer
from penstock.websocket import ConnectionLimits, HttpBackEnd, ManagedConnection, ManagedLimits, forward

CROWD = int(os.environ.get("PENSTOCK_CROWD", "60"))

Kind = Literal["forward", "managed", "managed chat"]
KINDS: tuple[Kind, ...] = ("forward", "managed", "managed chat")


def application(
    kind: Kind, upstream: ReplayServer, session: aiohttp.ClientSession, **limits: Any
) -> Starlette:
    """An application whose `/v1/responses` speaks WebSocket."""
    connection = ConnectionLimits(**limits)

    async def responses(websocket: WebSocket) -> None:
        if kind == "forward":
            url = upstream.base_url.replace("http", "ws", 1) + "/responses"
            await forward(
                websocket,
                lambda _: penstock.websocket.connect(url),
                allowed_origins=None,
                limits=connection,
            )
            return
        path, dialect = ("/chat/completions", "chat") if "chat" in kind else ("/responses", "responses")
        back_end = HttpBackEnd(session, upstream.base_url + path, dialect=dialect)  # type: ignore[arg-type]
        managed = ManagedConnection(back_end, limits=ManagedLimits(connection=connection))
        await managed.serve(websocket, allowed_origins=None)

    return Starlette(routes=[WebSocketRoute("/v1/responses", responses)])


@asynccontextmanager
async def served(server: Server, kind: Kind, **limits: Any) -> AsyncIterator[tuple[str, ReplayServer]]:
    """The address of such an application, and its upstream."""
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        ReplayServer() as upstream,
        aiohttp.ClientSession(connector=connector) as session,
        asgi_server(server, application(kind, upstream, session, **limits)) as url,
    ):
        yield url, upstream


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server", SERVERS)
async def test_the_openai_sdk(server: Server, kind: Kind) -> None:
    async with served(server, kind) as (url, _upstream):
        base_url = url.replace("ws", "http", 1).partition("/responses")[0]
        async with (
            AsyncOpenAI(base_url=base_url, api_key="none") as client,
            client.responses.connect() as connection,
        ):
            previous: dict[str, Any] = {}
            for said in ("one", "two"):
                await connection.response.create(model="replay-echo", input=said, **previous)
                text = ""
                async for event in connection:
                    if event.type == "response.output_text.delta":
                        text += event.delta
                    if event.type == "response.completed":
                        previous = {"previous_response_id": event.response.id}
                        assert event.response.output_text == text == said
                        break
            await connection.response.create(model="replay-echo", input="x", previous_response_id="resp_?")
            event = await anext(aiter(connection))
            assert event.type == "error"
            assert event.model_dump()["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_crowd_that_is_killed_leaves_nothing(server: Server, kind: Kind) -> None:
    seed = random.Random(7)  # noqa: S311 - moments, not secrets
    async with served(server, kind) as (url, upstream):
        async with dial(url) as client:  # what the first connection sets up for good
            await ask(client, model="replay-echo", input="x")
            await client.close()
        await until(lambda: upstream.stats.active == 0)
        await asyncio.sleep(0.3)
        leaks = Leaks()
        clients = [await connect(url, compression=None, proxy=None) for _ in range(CROWD)]
        for number, client in enumerate(clients):
            model = ("replay-text+rate=50", "replay-text+stall@4", "replay-text+delay=30")[number % 3]
            await client.send(json.dumps({"type": "response.create", "model": model, "input": "x"}))
        await until(lambda: upstream.stats.active == CROWD, 60)
        for client in seed.sample(clients, CROWD):
            if seed.random() < 0.5:
                client.transport.abort()
            else:
                await client.close()
        del clients, client
        await until(lambda: upstream.stats.active == 0)
        await leaks.settled()
        async with dial(url) as client:
            assert (await ask(client, model="replay-echo", input="x"))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_crowd_that_never_reads_costs_little(server: Server, kind: Kind) -> None:
    """The upstream has 25 MB for each; what it gets rid of is what the sockets on the way hold."""
    crowd = max(4, CROWD // 6)
    async with served(server, kind) as (url, upstream):
        async with dial(url) as client:
            await ask(client, model="replay-echo", input="x")
        clients = [await connect(url, compression=None, proxy=None) for _ in range(crowd)]
        before = resident()
        for client in clients:
            client.transport.pause_reading()
            asked = {"type": "response.create", "model": "replay-text+tokens=100000", "input": "x"}
            await client.send(json.dumps(asked))
        await until(lambda: upstream.stats.active == crowd, 60)
        await still(resident)
        assert upstream.stats.active == crowd  # all of them wait
        assert upstream.stats.completed == 1
        # Pipes, libraries' buffers and this process's other two parts: the clients and the upstream.
        assert resident() - before < crowd * 4_000_000
        for client in clients:
            client.transport.abort()
        await until(lambda: upstream.stats.active == 0)


async def still(figure: Callable[[], int]) -> None:
    """Wait until a figure stops growing."""
    async with asyncio.timeout(120):
        before = -1
        while figure() > before + 100_000:
            before = figure()
            await asyncio.sleep(0.5)


def resident() -> int:
    """This process's memory, in bytes."""
    gc.collect()
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_client_that_never_reads_is_put_out_by_every_server() -> None:
    for server in SERVERS:
        async with served(server, "managed", write_seconds=0.3) as (url, upstream):
            client: ClientConnection = await connect(url, compression=None, proxy=None)
            client.transport.pause_reading()
            asked = {"type": "response.create", "model": "replay-text+tokens=100000", "input": "x"}
            await client.send(json.dumps(asked))
            await until(lambda: upstream.stats.active == 1)
            await until(lambda: upstream.stats.active == 0, 30)
            client.transport.abort()
