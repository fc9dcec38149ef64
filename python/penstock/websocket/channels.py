"""One side of a WebSocket, whichever library holds it.

    awaits                          adapter
    (scope, receive, send)          `AsgiChannel`: plain ASGI
    Starlette's, FastAPI's          `AsgiChannel`, over the object's own `receive` and `send`
    websockets' (client, server)    `WebsocketsChannel`

No library is imported: a connection is known by the methods it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final

from penstock.errors import PenstockError

__all__ = ["CLOSE_SECONDS", "Channel", "ClosedError", "open_channel"]

CLOSE_SECONDS: Final = 1.0
"""How long a peer has to answer a Close frame, before its connection is cut."""


class ClosedError(PenstockError):
    """A connection is closed, by whomever.

    Attributes:
        channel: whose.
        code: how it ended: what the peer's Close frame said, 1005 if that had no code, 1006 if none came.
        reason: the Close frame's.
        local: whether this side ended it, because of what the peer had sent; `code` is then what it was told.
    """

    def __init__(self, channel: Channel, code: int, reason: str = "", *, local: bool = False) -> None:
        super().__init__(f"the connection is closed ({code})")
        self.channel = channel
        self.code = code
        self.reason = reason
        self.local = local


class Channel(ABC):
    """A WebSocket connection as the forwarder and the managed connection use it.

    One task receives at a time; several may send. Sending waits while the peer's buffers are full.

    Attributes:
        path, query: of the request; empty where this side made it.
        accepted: whether the handshake is done.
    """

    path = ""
    query = ""
    accepted = True

    @abstractmethod
    def header(self, name: str) -> list[str]:
        """The values of a request header, given in lower case."""

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Wait for a message: text is `str`, binary is `bytes`. Cancelling it loses none.

        Raises:
            ClosedError: the connection is over.
        """

    @abstractmethod
    async def send(self, message: str | bytes, /) -> None:
        """Send a message.

        Raises:
            ClosedError: the connection is over, and the server noticed; not all do, so receive as well.
        """

    @abstractmethod
    async def close(self, code: int, reason: str = "") -> None:
        """End the connection, within `CLOSE_SECONDS`. Raises nothing, and may be called again."""

    def hot_path(self) -> tuple[Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[Any]]]:
        """`receive` and `send` without a call in between, for a loop that has `ended` read their errors."""
        return self.receive, self.send

    def ended(self, error: Exception) -> Exception:
        """What an error of the hot path says: `ClosedError`, or the error itself if it is another's."""
        return error

    async def accept(self, subprotocol: str | None = None) -> None:  # noqa: B027 - most have no more to do
        """Complete the handshake unless that is done.

        Raises:
            ClosedError: the client has left meanwhile.
        """

    async def deny(self, status: int, body: bytes, code: int) -> None:
        """Refuse the connection: by an HTTP answer if the handshake is still open, else by a close code."""
        await self.close(code)


def open_channel(connection: Any) -> Channel:
    """The channel of a connection: plain ASGI's three as a tuple, Starlette's, or one of `websockets`.

    Raises:
        TypeError: it is none of these.
    """
    from penstock.websocket.over_asgi import AsgiChannel  # noqa: PLC0415 - they know the class above
    from penstock.websocket.over_websockets import WebsocketsChannel  # noqa: PLC0415

    if isinstance(connection, Channel):
        return connection
    if isinstance(connection, tuple) and len(connection) == 3:
        return AsgiChannel(*connection)
    if all(hasattr(connection, name) for name in ("scope", "receive", "send", "application_state")):
        return AsgiChannel.of_starlette(connection)
    if all(hasattr(connection, name) for name in ("recv", "send", "close", "transport")):
        return WebsocketsChannel(connection)
    raise TypeError(
        f"{type(connection).__name__} is no WebSocket that is known here: pass (scope, receive, send), a "
        "Starlette or FastAPI WebSocket, or a connection of websockets"
    )
