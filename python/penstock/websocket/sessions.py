"""What one connection can continue: its own responses of ``"store": false``, and its tenant's stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from penstock.errors import PreviousResponseNotFound
from penstock.store import Bounds, ConversationStore, Items, MemoryStore

__all__ = ["ConnectionStore"]

SCRATCH: Final = Bounds(max_turns=1_024, max_bytes=64 * 1024 * 1024, max_tenant_turns=1_024)
"""What a connection keeps for itself."""


class ConnectionStore:
    """A store of a connection's own in front of one that is shared.

    A turn goes into one of the two. One that continues a turn of the other brings that turn's history along
    as its own input, so that each store holds whole conversations.
    """

    def __init__(self, shared: ConversationStore) -> None:
        self._shared = shared
        self._own = MemoryStore(bounds=SCRATCH)

    async def load_history(self, tenant: str, response_id: str) -> Items:
        """Everything said up to a response; raises `PreviousResponseNotFound`."""
        try:
            return await self._own.load_history(tenant, response_id)
        except PreviousResponseNotFound:
            return await self._shared.load_history(tenant, response_id)

    async def append(
        self,
        tenant: str,
        response: dict[str, Any],
        *,
        input: Sequence[dict[str, Any]],
        parent: str | None,
        store: bool,
    ) -> None:
        """Store a turn, for all connections or for this one alone; raises what the shared store does."""
        target: ConversationStore = self._shared if store else self._own
        try:
            await target.append(tenant, response, input=input, parent=parent)
        except PreviousResponseNotFound:
            if parent is None:
                raise
            history = await self.load_history(tenant, parent)
            await target.append(tenant, response, input=[*history.json(), *input])

    async def forget(self, tenant: str, response_id: str) -> None:
        """Drop a turn of the connection's own: a request that continued it has failed."""
        await self._own.delete(tenant, response_id)

    async def close(self) -> None:
        """Drop all that is the connection's own."""
        await self._own.close()
