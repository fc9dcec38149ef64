"""Which responses are under way on a forwarded connection, and how far they have come.

The forwarder changes nothing, so most of the time this only watches. When the upstream goes away in the
middle, it knows what the client still waits for, and each of those gets one truthful terminal event.
"""

from __future__ import annotations

from typing import Final

from penstock._penstock import Event, ResponseAccumulator
from penstock.errors import PenstockError
from penstock.websocket.wire import RefusedError, ended_frame, error_frame

__all__ = ["TERMINALS", "Flights"]

TERMINALS: Final = frozenset(
    {"response.completed", "response.failed", "response.incomplete", "response.cancelled", "error"}
)

MAX_LANES: Final = 64
"""Lanes whose output is kept; the API has 33 of them."""


HELD_BYTES: Final = 64 * 1024
"""Of events that are held before they are accumulated: together they cost less, and most never need to be."""


class _Flight:
    """One response, as far as it has come."""

    __slots__ = ("_accumulator", "_bytes", "_held", "_number")

    def __init__(self) -> None:
        self._accumulator: ResponseAccumulator | None = ResponseAccumulator()
        self._held: list[Event] = []
        self._bytes = 0
        self._number = 0  # of the next event, where they have none

    def add(self, event: Event, size: int) -> None:
        self._held.append(event)
        self._bytes += size
        if self._bytes > HELD_BYTES:
            self._accumulate()

    def _accumulate(self) -> None:
        held, self._held, self._bytes = self._held, [], 0
        self._number += len(held)
        if self._accumulator is not None:
            try:
                self._accumulator.feed(held)
            except PenstockError:  # beyond a limit: the terminal will have to do without output
                self._accumulator = None

    def end(self, refusal: RefusedError, lane: str | None) -> str:
        """The frame that ends it."""
        self._accumulate()
        accumulator = self._accumulator
        response = None if accumulator is None else accumulator.snapshot()
        if accumulator is None or response is None:
            return error_frame(refusal, stream_id=lane)
        last = accumulator.sequence_number
        number = self._number if last is None else last + 1
        return ended_frame(response, refusal, sequence_number=number, stream_id=lane)


class Flights:
    """The responses of one connection, by lane."""

    __slots__ = ("_lanes", "_waiting")

    def __init__(self) -> None:
        self._waiting = 0  # requests of which nothing has come yet
        self._lanes: dict[str | None, _Flight] = {}

    def ask(self) -> None:
        """A `response.create` has gone upstream."""
        self._waiting += 1

    def see(self, event: Event, kind: str, text: str) -> None:
        """An event of the upstream, with this text, has passed."""
        # Looking for a second member costs as much again, and most connections have but one lane.
        lane = event.stream_id if '"stream_id"' in text else None
        if kind == "response.created":
            self._waiting = max(0, self._waiting - 1)  # none waited: a steered response's successor
            if lane in self._lanes or len(self._lanes) < MAX_LANES:
                self._lanes[lane] = _Flight()
        flight = self._lanes.get(lane)
        if flight is None:
            if kind == "error":  # a request that was refused
                self._waiting = max(0, self._waiting - 1)
        elif kind in TERMINALS:
            del self._lanes[lane]
        else:
            flight.add(event, len(text))

    def fail(self, refusal: RefusedError) -> list[str]:
        """The frames that end every response under way, and tell of the requests that have none yet."""
        frames = [flight.end(refusal, lane) for lane, flight in self._lanes.items()]
        frames += [error_frame(refusal)] * self._waiting
        self._lanes.clear()
        self._waiting = 0
        return frames
