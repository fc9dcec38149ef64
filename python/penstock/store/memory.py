"""Conversations in this process's memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock._penstock import Bounds, Items, _Conversations
from penstock.store.base import StoreBase, Turn, check_id, check_parent, check_tenant, cut, is_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.store.base import InputItems, Json

__all__ = ["MemoryStore"]


class MemoryStore(StoreBase):
    """A `ConversationStore` in memory; threads and event loops may share it, processes cannot.

    Appending costs what the turn's own items cost, and loading a history costs the same for all lengths:
    turns share what they have in common, and text is put together when it is read. No call waits.

    Args:
        bounds: what it may keep.
        clock: seconds of a clock that does not go back.
    """

    def __init__(self, *, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = _Conversations(bounds)
        self._clock = clock

    async def append(
        self,
        tenant: str,
        response: Json,
        *,
        input: InputItems = (),
        output: InputItems | None = None,
        parent: str | None = None,
    ) -> bool:
        """See `ConversationStore`."""
        check_tenant(tenant)
        return self._core.append(tenant, response, input, output, check_parent(parent), self._now())

    async def load_history(
        self, tenant: str, response_id: str, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> Items:
        """See `ConversationStore`."""
        check_tenant(tenant)
        check_id(response_id)
        return cut(self._core.history(tenant, response_id, self._now()), max_items, max_bytes)

    async def load_turn(self, tenant: str, response_id: str) -> Turn | None:
        """See `ConversationStore`."""
        check_tenant(tenant)
        row = self._core.turn(tenant, response_id, self._now()) if is_id(response_id) else None
        return None if row is None else Turn(response_id, *row)

    async def delete(self, tenant: str, response_id: str) -> bool:
        """See `ConversationStore`."""
        check_tenant(tenant)
        return is_id(response_id) and self._core.delete(tenant, response_id, self._now())

    async def expire(self) -> int:
        """See `ConversationStore`."""
        return self._core.expire(self._now())

    async def close(self) -> None:
        """Forget everything."""
        self._core.clear()

    @property
    def turns(self) -> int:
        """Turns that can be loaded."""
        return self._core.turns

    @property
    def size(self) -> int:
        """Bytes that are kept, with what each turn costs beside its texts."""
        return self._core.size

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def __repr__(self) -> str:
        return f"<MemoryStore turns={self.turns} size={self.size}>"
