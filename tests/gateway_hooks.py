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


class Refuser:
    """A guard that refuses requests, words and ends by what the request says."""

    guard = True

    def on_request(self, request: dict[str, Any]) -> dict[str, Any] | None:
        if request.get("user") == "refuse":
            raise GuardFailed("This is not answered.", code="refused")
        return {**request, "metadata": {"marked": "yes"}} if request.get("user") == "mark" else None

    def on_event(self, event: Event) -> None:
        if event.type == "response.completed" and event["response"]["model"].endswith("echo"):
            raise GuardFailed("This is not ended so.", code="refused")


class Refusals(Refuser):
    """Also notes what it is told."""

    def on_complete(self, final: dict[str, Any]) -> None:
        SEEN.append(("complete", final["status"]))

    def on_error(self, error: Exception) -> None:
        SEEN.append(("error", type(error).__name__))
