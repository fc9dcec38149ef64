"""Calls ASGI applications in the process, as a client that reads, leaves or stops reading when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Client:
    """One request.

    Attributes:
        leave_after: after how many body messages the client leaves; None if it stays.
        stop_after: after how many body messages it stops reading.
        messages: what was sent, in order.
    """

    leave_after: int | None = None
    stop_after: int | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.stop_after is not None and len(self.bodies) >= self.stop_after:
            await self.gone.wait()
            return
        if self.gone.is_set():
            return  # as most servers do it: no error
        self.messages.append(dict(message))
        if self.leave_after is not None and len(self.bodies) >= self.leave_after:
            self.gone.set()
            await asyncio.sleep(0)

    async def call(self, app: Callable[..., Any], seconds: float = 10) -> Client:
        """Call the application to its end."""
        async with asyncio.timeout(seconds):
            await app({"type": "http"}, self.receive, self.send)
        return self

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages if message["type"] == "http.response.body"]

    @property
    def body(self) -> bytes:
        return b"".join(self.bodies)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def finished(self) -> bool:
        """Whether the response was ended, and nothing sent behind its end."""
        ends = [message.get("more_body") is False for message in self.messages[1:]]
        return ends.count(True) == 1 and ends[-1]


class Source:
    """An async iterable that counts what is taken of it, and tells when it is let go.

    Args:
        pieces: what it gives; a float is a pause, an exception is raised.
    """

    def __init__(self, *pieces: Any) -> None:
        self._pieces = iter(pieces)
        self.taken = 0
        self.closed = 0

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        for piece in self._pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif isinstance(piece, BaseException):
                raise piece
            else:
                self.taken += 1
                return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = 1
