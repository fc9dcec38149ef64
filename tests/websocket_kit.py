"""Real WebSockets for tests: servers of every kind on loopback, in the test's own loop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import hypercorn.asyncio
import uvicorn
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from hypercorn.config import Config
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

JSON = dict[str, Any]
Server = Literal["uvicorn", "uvicorn-wsproto", "hypercorn", "granian"]
SERVERS: tuple[Server, ...] = ("uvicorn", "hypercorn", "granian")

TERMINALS = {"response.completed", "response.failed", "response.incomplete", "error"}


@asynccontextmanager
async def websockets_server(
    handler: Callable[[ServerConnection], Awaitable[Any]], **options: Any
) -> AsyncIterator[str]:
    """A server of the `websockets` library; its `ws://` address."""
    async with serve(handler, "127.0.0.1", 0, compression=None, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/responses?a=1"


@asynccontextmanager
async def asgi_server(
    kind: Server, app: Any, *, lifespan: Literal["on", "off"] = "off"
) -> AsyncIterator[str]:
    """An ASGI server with the application `app`; its `ws://` address. `lifespan` is for uvicorn alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run: Any
    if kind.startswith("uvicorn"):
        ws: Any = "wsproto" if kind.endswith("wsproto") else "websockets-sansio"
        config = uvicorn.Config(app, port=port, ws=ws, lifespan=lifespan, log_level="critical")
        served = uvicorn.Server(config)
        task = asyncio.create_task(served.serve())

        def stop() -> None:
            served.should_exit = True

    elif kind == "hypercorn":
        over = asyncio.Event()
        settings = Config()
        settings.bind, settings.errorlog, settings.graceful_timeout = [f"127.0.0.1:{port}"], None, 1
        run = hypercorn.asyncio.serve(app, settings, shutdown_trigger=over.wait)
        task = asyncio.create_task(run)
        stop = over.set
    else:
        granian = Granian(app, port=port, interface=Interfaces.ASGI, log_enabled=False)
        task = asyncio.create_task(granian.serve())
        stop = granian.stop
    try:
        await until(lambda: listens(port))
        yield f"ws://127.0.0.1:{port}/v1/responses?a=1"
    finally:
        stop()
        await asyncio.wait_for(task, 10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition; fail if it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind
            await asyncio.sleep(0.01)


@asynccontextmanager
async def dial(url: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """A client of the `websockets` library."""
    async with connect(url, compression=None, proxy=None, **options) as connection:
        yield connection


async def close_of(connection: ClientConnection, seconds: float = 30.0) -> tuple[int, str]:
    """Read to the end; the code and reason it ended with."""
    async with asyncio.timeout(seconds):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as error:
            return (1006, "") if error.rcvd is None else (error.rcvd.code, error.rcvd.reason)


async def all_of(connection: ClientConnection, seconds: float = 30.0) -> list[JSON]:
    """Read to the end; the frames before it."""
    frames = []
    async with asyncio.timeout(seconds):
        try:
            while True:
                frames.append(json.loads(await connection.recv()))
        except ConnectionClosed:
            return frames


async def ask(connection: ClientConnection, seconds: float = 30.0, **params: Any) -> list[JSON]:
    """Send a `response.create` and read its frames up to the terminal one."""
    await connection.send(json.dumps({"type": "response.create", **params}))
    return await answer(connection, seconds)


async def answer(connection: ClientConnection, seconds: float = 30.0) -> list[JSON]:
    """Read up to a terminal frame."""
    frames = []
    async with asyncio.timeout(seconds):
        while True:
            frames.append(json.loads(await connection.recv()))
            if frames[-1]["type"] in TERMINALS:
                return frames


class Leaks:
    """Tasks and descriptors there are more of than before."""

    def __init__(self) -> None:
        gc.collect()
        self._tasks = asyncio.all_tasks()
        self._files = descriptors()

    async def settled(self, seconds: float = 20.0) -> None:
        """Wait until nothing is left; fail, naming what is, if something stays."""
        try:
            await until(lambda: not self.tasks() and descriptors() <= self._files, seconds)
        except TimeoutError:
            raise AssertionError(
                f"{self.tasks()} and {descriptors() - self._files} descriptors left"
            ) from None

    def tasks(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - self._tasks


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
