"""What ends a stream from outside: silence, slowness, age, and a client that leaves.

One timer a stream, set anew only when it fires, so an event costs it two stored floats; one task a stream,
which waits for the client's disconnect.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from penstock.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import Answer
    from .config import LimitsConfig
    from .http import Message, Receive, Send

__all__ = ["Deadlines", "Leaving"]


class Deadlines:
    """Watches one answer being read and written.

    `writing_since` is the moment since which the client is given bytes, 0 while the upstream is waited for.
    When the upstream has been silent for too long or the stream is too old, the answer's `read` raises
    `StreamTimeout`; when the client takes nothing for `limits.write` seconds, `stalled` is called. In a
    silence of `limits.keep_alive` seconds `read` returns None.
    """

    __slots__ = (
        "_answer",
        "_handle",
        "_keep_alive",
        "_loop",
        "_since",
        "_stalled",
        "_timeouts",
        "_write",
        "writing_since",
    )

    def __init__(
        self, answer: Answer, limits: LimitsConfig, stalled: Callable[[], object], *, started: float
    ) -> None:
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._timeouts = Timeouts(idle=limits.idle, duration=limits.duration, first_event=None)
        self._timeouts.began = started
        self._since = self._loop.time()
        self._write = limits.write
        self._keep_alive = limits.keep_alive
        self._stalled = stalled
        self.writing_since = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._look()

    def close(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        self._timeouts.waiting_since = max(self._since, self._answer.arrived)
        if self.writing_since:
            when = self.writing_since + self._write
            if when <= now:
                self._stalled()
                return
        else:
            when, kind = self._timeouts.next(now)
            if when <= now:
                self._answer.fail(self._timeouts.error(kind))
                return
            if self._keep_alive is not None:
                due = self._timeouts.waiting_since + self._keep_alive
                if due <= now:
                    self._answer.nudge()
                    due = now + self._keep_alive
                when = min(when, due)
        self._handle = self._loop.call_at(min(when, now + 3_600, now + self._write), self._look)


class Leaving:
    """Cancels the task that serves a client when that client has left: `with Leaving(receive) as leaving`.

    The cancellation is this class's own, so it is taken back: the block ends with `leaving.gone` set.
    With `linger` above 0 it comes so many seconds after the client has left; until then what goes through
    `still_there` is thrown away.
    """

    __slots__ = ("_late", "_left", "_served", "_task", "gone", "linger", "stalled")

    def __init__(self, receive: Receive) -> None:
        self.linger = 0.0
        self._left = False
        self._late: asyncio.TimerHandle | None = None
        self.gone = False
        self.stalled = False
        served = asyncio.current_task()
        assert served is not None  # noqa: S101 — ASGI applications run in tasks
        self._served = served
        self._task = asyncio.get_running_loop().create_task(self._wait(receive))

    async def _wait(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if self.linger:
            self._late = asyncio.get_running_loop().call_later(self.linger, self.leave)
        else:
            self.leave()

    def still_there(self, send: Send) -> Send:
        """A `send` to the client for as long as it is there."""

        async def sending(message: Message) -> None:
            if not self._left:
                with suppress(OSError):  # some servers say so before `receive` does
                    await send(message)

        return sending

    def leave(self) -> None:
        """The client is gone, or is treated as if it were."""
        if not self.gone:
            self.gone = True
            self._served.cancel()

    def stall(self) -> None:
        """The client takes nothing."""
        self.stalled = True
        self.leave()

    def __enter__(self) -> Leaving:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self._task.cancel()
        if self._late is not None:
            self._late.cancel()
        if self.gone and kind is asyncio.CancelledError and self._served.uncancel() == 0:
            return True
        if self.gone and kind is None:  # it left in the very moment when all was done
            self._served.uncancel()
        return False
