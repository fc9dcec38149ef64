"""Hooks: what an application does as a stream passes by, a small protocol.

    class Audit:
        async def on_request(self, request): ...     # None keeps it, anything else takes its place
        def on_event(self, event): ...               # None keeps it, DROP drops it, an event takes its place
        def on_usage(self, final): ...               # members for the final usage, such as {"cost": 0.01}
        async def on_complete(self, final): ...      # the final object, before the client gets its event
        async def on_error(self, error): ...         # the stream was cut: time-out, error, client gone

A hook is any object with some of these methods, each plain or async. Of `on_complete` and `on_error` exactly
one is called for each hook, once. A hook that fails or takes too long is logged, by the names of its class
and its error alone, and the stream goes on as if it had kept everything; a hook with ``guard = True`` ends
the stream instead. Only events that a hook replaced are written anew.

A hook that has an attribute `events`, a set of types, is shown events of those alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from penstock._penstock import Decoder, Event, write_events
from penstock.errors import GuardFailed

__all__ = ["DROP", "Hooks", "Price", "PriceTable"]

log = logging.getLogger("penstock.hooks")

HOOK_SECONDS: Final = 5.0
"""How long one call of a hook may take: an append to a store is done in milliseconds, and a client waits."""

_TERMINAL_TYPES: Final = frozenset(
    {
        "response.completed",
        "response.failed",
        "response.incomplete",
        "response.cancelled",
        "error",
        "message_stop",
    }
)
"""Events that cannot be dropped: their stream would not end."""


class Drop(Enum):
    """What `on_event` returns for an event that the client is not to see."""

    DROP = "drop"


DROP: Final = Drop.DROP

Edited: TypeAlias = Event | Mapping[str, Any] | str | bytes | Drop | None


class Hooks:
    """Runs the hooks of one stream in their order, each on what the one before made of it.

    Args:
        hooks: the hooks.
        timeout: seconds that one call may take; a plain method cannot be interrupted.
    """

    __slots__ = ("_hooks", "_on_event", "_over", "_timeout")

    def __init__(self, hooks: Iterable[Any] = (), *, timeout: float = HOOK_SECONDS) -> None:
        self._hooks = tuple(hooks)
        self._timeout = timeout
        self._over = False
        self._on_event = [
            (hook, hook.on_event, getattr(hook, "events", None))
            for hook in self._hooks
            if hasattr(hook, "on_event")
        ]

    def __bool__(self) -> bool:
        return bool(self._hooks)

    @property
    def watches_events(self) -> bool:
        """Whether any hook wants to see events."""
        return bool(self._on_event)

    async def request(self, request: Any) -> Any:
        """The request as the hooks want it sent.

        Raises:
            GuardFailed: a guard refused it.
        """
        for hook in self._hooks:
            changed = await self._call(hook, "on_request", request)
            request = request if changed is None else changed
        return request

    async def edit(self, events: list[Event]) -> list[Event] | None:
        """The events as the client is to see them; None if all are to stay as they are.

        Raises:
            GuardFailed: a guard refused one.
        """
        edited: list[Event] | None = None
        for position, event in enumerate(events):
            result = await self._edit(event)
            if result is not event and edited is None:
                edited = events[:position]
            if edited is not None and result is not None:
                edited.append(result)
        return edited

    async def _edit(self, event: Event) -> Event | None:
        for hook, on_event, types in self._on_event:
            if types is not None and event.type not in types:
                continue
            try:
                result = on_event(event)
                if hasattr(result, "__await__"):
                    async with asyncio.timeout(self._timeout):
                        result = await result
                if result is DROP:
                    if event.type not in _TERMINAL_TYPES:
                        return None
                elif result is not None:
                    event = _as_event(result)
            except Exception as error:
                _failed(hook, "on_event", error)
        return event

    async def usage(self, final: Mapping[str, Any]) -> dict[str, Any]:
        """What the hooks put into the final usage."""
        members: dict[str, Any] = {}
        for hook in self._hooks:
            members |= await self._call(hook, "on_usage", final) or {}
        return members

    async def complete(self, final: Mapping[str, Any] | None) -> None:
        """Tell the hooks that the stream has ended. Only the first call of this or `error` counts.

        Raises:
            GuardFailed: a guard refused it; `error` may still be called.
        """
        if not self._over:
            for hook in self._hooks:
                await self._call(hook, "on_complete", final)
            self._over = True

    async def error(self, error: Exception) -> None:
        """Tell the hooks that the stream was cut. Only the first call of this or `complete` counts."""
        if self._over:
            return
        self._over = True
        for hook in self._hooks:
            try:
                await self._call(hook, "on_error", error)
            except GuardFailed:
                log.warning("the guard %s failed in on_error", type(hook).__name__)

    async def _call(self, hook: Any, name: str, argument: Any) -> Any:
        method: Callable[[Any], Any] | None = getattr(hook, name, None)
        if method is None:
            return None
        try:
            result = method(argument)
            if hasattr(result, "__await__"):
                async with asyncio.timeout(self._timeout):
                    result = await result
        except Exception as error:
            _failed(hook, name, error)
            return None
        return result


def _failed(hook: Any, name: str, error: Exception) -> None:
    """Log a hook's failure, or raise it if the hook is a guard. What it was called with is in neither."""
    kind, reason = type(hook).__name__, type(error).__name__
    if not getattr(hook, "guard", False):
        log.warning("%s.%s failed with %s; the stream goes on", kind, name, reason)
        return
    if isinstance(error, GuardFailed):
        raise error
    raise GuardFailed(f"the guard {kind} failed") from error


