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


class _Flight:
    __slots__ = ("accumulator", "sequence_number")

    def __init__(self) -> None:
        self.accumulator: ResponseAccumulator | None = ResponseAccumulator()
        self.sequence_number = -1


class Flights:
    """The responses of one connection, by lane."""

    def __init__(self) -> None:
        self._waiting = 0  # requests of which nothing has come yet
        self._lanes: dict[str | None, _Flight] = {}

    def ask(self) -> None:
        """A `response.create` has gone upstream."""
        self._waiting += 1

    def see(self, event: Event, kind: str) -> None:
        """An event of the upstream has passed."""
        lane = event.stream_id
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
            number = event.sequence_number
            flight.sequence_number = flight.sequence_number + 1 if number is None else number
            self._keep(flight, event)

    def _keep(self, flight: _Flight, event: Event) -> None:
        if flight.accumulator is not None:
            try:
                flight.accumulator.feed(event)
            except PenstockError:  # beyond a limit, or no JSON: the terminal will have to do without output
                flight.accumulator = None

    def fail(self, refusal: RefusedError) -> list[str]:
        """The frames that end every response under way, and tell of the requests that have none yet."""
        frames = []
        for lane, flight in self._lanes.items():
            partial = None if flight.accumulator is None else flight.accumulator.snapshot()
            if partial is None:
                frames.append(error_frame(refusal, stream_id=lane))
            else:
                number = flight.sequence_number + 1
                frames.append(ended_frame(partial, refusal, sequence_number=number, stream_id=lane))
        frames += [error_frame(refusal)] * self._waiting
        self._lanes.clear()
        self._waiting = 0
        return frames
