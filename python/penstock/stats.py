"""The figures of one stream: counts, times to first event and token, the spread of times between events."""

from __future__ import annotations

from math import exp2, log2
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock._penstock import ChatAccumulator, Decoder, Event, ResponseAccumulator

__all__ = ["StreamStats"]

BUCKETS_PER_OCTAVE: Final = 8
"""Resolution of the times between events: a quantile is within ±4.5 %, in some 300 buckets at most."""

SIMULTANEOUS_SECONDS: Final = 50e-6
"""Reads closer to each other brought their events at one time: the network was faster than the reader."""


class StreamStats:
    """What a stream has measured so far; read it at any time, also after the end.

    Times are in seconds and count from `started`. An event's time is that of the read which completed it.

    Attributes:
        started: the moment the stream counts from, by `time.monotonic()`.
        first_event: time to the first event; None before it.
        first_token: time to the first event with a `delta`; None before it.
    """

    __slots__ = (
        "_before",
        "_decoder",
        "_gaps",
        "accumulator",
        "first_event",
        "first_token",
        "last",
        "started",
    )

    def __init__(self, decoder: Decoder, started: float) -> None:
        self.started = started
        self.first_event: float | None = None
        self.first_token: float | None = None
        self.last = started  # the moment of the last event
        self.accumulator: ResponseAccumulator | ChatAccumulator | None = None
        self._decoder = decoder
        self._before = 0  # events up to the read that brought the first token
        self._gaps: dict[int, int] = {}

    @property
    def events(self) -> int:
        """Events decoded."""
        return self._decoder.events

    @property
    def bytes(self) -> int:
        """Bytes of the event stream read, after any content decoding."""
        return self._decoder.bytes

    @property
    def terminal(self) -> str | None:
        """Type of the terminal event; None if none came, or if the stream is not accumulated."""
        return None if self.accumulator is None else self.accumulator.terminal

    @property
    def duration(self) -> float | None:
        """Time to the last event so far; None before the first."""
        return None if self.first_event is None else self.last - self.started

    def begin(self, batch: Sequence[Event], now: float) -> bool:
        """Note a batch, at least one event, that a read at `now` completed; whether a token has come."""
        self.last = now
        if self.first_event is None:
            self.first_event = now - self.started
        if self.first_token is None:
            if not any(event.delta for event in batch):
                return False
            self.first_token = now - self.started
        self._before = self.events
        return True

    def wait(self, seconds: float) -> None:
        """Note that an event after the first token came so long after the one before it.

        For waits above `SIMULTANEOUS_SECONDS`; the other events are those that waited for nothing.
        """
        bucket = round(log2(seconds) * BUCKETS_PER_OCTAVE)
        self._gaps[bucket] = self._gaps.get(bucket, 0) + 1

    def inter_token(self, quantile: float) -> float | None:
        """A quantile of the times between successive events after the first token; None before the second.

        Events of one read are simultaneous: the time between them is 0. `quantile` lies between 0 and 1: 0.5
        for the median, 0.99 for p99.
        """
        if self.first_token is None or self.events == self._before:
            return None
        total = self.events - self._before
        rank = quantile * total - (total - sum(self._gaps.values()))
        seconds = 0.0
        for bucket in sorted(self._gaps):
            if rank <= 0:
                break
            rank -= self._gaps[bucket]
            seconds = exp2(bucket / BUCKETS_PER_OCTAVE)
        return seconds

    def as_dict(self) -> dict[str, Any]:
        """The figures under their names, with ``inter_token_p50`` and ``inter_token_p99``."""
        names = ("events", "bytes", "first_event", "first_token", "duration", "terminal")
        figures: dict[str, Any] = {name: getattr(self, name) for name in names}
        figures["inter_token_p50"] = self.inter_token(0.5)
        figures["inter_token_p99"] = self.inter_token(0.99)
        return figures

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"StreamStats({figures})"
