"""Stores under the names that other projects' code calls them by, without the faults those had.

`ConversationHistoryStore` has the methods of TensorRT-LLM's class of that name, `SessionHistory` does what
LiteLLM's managed WebSocket did with its list of messages. Both keep their turns in any `ConversationStore`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from penstock.errors import PreviousResponseNotFound, TurnConflict
from penstock.store.base import check_tenant
from penstock.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock._penstock import Items
    from penstock.store.base import ConversationStore

    Message = Mapping[str, Any]

__all__ = ["ConversationHistoryStore", "SessionHistory"]

MESSAGES = "messages"
"""Begins the ids under which messages wait for their response; those of responses begin with `resp_`."""


class ConversationHistoryStore:
    """TensorRT-LLM's calls: messages and responses by response id, for one tenant.

    A server first stores the messages of a request, then the response with the messages it came to. Each
    response has a history of its own here: branches do not overwrite each other, evicting one response
    changes no other, what is unknown is `PreviousResponseNotFound` instead of a `KeyError` or an empty
    history, and nothing that is passed or returned is shared. Messages are dicts.

    Args:
        store: keeps the turns; None for memory of its own. How much is kept is its bounds' business.
        tenant: whose turns they are; each tenant needs an object of its own.
    """

    def __init__(self, store: ConversationStore | None = None, *, tenant: str) -> None:
        self._store = store if store is not None else MemoryStore()
        self._tenant = check_tenant(tenant)

    async def load_response(self, resp_id: str) -> dict[str, Any] | None:
        """A response, made anew each time; None if there is none."""
        turn = await self._store.load_turn(self._tenant, resp_id)
        return None if turn is None else turn.json()

    async def store_response(
        self,
        resp: Mapping[str, Any],
        resp_msgs: Sequence[Message] | None = None,
        prev_resp_id: str | None = None,
    ) -> None:
        """Store a response after the messages stored for it, or else after the previous response's history.

        Args:
            resp: the response object; its `id` names it.
            resp_msgs: the messages it came to.
            prev_resp_id: the response it continues.

        Raises:
            PreviousResponseNotFound: `prev_resp_id` is unknown or gone, and no messages were stored.
        """
        waiting = await self._waiting(resp["id"])
        if waiting:
            parent: str | None = waiting[-1]
        else:
            again = await self._store.load_turn(self._tenant, resp["id"])
            parent = prev_resp_id if again is None else again.parent
        await self._store.append(self._tenant, dict(resp), output=list(resp_msgs or ()), parent=parent)
        for name in waiting:
            await self._store.delete(self._tenant, name)

    async def store_messages(
        self, resp_id: str, msgs: Sequence[Message], prev_resp_id: str | None = None
    ) -> None:
        """Store what a request adds, before its response is there.

        Raises:
            PreviousResponseNotFound: `prev_resp_id` is unknown or gone.
        """
        await self._store.append(
            self._tenant, {"id": _waiting_id(resp_id, 0)}, input=list(msgs), parent=prev_resp_id
        )

    async def append_messages(self, resp_id: str, msgs: Sequence[Message]) -> None:
        """Add to the messages that wait for a response, behind all that others have added meanwhile.

        Raises:
            PreviousResponseNotFound: none were stored, or the response is there already and does not change.
        """
        waiting = await self._waiting(resp_id)
        if not waiting:
            raise PreviousResponseNotFound("no messages wait for this response")
        parent, number = waiting[-1], len(waiting)
        while True:
            name = _waiting_id(resp_id, number)
            with suppress(TurnConflict):  # another was faster, with other messages
                if await self._store.append(self._tenant, {"id": name}, input=list(msgs), parent=parent):
                    return
            parent, number = name, number + 1

    async def get_conversation_history(self, resp_id: str) -> list[dict[str, Any]]:
        """All messages up to and with those of a response, made anew each time.

        Raises:
            PreviousResponseNotFound: `resp_id` is unknown or gone.
        """
        return (await self._history(resp_id)).json()

    async def pop_response(self, resp_id: str) -> bool:
        """Forget a response; whether there was one. Those that continue it keep their history."""
        return await self._store.delete(self._tenant, resp_id)

    async def _history(self, resp_id: str) -> Items:
        try:
            return await self._store.load_history(self._tenant, resp_id)
        except PreviousResponseNotFound:
            waiting = await self._waiting(resp_id)
            if not waiting:
                raise
            return await self._store.load_history(self._tenant, waiting[-1])

    async def _waiting(self, resp_id: str) -> list[str]:
        """The turns that wait for a response, each continuing the one before: a turn never changes."""
        found: list[str] = []
        name = _waiting_id(resp_id, 0)
        while await self._store.load_turn(self._tenant, name) is not None:
            found.append(name)
            name = _waiting_id(resp_id, len(found))
        return found


def _waiting_id(resp_id: str, number: int) -> str:
    return f"{MESSAGES}{number or ''}:{resp_id}"


class SessionHistory:
    """What a managed WebSocket keeps between a connection's turns, as LiteLLM did in a dict of lists.

    Every item of every type is kept (LiteLLM dropped reasoning, refusals and custom tools), a turn costs
    what it adds rather than a copy of all before, and an unknown response is an error, not an empty history.

    Args:
        store: keeps the turns; a `ConnectionStore` for what goes with the connection.
        tenant: whose connection it is.
    """

    def __init__(self, store: ConversationStore, *, tenant: str) -> None:
        self._store = store
        self._tenant = check_tenant(tenant)

    async def extend(
        self, previous_response_id: str | None, input: str | Sequence[Message]
    ) -> list[dict[str, Any]]:
        """The whole input that a back end without state needs: the history, and then what the request adds.

        Raises:
            PreviousResponseNotFound: the response is unknown or gone.
        """
        added = [{"type": "message", "role": "user", "content": input}] if isinstance(input, str) else input
        if previous_response_id is None:
            return [dict(item) for item in added]
        history = await self._store.load_history(self._tenant, previous_response_id)
        return [*history.json(), *(dict(item) for item in added)]

    async def record(
        self,
        previous_response_id: str | None,
        input: str | Sequence[Message],
        response: Mapping[str, Any],
    ) -> bool:
        """Keep a turn that has ended, if it can be continued: it completed, or was cut short by a limit.

        Returns whether it was kept.
        """
        if response.get("status", "completed") not in ("completed", "incomplete"):
            return False
        await self._store.append(self._tenant, dict(response), input=input, parent=previous_response_id)
        return True
