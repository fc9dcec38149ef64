"""What to send: only the new items behind a `previous_response_id`, or the whole conversation, and why.

Sans-IO: `Chains.plan` looks at the items a caller wants answered, `Chains.extend` takes in what was answered.
Each lane has its latest response, and a request continues the one whose conversation its own starts with the
longest; so a new lane may fork from another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypeAlias

from penstock.prefix import PrefixChain
from penstock.session.codec import dump
from penstock.session.matching import following, following_pipecat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Asked", "Chains", "Link", "Plan", "Reason", "items_of"]

Reason: TypeAlias = Literal[
    "continues", "first", "shorter", "prefix", "output", "nothing_new", "model", "tools", "instructions",
    "connection", "not_found", "not_kept",
]  # fmt: skip
"""Why a plan is as it is. One is incremental:

``continues``: the items begin with the previous input and output, and only what follows is sent.

All others send everything:

- ``first``: there is nothing to continue.
- ``shorter``: no more items than the previous request had.
- ``prefix``: the items do not begin with those of the previous request; `Plan.matched` many do.
- ``output``: behind them does not come what the model said.
- ``nothing_new``: nothing comes behind what the model said.
- ``model``, ``tools``, ``instructions``: another one than before.
- ``connection``: the state was kept by a connection that is gone.
- ``not_found``: the server knows the previous response no more: it said so, or a continuation of it failed.
- ``not_kept``: nobody keeps the previous response, because it was made over HTTP with ``store`` off.
"""

_SETTINGS: Final[tuple[Reason, ...]] = ("model", "tools", "instructions")
_CLOSENESS: Final[tuple[Reason, ...]] = (
    "first", "not_kept", "connection", "not_found", "shorter", "prefix", "output", "nothing_new",
    "model", "tools", "instructions",
)  # fmt: skip
"""Reasons not to continue, from far off to nearly: the nearest miss is the one to tell."""

MAX_LINKS: Final = 64
"""Responses that are remembered; servers take 32 lanes, but over HTTP every request may be one of its own."""


def items_of(given: str | Sequence[Any]) -> list[Any]:
    """What a caller says, as items: words are a user's message. Raises `TypeError` for what is neither."""
    if isinstance(given, dict | bytes | bytearray | memoryview):
        raise TypeError(f"the input must be a str or a list of items, not {type(given).__name__}")
    return [{"role": "user", "content": given}] if isinstance(given, str) else [*given]


class Plan(NamedTuple):
    """What a request sends.

    Attributes:
        input: the items to send.
        previous_response_id: what they continue; None if they are all there is.
        reason: why.
        total: how many items the conversation has.
        matched: how many of them the server has already, or would have if it were not for the reason.
    """

    input: list[Any]
    previous_response_id: str | None
    reason: Reason
    total: int
    matched: int

    @property
    def incremental(self) -> bool:
        """Whether only the new items are sent."""
        return self.previous_response_id is not None

    def __repr__(self) -> str:
        # Not what the items say.
        return f"Plan({self.reason!r}, {len(self.input)} of {self.total} items)"


class Asked(NamedTuple):
    """What a request asks for, as it is when it is sent: the objects are the caller's, who may change them.

    Attributes:
        prefix: digests of its items, sent or not.
        settings: the JSON of model, tools and instructions.
    """

    prefix: PrefixChain
    settings: tuple[str, ...]

    @classmethod
    def of(cls, items: Sequence[Any], settings: dict[str, Any]) -> Self:
        """Read a request. Raises what `PrefixChain` raises for items that are no JSON."""
        return cls(PrefixChain(items), tuple(dump(settings.get(name)) for name in _SETTINGS))

    def then(self, items: Sequence[Any]) -> Asked:
        """The same with further items behind its own."""
        longer = self.prefix.copy()
        longer.extend(items)
        return self._replace(prefix=longer)


