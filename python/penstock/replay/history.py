"""What a `previous_response_id` stands for: the items of the conversation so far.

A `Past` is immutable and shares its beginning with those it grew from, so branches are independent and a turn
costs its own items only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from .http import HttpError

__all__ = ["History", "Past", "items_of"]

JSON = dict[str, Any]

MAX_KEPT: Final = 4096  # responses of one server that can be continued


@dataclass(frozen=True, slots=True)
class Past:
    """A conversation up to some point: the items of its last step, and what was before them."""

    items: tuple[Any, ...] = ()
    before: Past | None = None

    def then(self, items: Iterable[Any]) -> Past:
        """The conversation with these items behind it."""
        return Past(tuple(items), self)

    def context(self) -> list[Any]:
        """All items, first to last."""
        steps = []
        past: Past | None = self
        while past is not None:
            steps.append(past.items)
            past = past.before
        return [item for step in reversed(steps) for item in step]


class History:
    """The responses that a later request may continue, the oldest forgotten first."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self._known: OrderedDict[str, Past] = OrderedDict()

    def keep(self, response_id: str, past: Past) -> None:
        """Remember a response."""
        self._known[response_id] = past
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def drop(self, response_id: str) -> None:
        """Forget a response, if it is known."""
        self._known.pop(response_id, None)

    def find(self, response_id: Any) -> Past | None:
        """The conversation that ended with that response."""
        return self._known.get(response_id) if isinstance(response_id, str) else None

    def before(self, body: JSON, *others: History) -> Past:
        """The conversation that a request continues, without its own input; a new one where it names none.

        Raises `HttpError` 400, code `previous_response_not_found`, where no history knows what it names.
        """
        named = body.get("previous_response_id")
        if named is None:
            return Past()
        for history in (self, *others):
            past = history.find(named)
            if past is not None:
                return past
        raise HttpError(
            400,
            f"Previous response with id {str(named)[:80]!r} not found.",
            code="previous_response_not_found",
            param="previous_response_id",
        )


def items_of(given: Any) -> list[Any]:
    """A request's `input` as items. Raises `HttpError` 400 for one that is neither text nor a list."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}] if given else []
    if isinstance(given, list):
        return given
    raise HttpError(400, "Invalid type for 'input': expected a string or an array.", param="input")
