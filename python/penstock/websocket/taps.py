"""Observers of what is forwarded, kept off its path.

What is observed goes into a bounded queue; a task of its own takes it out and calls the observers. When they
are slower than the stream, or raise, or hang, the stream does not notice: the queue drops, and counts, what
it has no room for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final

__all__ = ["TapQueue"]

log = logging.getLogger("penstock.websocket")

MAX_QUEUED: Final = 1024
"""Calls that wait for slow observers."""

MAX_QUEUED_BYTES: Final = 32 * 1024 * 1024
"""Their messages together; room for two of the largest."""

DRAIN_SECONDS: Final = 5.0
"""How long observers have, once the connection is over, for what is still queued."""


class TapQueue:
    """Calls observers one after the other, in the order of what they observe."""

    def __init__(self) -> None:
        self.dropped = 0
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...], int]] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._over = False

    def put(self, size: int, call: Callable[..., Any], *arguments: Any) -> None:
        """Have an observer called soon, with arguments that hold about `size` bytes. Never waits."""
        if len(self._calls) >= MAX_QUEUED or self._bytes + size > MAX_QUEUED_BYTES:
            if not self.dropped:
                log.warning("an observer is too slow: what it has no time for is dropped and counted")
            self.dropped += 1
            return
        self._calls.append((call, arguments, size))
        self._bytes += size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def _run(self) -> None:
        while True:
            while self._calls:
                call, arguments, size = self._calls.popleft()
                try:
                    result = call(*arguments)
                    if isawaitable(result):
                        await result
                except Exception:
                    log.exception("an observer failed")
                self._bytes -= size
            if self._over:
                return
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    async def aclose(self) -> None:
        """Wait until the observers have had what is queued, within `DRAIN_SECONDS`; then end the task."""
        self._over = True
        task = self._task
        if task is None:
            return
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
        try:
            await asyncio.wait([task], timeout=DRAIN_SECONDS)
        finally:
            if not task.done():
                self.dropped += len(self._calls)
                task.cancel()
                await asyncio.wait([task], timeout=DRAIN_SECONDS)
