"""What one turn has measured."""

from __future__ import annotations

from time import monotonic
from typing import Any

__all__ = ["TurnFigures"]


class TurnFigures:
    """The figures of one turn so far. Times are in seconds and count from its first request.

    Attributes:
        started: that moment, by `time.monotonic()`; 0.0 before it.
        attempts: requests sent.
        connection: which of the session's connections carried the last one, from 1; 0 before it.
        sent_items, total_items: input items of the last request, and of the whole conversation.
        events, bytes: of the response, as delivered.
        first_event: time to the first event; None before it.
        first_token: time to the first event with a `delta`; None before it.
        duration: time to the last event; None before the first.
        drained: time spent on getting rid of the response before it.
    """

    __slots__ = (
        "attempts", "bytes", "connection", "drained", "duration", "events", "first_event", "first_token",
        "sent_items", "started", "total_items",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = 0.0
        self.attempts = 0
        self.connection = 0
        self.sent_items = 0
        self.total_items = 0
        self.events = 0
        self.bytes = 0
        self.first_event: float | None = None
        self.first_token: float | None = None
        self.duration: float | None = None
        self.drained = 0.0

    def note(self, size: int, *, token: bool) -> None:
        """Count one event of so many bytes."""
        self.events += 1
        self.bytes += size
        self.duration = monotonic() - self.started
        if self.first_event is None:
            self.first_event = self.duration
        if token and self.first_token is None:
            self.first_token = self.duration

    def as_dict(self) -> dict[str, Any]:
        """The figures under their names."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "started"}

    def __repr__(self) -> str:
        return f"TurnFigures({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"