class Link(NamedTuple):
    """One response that can be continued.

    Attributes:
        response_id: its name.
        asked: what it answers.
        output: what the model said, nobody else's to change.
        connection: the one that keeps its state; None where it is stored.
        lapsed: why it cannot be continued any more; None as long as it can.
    """

    response_id: str
    asked: Asked
    output: Sequence[Any]
    connection: object | None
    lapsed: Reason | None = None


class Chains:
    """The latest response of each lane, of so many lanes as were used last.

    Args:
        compat: ``"pipecat"`` for its rules of what continues what; None for those of `matching`, which also
            hold model, tools and instructions together.
    """

    def __init__(self, compat: Literal["pipecat"] | None = None) -> None:
        self._pipecat = compat == "pipecat"
        self._following: Callable[[Sequence[Any], int, Sequence[Any]], int | None]
        self._following = following_pipecat if self._pipecat else following
        self._links: dict[str | None, Link] = {}

    def plan(self, items: Sequence[Any], asked: Asked, lane: str | None, connection: object) -> Plan:
        """Plan a request over `connection`."""
        best = Plan([*items], None, "first", len(items), 0)
        # The lane's own response comes first, and others must do better than it.
        links = sorted(self._links.items(), key=lambda entry: entry[0] != lane)
        for _, link in links:
            plan = self._try(items, asked, link, connection)
            if _rank(plan) > _rank(best):
                best = plan
        return best

    def _try(self, items: Sequence[Any], asked: Asked, link: Link, connection: object) -> Plan:
        reason, matched = self._compare(items, asked, link, connection)
        if reason == "continues":
            return Plan([*items[matched:]], link.response_id, reason, len(items), matched)
        return Plan([*items], None, reason, len(items), matched)

    def _compare(
        self, items: Sequence[Any], asked: Asked, link: Link, connection: object
    ) -> tuple[Reason, int]:
        """Why a response can be continued or not, and how many items match."""
        reason: Reason = "continues"
        matched, length = 0, len(link.asked.prefix)
        if link.lapsed is not None:
            reason = link.lapsed
        elif link.connection is not None and link.connection is not connection:
            reason = "connection"
        elif len(items) <= length:
            reason = "shorter"
        elif (matched := asked.prefix.longest_match(link.asked.prefix)) < length:
            reason = "prefix"
        elif (behind := self._following(items, length, link.output)) is None:
            reason = "output"
        else:
            matched = behind
            if not self._pipecat:
                reason = _hindrance(asked, link, nothing_new=matched == len(items))
        return reason, matched

    def extend(
        self,
        lane: str | None,
        response_id: str,
        asked: Asked,
        *,
        output: Sequence[Any],
        connection: object | None,
        kept: bool = True,
    ) -> None:
        """Take in a response that was completed, and what it answers.

        It is kept by the connection, stored where that is None, or by nobody.
        """
        lapsed: Reason | None = None if kept else "not_kept"
        self._links.pop(lane, None)
        while len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        self._links[lane] = Link(response_id, asked, output, connection, lapsed)

    def forget(self, response_id: str) -> None:
        """Continue this response no more: the server does not know it."""
        self._lapse(lambda link: link.response_id == response_id, "not_found")

    def leave(self, connection: object) -> None:
        """Let go of what a connection that is gone has kept."""
        self._lapse(lambda link: link.connection is connection, "connection")

    def _lapse(self, concerned: Callable[[Link], bool], reason: Reason) -> None:
        for lane, link in self._links.items():
            if concerned(link):
                self._links[lane] = Link("", _NOTHING, (), None, reason)


_NOTHING: Final = Asked(PrefixChain(), ())


def _rank(plan: Plan) -> tuple[int, int]:
    return (len(_CLOSENESS) if plan.incremental else _CLOSENESS.index(plan.reason), plan.matched)


def _hindrance(asked: Asked, link: Link, *, nothing_new: bool) -> Reason:
    """What keeps items that match from being a continuation, if anything does."""
    if nothing_new:
        return "nothing_new"
    for name, before, now in zip(_SETTINGS, link.asked.settings, asked.settings, strict=True):
        if before != now:
            return name
    return "continues"
