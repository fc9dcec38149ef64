"""Serves streams on one of three real ASGI servers: `python asgi_servers.py SERVER PORT UPSTREAM`.

`/stream/MODEL` streams a response of the replay upstream, `/state` tells what the process holds.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from processes import stop

from penstock.asgi import EventStreamResponse, KeepAlive

SERVERS: Final = ("uvicorn", "hypercorn", "granian")
PAGE: Final = resource.getpagesize()


def application(upstream: str) -> Any:
    """The application: pure ASGI, with one HTTP client for all requests."""
    held: dict[str, aiohttp.ClientSession] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            held["client"] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
            )
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await held["client"].close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        _, what, *rest = scope["path"].split("/")
        if what == "state":
            body = json.dumps(state()).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        request = {"model": rest[0], "input": "x", "stream": True}
        response = EventStreamResponse(
            lambda: held["client"].post(f"{upstream}/v1/responses", json=request),
            keep_alive=KeepAlive(seconds=2),
            write_timeout=float(scope["query_string"] or 30),
        )
        await response(scope, receive, send)

    return app


def state() -> dict[str, int]:
    """Tasks, descriptors and bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"tasks": len(asyncio.all_tasks()), "fds": len(os.listdir("/proc/self/fd")), "rss": pages * PAGE}


def main(server: str, port: int, upstream: str) -> None:
    """Serve until a signal comes."""
    app = application(upstream)
    if server == "uvicorn":
        import uvicorn  # noqa: PLC0415 - only one of the three is needed

        uvicorn.run(app, port=port, log_level="error", lifespan="on")
    elif server == "hypercorn":
        from hypercorn.asyncio import serve  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        config = Config()
        config.bind, config.loglevel, config.backlog = [f"127.0.0.1:{port}"], "error", 2048
        asyncio.run(serve(app, config))
    else:
        from granian.constants import Interfaces  # noqa: PLC0415
        from granian.server.embed import Server  # noqa: PLC0415

        asyncio.run(
            Server(
                app, port=port, interface=Interfaces.ASGI, log_enabled=False, backlog=4096, backpressure=4096
            ).serve()
        )


class Served:
    """A server in a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process

    def state(self) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=10) as answer:
            return dict(json.load(answer))

    def request(self, model: str, *, query: str = "", buffer: int | None = None) -> socket.socket:
        """A raw connection that has asked for a stream, with so small a receive buffer if asked."""
        client = socket.socket()
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(20)
        client.connect(("127.0.0.1", self.port))
        client.sendall(f"GET /stream/{model}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client


@contextmanager
def serving(server: str, upstream: str) -> Iterator[Served]:
    """Run one of the servers; it is gone at the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, __file__, server, str(port), upstream]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        served = Served(port, process)
        deadline = time.monotonic() + 30
        while True:
            try:
                served.state()
                break
            except OSError:
                assert process.poll() is None, f"{server} does not start"
                assert time.monotonic() < deadline, f"{server} does not answer"
                time.sleep(0.05)
        yield served
    finally:
        stop(process)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
