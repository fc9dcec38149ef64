"""Notices what takes too long on one connection: a message that nobody takes, or all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from penstock.websocket.limits import ConnectionLimits
from penstock.websocket.wire import RefusedError

__all__ = ["Attendant"]

LOOKS: Final = 4
"""How often a wait is looked at before its time is up; so much of it may be added to it."""


class Attendant:
    """Ends the reading of a connection from outside, by its own timer or when told to.

    One timer looks at what is noted in `sending`, so a message costs a clock reading and no timer of its own.

    Attributes:
        sending: since when whose buffers are full, by the loop's clock.
    """

    def __init__(self, limits: ConnectionLimits, late: Callable[[RefusedError], None]) -> None:
        self.sending: dict[str, float] = {}
        self._patience = limits.write_seconds
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._scope: asyncio.Timeout | None = None

    def start(self, scope: asyncio.Timeout) -> None:
        """Look after the connection that is read within `scope`, a time-out without a time."""
        self._scope = scope
        self._look()

    def stop(self) -> None:
        """Look no more."""
        self._scope = None
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """End the reading, with the scope's `TimeoutError`."""
        if self._scope is not None:
            with suppress(RuntimeError):  # it has just ended by itself
                self._scope.reschedule(self._loop.time())

    def _look(self) -> None:
        if self._patience is None:
            return
        now = self._loop.time()
        for side, since in self.sending.items():
            if now - since >= self._patience:
                # A slow client is put out by policy; for a slow upstream the client may try again later.
                close = 1008 if side == "client" else 1013
                message = f"The {side} took nothing for {self._patience:g} s."
                self._late(RefusedError(message, status=504, code=f"{side}_too_slow", close_code=close))
                self.wake()
                return
        self._timer = self._loop.call_later(self._patience / LOOKS, self._look)