def _as_event(edited: Event | Mapping[str, Any] | str | bytes) -> Event:
    if isinstance(edited, Event):
        return edited
    if isinstance(edited, str | bytes):
        return Event(edited)
    [event] = Decoder(eof="flush").feed(write_events(dict(edited)))
    return event


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens of a model cost, in one currency for a million of them.

    Attributes:
        input: tokens of the request.
        output: tokens of the answer, reasoning included.
        cached: tokens of the request that came out of a cache; by default as dear as others.
        cache_write: tokens of the request that were put into one; by default as dear as others.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None

    def of(self, usage: Mapping[str, Any]) -> float:
        """The price of a `usage` of either API, to twelve digits behind the point."""
        total_in = _count(usage, "input_tokens") or _count(usage, "prompt_tokens")
        total_out = _count(usage, "output_tokens") or _count(usage, "completion_tokens")
        details = usage.get("input_tokens_details") or usage.get("prompt_tokens_details")
        details = details if isinstance(details, Mapping) else {}
        cached = min(_count(details, "cached_tokens"), total_in)
        written = min(_count(details, "cache_write_tokens"), total_in - cached)
        cost = (total_in - cached - written) * self.input + total_out * self.output
        cost += cached * (self.input if self.cached is None else self.cached)
        cost += written * (self.input if self.cache_write is None else self.cache_write)
        return round(cost / 1_000_000, 12)


class PriceTable:
    """A hook that puts `cost` into the usage of the event that ends a stream; nothing else of it changes.

    Args:
        prices: by model; a name that ends in ``*`` is for all models that begin so, and the longest one
        counts.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._exact = {model: price for model, price in prices.items() if not model.endswith("*")}
        starts = ((model[:-1], price) for model, price in prices.items() if model.endswith("*"))
        self._starts = sorted(starts, key=lambda start: -len(start[0]))

    def price(self, model: str) -> Price | None:
        """The price of a model; None if the table has none."""
        if model in self._exact:
            return self._exact[model]
        return next((price for start, price in self._starts if model.startswith(start)), None)

    def on_usage(self, final: Mapping[str, Any]) -> dict[str, float] | None:
        """The cost of a final object whose model has a price."""
        usage, price = final.get("usage"), self.price(str(final.get("model")))
        if not isinstance(usage, Mapping) or price is None:
            return None
        return {"cost": price.of(usage)}


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and value > 0 else 0
