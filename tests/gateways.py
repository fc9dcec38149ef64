"""A gateway on a real socket in front of a replay upstream, for tests: `with running(...) as gateway`."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
import uvloop

from penstock.gateway import Config, Gateway, read
from penstock.gateway.direct import DirectProtocol
from penstock.gateway.otel import Telemetry
from penstock.gateway.siblings import Siblings
from penstock.replay import ReplayServer

SCRIPTS = ("text", "tools", "reasoning", "echo", "incomplete", "failed")


@dataclass
class Running:
    """A gateway that serves, and what stands behind it."""

    gateway: Gateway
    port: int
    upstream: ReplayServer
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.base_url, headers=headers, trust_env=False, timeout=30)

    def settled(self, condition: Callable[[], bool] | None = None, seconds: float = 5.0) -> bool:
        """Whether the condition (by default: no stream runs anywhere) comes true in time."""
        condition = condition or (lambda: not self.gateway.ledger.active and self.upstream.stats.active == 0)
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True


def settings(upstream: ReplayServer, **sections: Any) -> dict[str, Any]:
    """The upstream under several names: as it is, behind Chat Completions alone, behind Responses alone."""
    bare = {"url": upstream.base_url, "history": "gateway", "forward_headers": ["x-penstock-fault"]}
    return {
        "upstreams": [
            {"name": "both", **bare, "dialect": "both", "models": ["replay-*"]},
            {"name": "chat", **bare, "dialect": "chat", "models": [f"chat-{s}=replay-{s}" for s in SCRIPTS]},
            {"name": "responses", **bare, "models": [f"responses-{s}=replay-{s}" for s in SCRIPTS]},
        ],
        "telemetry": {"log": "off"},
        **sections,
    }


@contextmanager
def running(**sections: Any) -> Iterator[Running]:
    """A gateway with these sections in its configuration, on uvloop in a thread of its own."""
    with ReplayServer() as upstream, serving(read(settings(upstream, **sections), {}), upstream) as gateway:
        yield gateway


@contextmanager
def serving(
    config: Config,
    upstream: ReplayServer,
    *,
    telemetry: Telemetry | None = None,
    listener: socket.socket | None = None,
    siblings: Siblings | None = None,
    http: Any = DirectProtocol,
) -> Iterator[Running]:
    gateway = Gateway(config, telemetry=telemetry, siblings=siblings)
    listener = listener or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            gateway,
            http=http,
            ws="websockets-sansio",
            lifespan="on",
            log_config=None,
            access_log=False,
        )
    )
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="gateway", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the gateway did not start"
        time.sleep(0.002)
    try:
        yield Running(gateway, listener.getsockname()[1], upstream, loops[0])
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the gateway did not stop"
