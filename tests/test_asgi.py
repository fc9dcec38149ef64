"""The arrival-time middleware: on plain ASGI calls, and behind a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import pytest
import uvicorn

from penstock.asgi import KEY, ServerArrivalTimeMiddleware


class App:
    """Keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any]] = []

    async def __call__(self, *call: Any) -> None:
        self.calls.append(call)


async def receive() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def send(message: Any) -> None: ...


async def served(scope: dict[str, Any], **options: Any) -> dict[str, Any]:
    app = App()
    await ServerArrivalTimeMiddleware(app, **options)(scope, receive, send)
    [(seen, *channels)] = app.calls
    assert id(seen) == id(scope)
    assert channels == [receive, send]
    return scope


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_requests_are_stamped(kind: str) -> None:
    assert await served({"type": kind}, clock=lambda: 7.5) == {"type": kind, "state": {KEY: 7.5}}


async def test_the_clock_is_steady_by_default() -> None:
    before = time.monotonic()
    scope = await served({"type": "http"})
    assert before <= scope["state"]["server_arrival_time"] <= time.monotonic()


async def test_state_that_is_there_stays() -> None:
    state = {"engine": object()}
    scope = await served({"type": "http", "state": state}, clock=lambda: 1.0)
    assert scope["state"] is state
    assert set(state) == {"engine", KEY}


async def test_the_first_layer_counts() -> None:
    scope: dict[str, Any] = {"type": "http"}
    inner = ServerArrivalTimeMiddleware(App(), clock=lambda: 2.0)
    await ServerArrivalTimeMiddleware(inner, clock=lambda: 1.0)(scope, receive, send)
    assert scope["state"] == {KEY: 1.0}


@pytest.mark.parametrize("kind", ["lifespan", "other"])
async def test_other_scopes_pass_through(kind: str) -> None:
    state: dict[str, Any] = {}
    assert await served({"type": kind, "state": state}) == {"type": kind, "state": {}}
    assert state == {}


async def test_errors_pass_through() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("app")

    with pytest.raises(KeyError, match="app"):
        await ServerArrivalTimeMiddleware(fails)({"type": "http"}, receive, send)


def test_behind_a_server() -> None:
    times: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["engine"] = "kept"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})
            return
        times.append(scope["state"][KEY])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (scope["state"]["engine"].encode(), b" still"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        ServerArrivalTimeMiddleware(app), port=0, log_level="error", lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        before = time.monotonic()
        bodies = [httpx.get(f"http://127.0.0.1:{port}", trust_env=False).text for _ in range(2)]
    finally:
        server.should_exit = True
        thread.join(10)
    assert bodies == ["kept still"] * 2
    assert before <= times[0] < times[1]
