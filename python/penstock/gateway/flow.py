"""The bytes of one stream on their way from the upstream's socket to the client's.

An ordinary piece is forwarded in the very callback that has read it: no task wakes for it, and nothing is
queued. The stream's own task sees to what is not ordinary: how the stream begins and ends, silence, hooks,
and a client that is behind.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from penstock._penstock import write_sse

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import Answer
    from .course import Course
    from .http import Send, Write
    from .outlet import Outlet
    from .records import Tally
    from .watch import Deadlines

__all__ = ["Flow"]


class Flow:
    """Forwards one answer up to its last event.

    Args:
        course: what the bytes go through.
        outlet: what they go through last.
        send: the client's.
        write: the same for ordinary pieces, where the server has `WRITE`.
        opened: asked after each of the first pieces, until all is known that a stream's beginning tells.
    """

    __slots__ = (
        "_answer", "_deadlines", "_feed", "_opened", "_outlet", "_relay", "_send", "_tally", "_unsent",
        "_write",
    )  # fmt: skip

    def __init__(
        self,
        answer: Answer,
        course: Course,
        outlet: Outlet,
        send: Send,
        *,
        write: Write | None,
        deadlines: Deadlines,
        tally: Tally,
        opened: Callable[[], bool],
    ) -> None:
        self._answer = answer
        self._relay = course.relay
        self._feed = course.feed
        self._outlet = outlet
        self._send = send
        self._write = write if outlet.plain else None
        self._deadlines = deadlines
        self._tally = tally
        self._opened: Callable[[], bool] | None = opened
        self._unsent = b""

    async def run(self, data: bytes | None) -> None:
        """Forward `data` and what follows, until the last event has come or the upstream's body is over.

        Raises:
            UpstreamCut, StreamTimeout: the answer broke off.
            PenstockError: the upstream's bytes cannot pass, or a guard refuses them.
        """
        while data != b"":
            await self._forward(data)
            data = None  # a silent stream keeps nothing
            data = await self._next()

    async def _forward(self, data: bytes | None) -> None:
        out = write_sse(comment="keep-alive") if data is None else self._feed(data)
        if not self._outlet.plain:
            out = await self._outlet.put(out)
        if out:
            await self._sent(out)
            self._tally.add(out, self._answer.arrived)
            if self._opened is not None and self._opened():
                self._opened = None

    async def _next(self) -> bytes | None:
        """What the task has to forward: bytes, None in a silence, `b""` at the end."""
        data: bytes | None = None
        while data is None and not self._relay.done:
            ordinary = self._write is not None and self._opened is None and self._tally.has_text
            data = await self._answer.read(self._pass if ordinary else None)
            if self._unsent:
                unsent, self._unsent = self._unsent, b""
                await self._sent(unsent)
            elif data is None and not self._relay.done:
                return None
        return b"" if self._relay.done else data

    def _pass(self, data: bytes) -> None:
        """Forward an ordinary piece; what is left to do is the task's."""
        try:
            out = self._feed(data)
            if out:
                if self._write is None or not self._write(out):
                    self._unsent = out
                self._tally.add(out, self._answer.arrived)
            if self._unsent or self._relay.done:
                self._answer.nudge()
        except Exception as error:
            self._answer.fail(error)

    async def _sent(self, out: bytes) -> None:
        self._deadlines.writing_since = monotonic()
        await self._send({"type": "http.response.body", "body": out, "more_body": True})
        self._deadlines.writing_since = 0.0
