"""A gateway on one of three real ASGI servers, in a process of its own: `with serving("granian", url) as it`.

`/state` tells what that process holds, beside the gateway's own routes.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from processes import stop

from penstock.gateway import Gateway, read

SERVERS: Final = ("uvicorn", "hypercorn", "granian")
BACKLOG: Final = 4_096


def application(upstream: str) -> Any:
    """The gateway, and what its process holds."""
    bare = {"url": upstream, "history": "gateway"}
    upstreams = [
        {"name": "both", **bare, "dialect": "both", "models": ["replay-*"]},
        {"name": "chat", **bare, "dialect": "chat", "models": ["chat-*=replay-*"]},
        {"name": "drained", **bare, "models": ["drained-*=replay-*"], "on_disconnect": "drain"},
    ]
    config = {"upstreams": upstreams, "limits": {"write": 120, "idle": 300}, "telemetry": {"log": "off"}}
    gateway = Gateway(read(config, {}))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/state":
            await gateway(scope, receive, send)
            return
        free = sum(one.endpoint.connections for one in gateway.router.upstreams)
        body = json.dumps({**state(), "kept": free, "active": len(gateway.ledger.active)}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})

    return app


def state() -> dict[str, int]:
    """Tasks, descriptors and bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    files = len(os.listdir("/proc/self/fd"))
    return {"tasks": len(asyncio.all_tasks()), "fds": files, "rss": pages * resource.getpagesize()}


def raise_descriptors() -> None:
    """Allow as many open files as may be allowed: a thousand streams need several thousand."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(server: str, port: int, upstream: str) -> None:
    """Serve until a signal comes."""
    raise_descriptors()
    app = application(upstream)
    if server == "uvicorn":
        import uvicorn  # noqa: PLC0415 - only one of the three is needed

        uvicorn.run(
            app, port=port, log_level="error", lifespan="on", ws="websockets-sansio", backlog=BACKLOG,
            ws_per_message_deflate=False,
        )  # fmt: skip
    elif server == "hypercorn":
        from hypercorn.asyncio import serve  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        settings = Config()
        settings.bind, settings.loglevel, settings.backlog = [f"127.0.0.1:{port}"], "error", BACKLOG
        asyncio.run(serve(app, settings))
    else:
        from granian.constants import Interfaces  # noqa: PLC0415
        from granian.server.embed import Server  # noqa: PLC0415

        granian = Server(
            app, port=port, interface=Interfaces.ASGI, log_enabled=False, backlog=BACKLOG,
            backpressure=BACKLOG,
        )  # fmt: skip
        asyncio.run(granian.serve())


class Served:
    """A gateway in a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def state(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/state", timeout=30) as answer:  # noqa: S310 - our own
            return dict(json.load(answer))

    def buffered(self) -> int:
        """`penstock_buffered_bytes`, as the process tells it."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:  # noqa: S310 - our own
            rows = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines())
        return int(rows["penstock_buffered_bytes"])

    def dial(self, *, buffer: int | None = None) -> socket.socket:
        """A raw connection, with so small a receive buffer if asked."""
        client = socket.socket()
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(60)
        client.connect(("127.0.0.1", self.port))
        return client


def post(request: dict[str, Any]) -> bytes:
    """A request for a response, on the wire."""
    body = json.dumps({**request, "stream": True}).encode()
    return b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


UPGRADE: Final = (
    b"GET /v1/responses HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(request: dict[str, Any]) -> bytes:
    """A `response.create` as a client's frame, masked with zeros."""
    body = json.dumps({"type": "response.create", **request}).encode()
    head = struct.pack("!BB", 0x81, 0x80 | len(body)) if len(body) < 126 else (
        struct.pack("!BBH", 0x81, 0x80 | 126, len(body))
    )  # fmt: skip
    return head + bytes(4) + body


def reset(client: socket.socket) -> None:
    """Leave by RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def share() -> float:
    """How much of a processor somebody gets who wants one now, up to 1."""
    wall, own = time.perf_counter(), time.thread_time()
    while time.thread_time() - own < 0.002:
        pass
    return min(1.0, (time.thread_time() - own) / (time.perf_counter() - wall))


def settles(condition: Callable[[], Any], seconds: float) -> float | None:
    """How long a condition took to come true; None if it did not within so many seconds.

    On a machine that others use as well, a second counts for as much of it as was to be had.
    """
    spent, since = 0.0, time.perf_counter()
    while not condition():
        if spent > seconds:
            return None
        time.sleep(0.01)
        portion = share()
        now = time.perf_counter()
        spent, since = spent + (now - since) * portion, now
    return spent


@contextmanager
def serving(server: str, upstream: str) -> Iterator[Served]:
    """Run a gateway on one of the servers; it is gone at the end."""
    process, port = _start(server, upstream)
    try:
        yield Served(port, process)
    finally:
        stop(process)


def _start(server: str, upstream: str) -> tuple[subprocess.Popen[bytes], int]:
    """A process that answers; on another port where somebody was faster to take the first."""
    for _ in range(5):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        command = [sys.executable, __file__, server, str(port), upstream]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        served, deadline = Served(port, process), time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                served.state()
            except (OSError, ValueError):
                time.sleep(0.05)
            else:
                return process, port
        process.kill()
        process.wait()
    raise AssertionError(f"{server} does not start")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
