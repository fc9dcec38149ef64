"""A store that is waited for while it is away: a database that is started again takes its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from penstock.errors import StoreUnavailable

if TYPE_CHECKING:
    from penstock._penstock import Items
    from penstock.store import ConversationStore, Turn

__all__ = ["Lasting"]

FIRST: Final = 0.02
LONGEST: Final = 0.5
"""Seconds between two attempts, doubled from the first to the longest."""

T = TypeVar("T")


class Lasting:
    """A `ConversationStore` that tries again what another one cannot do now; appending twice is safe.

    Args:
        store: the other one, which is closed with this.
        seconds: for how long a call is tried again; then it raises `StoreUnavailable` as the store did.
    """

    def __init__(self, store: ConversationStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    async def append(self, *arguments: Any, **options: Any) -> bool:
        """See `ConversationStore`."""
        return await self._lasting(lambda: self._store.append(*arguments, **options))

    async def load_history(self, *arguments: Any, **options: Any) -> Items:
        """See `ConversationStore`."""
        return await self._lasting(lambda: self._store.load_history(*arguments, **options))

    async def load_turn(self, tenant: str, response_id: str) -> Turn | None:
        """See `ConversationStore`."""
        return await self._lasting(lambda: self._store.load_turn(tenant, response_id))

    async def delete(self, tenant: str, response_id: str) -> bool:
        """See `ConversationStore`."""
        return await self._lasting(lambda: self._store.delete(tenant, response_id))

    async def expire(self) -> int:
        """See `ConversationStore`."""
        return await self._store.expire()

    async def close(self) -> None:
        """See `ConversationStore`."""
        await self._store.close()

    async def _lasting(self, call: Callable[[], Awaitable[T]]) -> T:
        deadline, pause = time.monotonic() + self._seconds, FIRST
        while True:
            try:
                return await call()
            except StoreUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)
