"""Messages over a WebSocket, by `websockets`: what the session needs of it, and none of what leaks.

Redirects are not followed, because they would carry the key elsewhere. The library's own log is kept from
debug level, where it prints headers. Nothing is compressed: a megabyte may inflate to a thousand.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Self

from penstock._penstock import Event, Limits
from penstock.errors import LimitExceeded
from penstock.session.codec import dump
from penstock.session.failures import ConnectionGone, refusal

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
    from websockets.frames import CloseCode
except ImportError as missing:  # pragma: no cover - the extra is not there
    raise ImportError("the WebSocket mode needs websockets: pip install 'penstock[websocket]'") from missing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WebSocketTransport"]

CLOSE_SECONDS: Final = 1.0
"""How long closing waits for the server's goodbye."""

MAX_QUEUED: Final = 64
"""Messages read ahead of whoever takes them; then the socket is not read."""

_log = logging.getLogger("penstock.session.websocket")
_log.setLevel(logging.INFO)


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketTransport:
    """One open WebSocket. Only one task receives at a time; a receive that is cancelled loses nothing."""

    keeps_state = True
    """The server keeps what can be continued, stored or not."""

    def __init__(self, socket: ClientConnection, max_size: int | None = None) -> None:
        self._socket = socket
        self._max_size = max_size or 0

    @classmethod
    async def open(
        cls,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,  # noqa: ASYNC109 - the library's own, which also covers its cleaning up
        limits: Limits,
        options: Mapping[str, Any],
    ) -> Self:
        """Connect. Raises `ResponseError` where the upgrade is refused, `OSError` where nobody answers."""
        defaults: dict[str, Any] = {
            "additional_headers": dict(headers),
            "open_timeout": timeout,
            "close_timeout": CLOSE_SECONDS,
            "compression": None,
            "max_size": limits.max_event_bytes,
            "max_queue": MAX_QUEUED,
            # Pongs wait behind messages nobody reads yet; the turns' own time-outs tell a dead server.
            "ping_interval": None,
            "logger": _log,
        }
        chosen = defaults | dict(options)
        try:
            return cls(await _Connect(url, **chosen), chosen["max_size"])
        except InvalidStatus as error:
            response = error.response
            raise refusal(
                response.status_code, bytes(response.body or b""), response.headers.get("x-request-id")
            ) from None
        except WebSocketException as error:
            raise ConnectionError("the server did not answer the upgrade as WebSockets do") from error

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as has been noticed."""
        return self._socket.state.name == "OPEN"

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; once this has been awaited for the first time it is written, or raises.

        Raises:
            ConnectionGone: the connection is closed, and the message was not sent.
        """
        try:
            await self._socket.send(dump(message))
        except ConnectionClosed as error:
            raise _gone(error) from error

    async def receive(self) -> list[Event]:
        """Wait for the next message.

        Raises:
            ConnectionGone: the connection is closed, or the server sent a binary frame.
            LimitExceeded: the message is longer than `Limits.max_event_bytes`, which ends the connection.
        """
        try:
            message = await self._socket.recv()
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
                raise _too_long(self._max_size) from error
            raise _gone(error) from error
        if isinstance(message, bytes):
            self.abort()
            raise ConnectionGone()
        return [Event(message)]

    def abort(self) -> None:
        """Cut the connection at once."""
        self._socket.transport.abort()

    async def aclose(self) -> None:
        """Close the connection properly, within `CLOSE_SECONDS`; may be called again."""
        await self._socket.close()


def _too_long(maximum: int) -> LimitExceeded:
    message = f"max_event_bytes is {maximum}, the server sent more at once"
    return LimitExceeded(message, limit="max_event_bytes", maximum=maximum, value=maximum + 1)


def _gone(error: ConnectionClosed) -> ConnectionGone:
    return ConnectionGone(None if error.rcvd is None else error.rcvd.code)
