"""Streams killed at any moment, by FIN and by RST, leave nothing behind in the gateway's own books."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
from typing import Any

import pytest
from gateways import Running, running
from test_gateway import MODELS, body
from websockets.asyncio.client import connect

KILLED = 60
"""Streams of each kind; `test_gateway_scale` has a thousand."""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def tasks(gateway: Running) -> int:
    return len(asyncio.all_tasks(gateway.loop))


async def kill_http(gateway: Running, model: str, chance: random.Random) -> None:
    """One stream, left by FIN or RST somewhere before its end."""
    request = body(f"{model}-text", stream=True, metadata={"penstock_fault": "rate=500"})
    data = json.dumps(request).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    for _ in range(chance.randrange(4)):
        await reader.read(2_000)
    if chance.random() < 0.5:
        sock: Any = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def kill_websocket(gateway: Running, model: str, chance: random.Random) -> None:
    async with connect(gateway.base_url.replace("http", "ws", 1) + "/responses", proxy=None) as connection:
        request = {"type": "response.create", "model": f"{model}-text", "input": "Hello"}
        await connection.send(json.dumps({**request, "metadata": {"penstock_fault": "rate=500"}}))
        for _ in range(chance.randrange(30)):
            await connection.recv()
        if chance.random() < 0.5:
            connection.transport.abort()


@pytest.mark.parametrize("kill", [kill_http, kill_websocket])
async def test_streams_killed_in_the_middle_leave_nothing(kill: Any) -> None:
    chance = random.Random(7)  # noqa: S311
    with running() as gateway:
        await kill(gateway, "replay", chance)
        assert await asyncio.to_thread(gateway.settled)
        before = tasks(gateway), descriptors()
        for first in range(0, KILLED, 30):
            crowd = (kill(gateway, MODELS[n % len(MODELS)], chance) for n in range(first, first + 30))
            await asyncio.gather(*crowd)
        assert await asyncio.to_thread(gateway.settled)
        assert set(gateway.gateway.ledger.terminals) <= {
            ("client_disconnected", "responses"),
            ("completed", "responses"),
        }
        assert not gateway.gateway.running

        def nothing_left() -> bool:
            free = sum(upstream.endpoint.connections for upstream in gateway.gateway.router.upstreams)
            # A connection that is kept for the next request has two descriptors here, one at each end.
            return tasks(gateway) <= before[0] and descriptors() - 2 * free <= before[1]

        assert await asyncio.to_thread(gateway.settled, nothing_left), (tasks(gateway), descriptors(), before)
        assert all(upstream.active == 0 for upstream in gateway.gateway.router.upstreams)
