"""ASGI middleware that notes when a request arrived, before its body or a worker is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from penstock.asgi.types import App, Receive, Scope, Send

__all__ = ["KEY", "ServerArrivalTimeMiddleware"]

KEY: Final = "server_arrival_time"
"""Where in a scope's `state` the time stands; frameworks show it as `request.state.server_arrival_time`."""


class ServerArrivalTimeMiddleware:
    """Puts the arrival time of each HTTP request and WebSocket connection into `scope["state"]`.

    `receive` and `send` are handed on untouched, so streaming and disconnects are what they were. State that
    is there, such as that of the lifespan, stays, and so does a time that an outer layer has noted. Other
    scopes pass through.

    Args:
        app: the ASGI application.
        clock: gives the time, in seconds. The default never goes backwards, unlike the time of day; an engine
            with a steady clock of its own gives that, so that its times can be compared.
    """

    def __init__(self, app: App, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] in ("http", "websocket"):
            scope.setdefault("state", {}).setdefault(KEY, self._clock())
        await self._app(scope, receive, send)
