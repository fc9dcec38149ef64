"""Connections of the `websockets` library, a client's or a server's; and how upstreams are connected to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from penstock.headers import checked
from penstock.websocket.channels import CLOSE_SECONDS, Channel, ClosedError
from penstock.websocket.closing import ABNORMAL, NO_STATUS, close_reason

__all__ = ["MAX_MESSAGE_BYTES", "WebsocketsChannel", "connect"]

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message taken from an upstream; that of `Limits.max_event_bytes`."""

MAX_QUEUE: Final = 16
"""Messages read ahead of the forwarder, at most; the library's own default."""


class WebsocketsChannel(Channel):
    """A connection of `websockets` (the asyncio API)."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        request = getattr(connection, "request", None)
        self._headers = None if request is None else request.headers
        if request is not None:
            self.path, _, self.query = request.path.partition("?")

    def header(self, name: str) -> list[str]:
        return [] if self._headers is None else list(self._headers.get_all(name))

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self._connection.recv()
        except Exception as error:
            raise self.ended(error) from None
        return message

    async def send(self, message: str | bytes, /) -> None:
        try:
            await self._connection.send(message)
        except Exception as error:
            raise self.ended(error) from None

    def hot_path(self) -> tuple[Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[Any]]]:
        return self._connection.recv, self._connection.send

    async def close(self, code: int, reason: str = "") -> None:
        # The library waits for the peer's Close frame, and for its own buffer to empty; a peer that reads
        # nothing would hold on to both.
        transport = self._connection.transport
        try:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._connection.close(code, close_reason(reason))
        finally:
            transport.abort()

    def ended(self, error: Exception) -> Exception:
        if not any(base.__name__ == "ConnectionClosed" for base in type(error).__mro__):
            return error
        received: Any = getattr(error, "rcvd", None)
        sent: Any = getattr(error, "sent", None)
        if received is not None:
            return ClosedError(self, received.code or NO_STATUS, received.reason)
        if sent is not None:
            return ClosedError(self, sent.code, sent.reason, local=True)
        return ClosedError(self, ABNORMAL)


async def connect(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    open_seconds: float = 10.0,
    **options: Any,
) -> WebsocketsChannel:
    """Connect to an upstream with `websockets`, without compression: it costs more processor time than it
    saves on a fast network, and a small message may inflate to a huge one.

    Args:
        url: `ws://` or `wss://`; the proxy settings of the environment are not used.
        headers: of the handshake, such as the upstream's credentials.
        subprotocols: to offer.
        max_message_bytes: of one message from the upstream; a larger one ends the connection.
        open_seconds: for the connection and the handshake together.
        options: others of `websockets.connect`.

    Raises:
        ValueError: one of the headers is none.
        OSError, TimeoutError, websockets.exceptions.WebSocketException: as the library does.
    """
    from websockets.asyncio.client import connect as websockets_connect  # noqa: PLC0415 - an extra

    chosen: dict[str, Any] = {"compression": None, "proxy": None, "max_queue": MAX_QUEUE, **options}
    connection = await websockets_connect(
        url,
        additional_headers=checked(headers or {}),
        subprotocols=subprotocols,  # type: ignore[arg-type] # a NewType of str
        max_size=max_message_bytes,
        open_timeout=open_seconds,
        **chosen,
    )
    return WebsocketsChannel(connection)
