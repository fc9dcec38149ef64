"""The connections of one session: opened when needed, shared by its turns, replaced when old or spoiled."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from penstock.errors import ResponseError
from penstock.headers import checked
from penstock.session.link import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock._penstock import Limits

__all__ = ["Pool", "Target"]


class Target:
    """Where a session connects to, and how.

    Raises:
        ValueError: the address is none of HTTP or of a WebSocket, or a header, such as the key, is none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], options: Mapping[str, Any]) -> None:
        parts = urlsplit(url)
        schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
        if parts.scheme not in schemes or not parts.hostname or " " in parts.netloc or parts.port == 0:
            raise ValueError("the url must be one of http, https, ws or wss")
        path = parts.path.rstrip("/")
        path = path if path.endswith("/responses") else f"{path}/responses"
        socket = schemes[parts.scheme]
        rest = (parts.netloc, path, parts.query, "")
        self.socket_url = urlunsplit((socket, *rest))
        self.http_url = urlunsplit((socket.replace("ws", "http"), *rest))
        self.host = parts.hostname
        self.headers = checked(headers)
        self.options = {**options}


class Pool:
    """The connections; `left` is told of each that turns use no more.

    Attributes:
        transport: what connections go over; ``"auto"`` until that is known.
        opened: how many there were so far.
    """

    def __init__(
        self,
        target: Target,
        transport: Literal["auto", "websocket", "http"],
        client: Any,
        *,
        connect_timeout: float,
        rotate_after: float,
        limits: Limits,
        left: Callable[[Connection], None],
    ) -> None:
        self.transport = transport
        self.opened = 0
        self._target = target
        self._client, self._owns_client = client, client is None
        self._connect_timeout, self._rotate_after = connect_timeout, rotate_after
        self._limits = limits
        self._left = left
        self._connections: list[Connection] = []
        self._turn = asyncio.Lock()
        self._closed = False

    async def connection(self) -> Connection:
        """The connection to use: the one there is, or a new one.

        Raises:
            ResponseError: the server refused the upgrade.
            OSError: it could not be reached.
        """
        async with self._turn:  # or two lanes that begin together would open two
            if self._closed:
                raise RuntimeError("the session is closed")
            self.sweep()
            for connection in [*self._connections]:
                if connection.keeps_state and connection.usable:
                    if monotonic() - connection.born < self._rotate_after:
                        return connection
                    self.leave(connection)
            return await self._open()

    async def _open(self) -> Connection:
        target = self._target
        if self.transport != "http":
            from penstock.session.over_websocket import WebSocketTransport  # noqa: PLC0415 - needs the extra

            try:
                transport: Any = await WebSocketTransport.open(
                    target.socket_url,
                    target.headers,
                    timeout=self._connect_timeout,
                    limits=self._limits,
                    options=target.options,
                )
                self.transport = "websocket"
            except ResponseError as error:
                if error.status != 426 or self.transport != "auto":
                    raise
                self.transport = "http"
        if self.transport == "http":
            from penstock.session.over_http import HttpTransport, own_client  # noqa: PLC0415 - seldom needed

            if self._client is None:
                self._client = own_client(self._connect_timeout)
            transport = HttpTransport(self._client, target.http_url, target.headers, self._limits)
        if self._closed:  # meanwhile
            transport.abort()
            raise RuntimeError("the session is closed")
        self.opened += 1
        connection = Connection(transport, self._limits, self.opened)
        self._connections.append(connection)
        return connection

    def leave(self, connection: Connection) -> None:
        """Use a connection no more, except for what is in flight on it."""
        connection.retired = True
        self.sweep()

    def sweep(self) -> None:
        """End the connections that nobody needs any more."""
        for connection in [*self._connections]:
            if not connection.usable:
                self._left(connection)
                if connection.idle:
                    self._connections.remove(connection)
                    connection.abort()

    async def discard(self, connection: Connection) -> None:
        """End a connection that carried one response alone."""
        await connection.aclose()
        self._connections = [other for other in self._connections if other is not connection]

    async def aclose(self) -> None:
        """Close everything; may be called again."""
        self._closed = True
        connections, self._connections = self._connections, []
        for connection in connections:
            await connection.aclose()
        if self._owns_client and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()
