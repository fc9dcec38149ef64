"""WebSockets of ASGI servers, with or without Starlette or FastAPI around them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Self

from penstock.websocket.channels import CLOSE_SECONDS, Channel, ClosedError
from penstock.websocket.closing import ABNORMAL, NO_STATUS, close_reason

__all__ = ["AsgiChannel"]

Message = MutableMapping[str, Any]


class AsgiChannel(Channel):
    """A server's side, by ASGI messages.

    Args:
        scope: of type "websocket".
        receive, send: the application's.
        accepted: whether "websocket.accept" has been sent.

    Raises:
        TypeError: the scope is of another type.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        *,
        accepted: bool = False,
    ) -> None:
        if scope.get("type") != "websocket":
            raise TypeError(f"a scope of type 'websocket' is wanted, not {scope.get('type')!r}")
        self.path = scope.get("path", "")
        self.query = scope.get("query_string", b"").decode("latin-1")
        self.accepted = accepted
        self._scope = scope
        self._receive = receive
        self._send = send
        self._closed: ClosedError | None = None

    @classmethod
    def of_starlette(cls, websocket: Any) -> Self:
        """Over a `starlette.websockets.WebSocket`, whose own states stay right."""
        accepted = websocket.application_state.name == "CONNECTED"
        return cls(websocket.scope, websocket.receive, websocket.send, accepted=accepted)

    def header(self, name: str) -> list[str]:
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self._scope["headers"] if key.lower() == wanted]

    async def accept(self, subprotocol: str | None = None) -> None:
        if self.accepted:
            return
        await self._connect()
        await self._emit({"type": "websocket.accept", "subprotocol": subprotocol})
        self.accepted = True

    async def receive(self) -> str | bytes:
        if self._closed is not None:
            raise self._closed
        while True:
            message = await self._receive()
            if message["type"] == "websocket.receive":
                text = message.get("text")
                return text if text is not None else bytes(message["bytes"])
            if message["type"] == "websocket.disconnect":
                code = message.get("code")
                raise self._end(NO_STATUS if code is None else code, message.get("reason") or "")

    async def send(self, message: str | bytes, /) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self._emit({"type": "websocket.send", kind: message})

    async def close(self, code: int, reason: str = "") -> None:
        if self._closed is None:
            with suppress(ClosedError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    if not self.accepted:
                        await self._connect()
                    message = {"type": "websocket.close", "code": code, "reason": close_reason(reason)}
                    await self._emit(message)
            self._end(ABNORMAL)

    async def deny(self, status: int, body: bytes, code: int) -> None:
        if self.accepted or "websocket.http.response" not in (self._scope.get("extensions") or {}):
            await self.close(code)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        with suppress(ClosedError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connect()
                start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
                await self._emit(start)
                await self._emit({"type": "websocket.http.response.body", "body": body})
        self._end(ABNORMAL)

    async def _connect(self) -> None:
        """Take the message that every connection begins with."""
        message = await self._receive()
        if message["type"] != "websocket.connect":
            raise self._end(ABNORMAL)

    async def _emit(self, message: Message) -> None:
        if self._closed is not None:
            raise self._closed
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:  # uvicorn's ClientDisconnected is an OSError
            raise self._end(ABNORMAL) from error
        except Exception as error:
            if type(error).__name__ != "WebSocketDisconnect":  # Starlette's word for it
                raise
            raise self._end(ABNORMAL) from error

    def _end(self, code: int, reason: str = "") -> ClosedError:
        if self._closed is None:
            self._closed = ClosedError(self, code, reason)
        return self._closed
