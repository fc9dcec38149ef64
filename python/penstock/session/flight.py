"""One request that was sent, and what has come of it: kept by the machine, read by its turn."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock._penstock import Event, ResponseAccumulator
from penstock.errors import LimitExceeded

if TYPE_CHECKING:
    from penstock._penstock import Limits
    from penstock.errors import PenstockError

__all__ = ["Flight", "accumulator"]

MAX_WAITING_EVENTS: Final = 65_536
"""Events of one flight that nobody takes, while another lane of its connection is read."""

MAX_WAITING_BYTES: Final = 64 << 20
"""And bytes of them, beyond the one that is about to be taken."""

State = Literal["waiting", "streaming", "succeeding", "over"]


class Flight:
    """One request that was sent, and what has come of it.

    Attributes:
        lane: its `stream_id`; None without one.
        response_id: of the response under way, known since its `response.created`.
        events: what has come and was not taken.
        terminal: the type of the terminal event that ended it; None where none did.
        error: what ended it instead, or ended it for the one who waits for it.
        closed: whether nothing comes any more for the one who waits; the wire may know better.
        steered: responses and inputs before the one under way: each steer makes another of it.
    """

    __slots__ = (
        "_first_is_free",
        "_items",
        "_sequence",
        "_state",
        "accumulator",
        "cancelled",
        "closed",
        "drain_until",
        "error",
        "events",
        "lane",
        "response_id",
        "steered",
        "steers",
        "terminal",
        "waiting",
    )

    def __init__(self, lane: str | None, limits: Limits) -> None:
        self.lane = lane
        self.response_id: str | None = None
        self.events: deque[Event] = deque()
        self.waiting = 0  # bytes of the events, without the first if it found nothing before it
        self._first_is_free = False
        self.accumulator = accumulator(lane, limits)
        self.terminal: str | None = None
        self.error: PenstockError | None = None
        self.closed = False
        self.cancelled = False
        self.drain_until: float | None = None  # the moment at which whoever drains it gives up
        self.steered: list[Any] = []
        self.steers: list[Any] = []  # inputs of steers that were sent and not committed, refused or put off
        self._state: State = "waiting"
        self._sequence: int | None = None
        self._items: set[str] = set()

    @property
    def over(self) -> bool:
        """Whether nothing of it is on the wire any more."""
        return self._state == "over"

    @property
    def ready(self) -> bool:
        """Whether there is something to take, or nothing to wait for."""
        return bool(self.events) or self.closed

    def take(self) -> Event:
        """The next event."""
        event = self.events.popleft()
        if self._first_is_free:
            self._first_is_free = False
        else:
            self.waiting -= len(event.data)
        return event

    def _put(self, event: Event) -> None:
        if self.events:  # or it is taken at once, as nearly all are, and need not be measured
            self.waiting += len(event.data)
        else:
            self._first_is_free = True
        for limit, maximum, value in (
            ("waiting_events", MAX_WAITING_EVENTS, len(self.events) + 1),
            ("waiting_bytes", MAX_WAITING_BYTES, self.waiting),
        ):
            if value > maximum:
                raise LimitExceeded(
                    "too many events wait for whoever asked for them",
                    limit=limit,
                    maximum=maximum,
                    value=value,
                )
        self.events.append(event)

    def _clear(self) -> None:
        self.events.clear()
        self.waiting = 0

    def _close(self, error: PenstockError | None = None) -> None:
        if not self.closed:
            self.closed, self.error = True, error


def accumulator(lane: str | None, limits: Limits) -> ResponseAccumulator:
    """What makes a response of the events of a lane."""
    made = ResponseAccumulator(limits=limits)
    return made if lane is None else made.lane(lane)
