"""What belongs to one connection, above what belongs to all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from penstock._penstock import Bounds, Items, _Conversations
from penstock.errors import PreviousResponseNotFound
from penstock.store.base import StoreBase, Turn, check_id, check_parent, check_tenant, cut, is_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.store.base import ConversationStore, InputItems, Json

__all__ = ["ConnectionStore"]


OWN_BOUNDS: Final = Bounds(
    max_turns=64, max_tenant_turns=64, max_bytes=32 << 20, max_tenant_bytes=32 << 20, ttl=3_600
)
"""What one connection keeps: two turns for each of 32 lanes, one long history, for the hour it may last."""


class ConnectionStore(StoreBase):
    """A `ConversationStore` for one connection: what is not to be stored stays here and goes with it.

    Turns of `store: false` are kept in this object alone; no other connection can continue them and closing
    forgets them. They may continue stored turns. A turn that continues an unstored one stays here too,
    whatever it asks for, since to store it would be to store what it continues.

    Args:
        shared: the store below; it is not closed with this one.
        bounds: of what is kept here; None for what a connection of 32 lanes and an hour needs.
        clock: seconds of a clock that does not go back.
    """

    def __init__(
        self,
        shared: ConversationStore,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._local = _Conversations(OWN_BOUNDS if bounds is None else bounds)
        self._clock = clock

    async def append(
        self,
        tenant: str,
        response: Json,
        *,
        input: InputItems = (),
        output: InputItems | None = None,
        parent: str | None = None,
        store: bool = True,
    ) -> bool:
        """See `ConversationStore`; with `store=False` the turn stays on this connection."""
        check_tenant(tenant)
        check_parent(parent)
        before = None
        if not self.is_local(tenant, parent):
            if store:
                return await self._shared.append(tenant, response, input=input, output=output, parent=parent)
            if parent is not None:
                before = await self._shared.load_history(tenant, parent)
        return self._local.append(tenant, response, input, output, parent, self._now(), before)

    async def load_history(
        self, tenant: str, response_id: str, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> Items:
        """See `ConversationStore`."""
        check_tenant(tenant)
        check_id(response_id)
        try:
            items = self._local.history(tenant, response_id, self._now())
        except PreviousResponseNotFound:
            return await self._shared.load_history(
                tenant, response_id, max_items=max_items, max_bytes=max_bytes
            )
        return cut(items, max_items, max_bytes)

    async def load_turn(self, tenant: str, response_id: str) -> Turn | None:
        """See `ConversationStore`."""
        check_tenant(tenant)
        if not self.is_local(tenant, response_id):
            return await self._shared.load_turn(tenant, response_id)
        row = self._local.turn(tenant, response_id, self._now())
        return None if row is None else Turn(response_id, *row)

    async def delete(self, tenant: str, response_id: str) -> bool:
        """See `ConversationStore`."""
        return self.forget(tenant, response_id) or await self._shared.delete(tenant, response_id)

    def forget(self, tenant: str, response_id: str) -> bool:
        """Forget an unstored turn, as servers do after a request that continued it has failed."""
        check_tenant(tenant)
        return is_id(response_id) and self._local.delete(tenant, response_id, self._now())

    async def expire(self) -> int:
        """See `ConversationStore`."""
        return self._local.expire(self._now()) + await self._shared.expire()

    async def close(self) -> None:
        """Forget what was not stored."""
        self._local.clear()

    def is_local(self, tenant: str, response_id: str | None) -> bool:
        """Whether a turn is kept on this connection alone."""
        if response_id is None or not is_id(response_id):
            return False
        return self._local.has(tenant, response_id, self._now())

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def __repr__(self) -> str:
        return f"<ConnectionStore turns={self._local.turns} over {self._shared!r}>"
