"""Hooks for the gateway's tests, named in a configuration as a user's are."""

from __future__ import annotations

from typing import Any

from penstock import Event
from penstock.errors import GuardFailed
from penstock.hooks import DROP

SEEN: list[tuple[str, Any]] = []


class Audit:
    """Notes what it is told."""

    def on_request(self, request: dict[str, Any]) -> None:
        SEEN.append(("request", request["model"]))

    async def on_complete(self, final: dict[str, Any]) -> None:
        SEEN.append(("complete", final["usage"]))

    def on_error(self, error: Exception) -> None:
        SEEN.append(("error", type(error).__name__))


class Editor:
    """Drops one kind of events and shouts the rest of the text."""

    def on_event(self, event: Event) -> Any:
        if event.type == "response.in_progress":
            return DROP
        if event.type == "response.output_text.delta":
            return {**event.json(), "delta": (event.delta or "").upper()}
        return None


class Guard:
    """Refuses requests and texts with a word in them."""

    guard = True

    def on_request(self, request: dict[str, Any]) -> None:
        if request.get("input") == "forbidden":
            raise GuardFailed("This is not answered.", code="refused")

    def on_event(self, event: Event) -> None:
        if "steel" in (event.delta or ""):
            raise GuardFailed("This is not said.", code="refused")


class Broken:
    """Fails at everything, and is no guard."""

    def on_request(self, request: dict[str, Any]) -> None:
        raise ValueError(request)

    def on_event(self, event: Event) -> None:
        raise ValueError(event)
