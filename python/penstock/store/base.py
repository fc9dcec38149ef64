"""What every store of conversations promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

from penstock._penstock import Event, Items
from penstock.errors import PreviousResponseNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    Json: TypeAlias = "Mapping[str, Any] | bytes"
    """A JSON object, or its text."""

    InputItems: TypeAlias = "Iterable[Json] | Items | bytes | str"
    """Items as an API request has them: a list, the text of one, or a str, which is a user's message."""

__all__ = ["ConversationStore", "Turn"]


class Turn(NamedTuple):
    """One turn as it was stored.

    Attributes:
        id: the response's id.
        parent: the id of the response it continued; None for the first of a conversation.
        response: the response object, the bytes that were stored.
        input: the items that the request added.
        output: the items that the model answered with.
    """

    id: str
    parent: str | None
    response: bytes
    input: Items
    output: Items

    def json(self) -> dict[str, Any]:
        """The response object, made anew each time."""
        made: dict[str, Any] = Event(self.response).json()
        return made

    def __repr__(self) -> str:
        return f"<Turn input={len(self.input)} output={len(self.output)} bytes={len(self.response)}>"


@runtime_checkable
class ConversationStore(Protocol):
    """Keeps the turns of many tenants' conversations.

    - `tenant` is whoever owns the turns; it must be given, and nothing ever leads from one tenant to another.
    - A turn never changes. Two that continue the same response are branches which know nothing of each other.
    - An append that returned is kept. One that was cancelled or failed may be; appending it again is safe.
    - What is returned is the caller's own: changing it changes nothing that is stored.
    - Over a bound of `Bounds` the turns used longest ago go; those that build on them keep their history.

    `StoreUnavailable` is raised by all methods where a database is behind the store and fails.
    """

    async def append(
        self,
        tenant: str,
        response: Json,
        *,
        input: InputItems = (),
        output: InputItems | None = None,
        parent: str | None = None,
    ) -> bool:
        """Store a turn under the `id` of its response; whether it is new rather than there already.

        Args:
            tenant: whose turn it is.
            response: the response object.
            input: the items that the request added to the conversation.
            output: the model's items; None for those of the response's `output`.
            parent: the response that the request continued, its `previous_response_id`.

        Raises:
            PreviousResponseNotFound: the tenant has no turn `parent`: it never had, or it is gone.
            TurnConflict: the id belongs to a turn with other content.
            LimitExceeded: the turn alone is larger than what a tenant may store.
            DecodeError: it is not JSON, or the response has no id.
        """
        ...

    async def load_history(
        self, tenant: str, response_id: str, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> Items:
        """Everything that was said up to a response, its output included, oldest first.

        Bounds leave out the oldest, but no system or developer message, and part no call from its output.

        Raises:
            PreviousResponseNotFound: the tenant has no such turn.
        """
        ...

    async def load_turn(self, tenant: str, response_id: str) -> Turn | None:
        """One turn; None if the tenant has no such turn."""
        ...

    async def delete(self, tenant: str, response_id: str) -> bool:
        """Forget a turn; whether there was one. Turns that continue it keep their history."""
        ...

    async def expire(self) -> int:
        """Forget the turns that were not used for `Bounds.ttl`, and tell how many those were.

        Nothing needs to call it: such turns are never returned, and appends remove them step by step.
        """
        ...

    async def close(self) -> None:
        """Release what the store holds. May be called twice; the store must not be used afterwards."""
        ...


class StoreBase(ABC):
    """What the stores have in common."""

    @abstractmethod
    async def close(self) -> None:
        """Release what the store holds."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def check_tenant(tenant: str) -> str:
    """Refuse what could make tenants meet by mistake: a missing name is not a name."""
    if not isinstance(tenant, str):
        raise TypeError(f"tenant must be a str, not {type(tenant).__name__}")
    if not tenant or not is_unicode(tenant):
        raise ValueError("tenant must not be empty and must not hold lone surrogates")
    return tenant


def check_parent(response_id: str | None) -> str | None:
    """Refuse an id that no stored response can have."""
    return None if response_id is None else check_id(response_id)


def check_id(response_id: str) -> str:
    """Refuse an id that no stored response can have."""
    if not is_id(response_id):
        raise PreviousResponseNotFound("no stored response has this id")
    return response_id


def is_id(response_id: str) -> bool:
    """Whether a stored response can have this id; clients may send anything that JSON has for a string."""
    if not isinstance(response_id, str):
        raise TypeError(f"a response id must be a str, not {type(response_id).__name__}")
    return is_unicode(response_id)


def cut(items: Items, max_items: int | None, max_bytes: int | None) -> Items:
    """A history within a caller's bounds."""
    if max_items is None and max_bytes is None:
        return items
    return items.trim(max_items=max_items, max_bytes=max_bytes)


def is_unicode(text: str) -> bool:
    """Whether a str can be written as UTF-8: JSON may have brought it lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
