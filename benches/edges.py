"""WebSocket forwarders, each in a thread of its own, so that its processor time can be told from its peers'.

Upstream and client are in other threads; a forwarder's frames cross two real sockets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import clock_gettime, pthread_getcpuclockid
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from penstock.websocket import ConnectionLimits, forward
from penstock.websocket import connect as penstock_connect

Handler = Callable[[ServerConnection], Awaitable[Any]]
Edge = Callable[[str], Handler]

STORED = {"response.created", "response.completed", "response.failed", "response.incomplete", "error"}
PLAIN: dict[str, Any] = {"compression": None, "max_size": None}


class Loop:
    """An event loop in a thread; `timed` ones count for `edges_time`."""

    def __init__(self, name: str, *, timed: bool = False) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._server: Any = None
        if timed:
            TIMED.append(self)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def listen(self, handler: Handler) -> str:
        """Serve there; the address."""
        self._server = self.run(_listen(handler))
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    def seconds(self) -> float:
        """The thread's processor time."""
        assert self._thread.ident is not None
        return clock_gettime(pthread_getcpuclockid(self._thread.ident))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self in TIMED:
            TIMED.remove(self)
        if self._server is not None:
            self.run(_stop(self._server))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _listen(handler: Handler) -> Any:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    return await serve(handler, "127.0.0.1", 0, **PLAIN)


async def _stop(server: Any) -> None:
    server.close()
    await server.wait_closed()


TIMED: list[Loop] = []


def edges_time() -> float:
    """Processor seconds of the forwarders' threads alone."""
    return sum(loop.seconds() for loop in TIMED)


class Client:
    """One connection through an edge; a pass asks for the frames and reads them."""

    def __init__(self, url: str) -> None:
        self._loop = Loop("client")
        self._connection: ClientConnection = self._loop.run(self._open(url))

    async def _open(self, url: str) -> ClientConnection:
        return await connect(url, proxy=None, **PLAIN)

    def read(self, frames: int) -> str:
        """Ask once; the last of so many frames."""
        last: str = self._loop.run(self._read(frames))
        return last

    async def _read(self, frames: int) -> str:
        receive = self._connection.recv
        await self._connection.send('{"type":"response.create","input":"hi"}')
        for _ in range(frames - 1):
            await receive()
        return str(await receive())

    def close(self) -> None:
        self._loop.run(self._connection.close())
        self._loop.__exit__()


def upstream(frames: Sequence[str]) -> Handler:
    """Answers each message with all frames."""

    async def answer(connection: ServerConnection) -> None:
        async for _message in connection:
            for frame in frames:
                await connection.send(frame)

    return answer


def by_penstock(url: str) -> Handler:
    """`websocket.forward`, with an observer of the usual events."""
    limits = ConnectionLimits(max_messages=None, max_bytes=None)

    async def handle(connection: ServerConnection) -> None:
        await forward(
            connection,
            lambda _: penstock_connect(url),
            allowed_origins=None,
            on_event=lambda event: None,
            limits=limits,
        )

    return handle


def by_loop(look: Callable[[str], object]) -> Edge:
    """Two tasks, a read and a write each, and a look at what comes from the upstream."""

    def edge(url: str) -> Handler:
        async def handle(connection: ServerConnection) -> None:
            async with connect(url, proxy=None, **PLAIN) as beyond:
                down = asyncio.create_task(pump(beyond, connection, look))
                try:
                    await pump(connection, beyond, look)
                finally:
                    down.cancel()

        return handle

    return edge


async def pump(source: Any, target: Any, look: Callable[[str], object]) -> None:
    async for message in source:
        look(message)
        await target.send(message)


def decode(message: str) -> object:
    """What LiteLLM's forwarder does with each frame: parse it, and keep those of five types."""
    event = json.loads(message)
    return event if event.get("type") in STORED else None


EDGES: dict[str, Edge] = {
    "penstock": by_penstock,
    "two tasks + json of each frame": by_loop(decode),
    "two tasks, not looking": by_loop(lambda _message: None),
}
