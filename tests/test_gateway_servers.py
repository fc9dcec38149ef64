"""The gateway as an ASGI application of other servers than its own: hypercorn and granian."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from penstock import Decoder, lint
from penstock.gateway import Gateway, read
from penstock.replay import ReplayServer


def main(server: str, port: int, upstream: str) -> None:
    """Serve a gateway until a signal comes."""
    bare = {"url": upstream, "history": "gateway"}
    config = read(
        {
            "upstreams": [
                {"name": "both", **bare, "dialect": "both", "models": ["replay-*"]},
                {"name": "chat", **bare, "dialect": "chat", "models": ["chat-*=replay-*"]},
            ],
        },
        {},
    )
    app: Any = Gateway(config)
    if server == "hypercorn":
        from hypercorn.asyncio import serve  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        settings = Config()
        settings.bind, settings.loglevel = [f"127.0.0.1:{port}"], "error"
        asyncio.run(serve(app, settings))
    else:
        from granian.constants import Interfaces  # noqa: PLC0415
        from granian.server.embed import Server  # noqa: PLC0415

        asyncio.run(Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False).serve())


@pytest.fixture(scope="module", params=["hypercorn", "granian"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, ReplayServer]]:
    with ReplayServer() as upstream, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, __file__, request.param, str(port), upstream.base_url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                assert eventually(lambda: answers(port))
                yield f"http://127.0.0.1:{port}", upstream
            finally:
                process.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def eventually(condition: Any, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("model", ["replay", "chat"])
def test_streams(served: tuple[str, ReplayServer], model: str) -> None:
    url, _ = served
    request = {"model": f"{model}-text", "input": "Hello", "stream": True}
    answer = httpx.post(f"{url}/v1/responses", json=request, trust_env=False)
    assert lint(answer.content) == []
    last = Decoder().feed(answer.content)[-1]
    assert last.type == "response.completed"
    stored = httpx.get(f"{url}/v1/responses/{last['response']['id']}", trust_env=False)
    assert stored.json()["status"] == "completed"


@pytest.mark.parametrize("model", ["replay", "chat"])
def test_a_client_that_leaves_stops_the_upstream(served: tuple[str, ReplayServer], model: str) -> None:
    url, upstream = served
    before = upstream.stats.aborted
    request = {
        "model": f"{model}-text",
        "input": "x",
        "stream": True,
        "metadata": {"penstock_fault": "stall@5"},
    }
    with httpx.stream("POST", f"{url}/v1/responses", json=request, trust_env=False) as answer:
        chunks = answer.iter_bytes()
        next(chunks)
    assert eventually(lambda: upstream.stats.aborted == before + 1, 5)
    assert eventually(lambda: upstream.stats.active == 0, 5)


async def test_a_websocket(served: tuple[str, ReplayServer]) -> None:
    url, _ = served
    async with connect(url.replace("http", "ws", 1) + "/v1/responses", proxy=None) as connection:
        request = {"type": "response.create", "model": "chat-text", "input": "Hello"}
        await connection.send(json.dumps(request))
        kinds: list[str] = []
        while not kinds or kinds[-1] != "response.completed":
            kinds.append(json.loads(await connection.recv())["type"])
    assert kinds[0] == "response.created"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
