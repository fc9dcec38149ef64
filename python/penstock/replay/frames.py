"""A WebSocket on a connection of this server: the handshake and messages, framed by `websockets`.

The one module here that needs the extra `websocket`; the server imports it with the first upgrade.
"""

from __future__ import annotations

import logging
from typing import Final

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Upgrade
from websockets.protocol import State
from websockets.server import ServerProtocol

from .http import MAX_BODY_BYTES, ClientGone, Connection, Request

__all__ = ["WebSocket"]

# At debug level the library prints headers, keys among them.
_log = logging.getLogger("penstock.replay.websocket")
_log.setLevel(logging.WARNING)

_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """One upgraded connection. One task receives; any may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._protocol = ServerProtocol(max_size=MAX_BODY_BYTES, logger=_log)
        self._messages: list[str | bytes] = []
        self._fragments: list[bytes] = []
        self._kind = Opcode.TEXT

    async def accept(self, request: Request) -> bool:
        """Answer the upgrade; whether it was one that could be accepted. Raises `ClientGone`."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        self._protocol.receive_data(f"GET {request.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        upgrade = next(iter(self._protocol.events_received()), None)
        assert isinstance(upgrade, Upgrade)  # noqa: S101 — the head has been parsed once already
        response = self._protocol.accept(upgrade)
        self._protocol.send_response(response)
        await self._flush()
        return response.status_code == 101

    async def receive(self) -> str | bytes:
        """The next message; text that is no UTF-8 comes as bytes. Raises `ClientGone` once it is closed."""
        while not self._messages:
            if self._protocol.state is not State.OPEN:
                raise ClientGone
            self._protocol.receive_data(await self._connection.receive())
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode in _DATA:
                    self._take(event)
            await self._flush()  # pongs, and the answer to a close
        return self._messages.pop(0)

    def _take(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._kind = frame.opcode
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        data, self._fragments = b"".join(self._fragments), []
        try:
            self._messages.append(data.decode() if self._kind is Opcode.TEXT else data)
        except UnicodeDecodeError:
            self._messages.append(data)

    async def send(self, payload: bytes, *, binary: bool = False) -> None:
        """Send one message, waiting while the client does not read. Raises `ClientGone`."""
        try:
            if binary:
                self._protocol.send_binary(payload)
            else:
                self._protocol.send_text(payload)
        except InvalidState:
            raise ClientGone from None
        await self._flush()

    async def close(self, code: int | None) -> None:
        """Say goodbye with a code, to which the client will answer, or end the connection without a word."""
        if code is None:
            self._connection.transport.close()
        elif self._protocol.state is State.OPEN:
            self._protocol.send_close(code)
            await self._flush()

    async def reset(self) -> None:
        """End the connection with a TCP reset."""
        await self._connection.reset()

    async def _flush(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            await self._connection.write(data)
