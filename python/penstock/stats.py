"""The figures of one stream: counts, times to first event and token, and the spread of the times between
events."""

from __future__ import annotations

from math import exp2, log2
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock._penstock import Event

__all__ = ["StreamStats"]

BUCKETS_PER_OCTAVE = 8
"""Resolution of the gap histogram: a quantile is within ±4.5 % of the true one, in some 300 buckets at
most."""


class StreamStats:
    """What a stream has measured so far; read it at any time, also after the end.

    Times are in seconds and count from `started`. An event's time is that of the read which completed it, so
    events that arrive in one read are simultaneous: a gap of zero between them.

    Attributes:
        started: the moment the stream counts from, by `time.monotonic()`.
        events: events decoded.
        bytes: bytes of the body read, after any content decoding.
        reads: chunks read.
        first_event: time to the first event; None before it.
        first_token: time to the first event with a `delta`; None before it.
        duration: time to the last event so far; None before the first.
        terminal: type of the terminal event; None if none came, or if the stream is not accumulated.
    """

    __slots__ = (
        "_gaps",
        "_last",
        "bytes",
        "duration",
        "events",
        "first_event",
        "first_token",
        "reads",
        "started",
        "terminal",
    )

    def __init__(self, started: float) -> None:
        self.started = started
        self.events = 0
        self.bytes = 0
        self.reads = 0
        self.first_event: float | None = None
        self.first_token: float | None = None
        self.duration: float | None = None
        self.terminal: str | None = None
        self._last = started
        self._gaps: dict[int | None, int] = {}

    def record(self, batch: Sequence[Event], now: float) -> None:
        """Count a batch of events, at least one, that one read at `now` completed."""
        count = len(batch)
        self.events += count
        self.duration = elapsed = now - self.started
        if self.first_event is None:
            self.first_event = elapsed
        if self.first_token is not None:
            self._count(now - self._last, count)
        elif any(event.delta for event in batch):
            self.first_token = elapsed
        self._last = now

    def _count(self, gap: float, count: int) -> None:
        """Count a gap, and the zero gaps of the other `count - 1` events."""
        gaps = self._gaps
        bucket = round(log2(gap) * BUCKETS_PER_OCTAVE) if gap > 0 else None
        gaps[bucket] = gaps.get(bucket, 0) + 1
        if count > 1:
            gaps[None] = gaps.get(None, 0) + count - 1

    def inter_token(self, quantile: float) -> float | None:
        """A quantile of the times between successive events, from the first token on; None before the second.

        `quantile` lies between 0 and 1: 0.5 for the median, 0.99 for p99.
        """
        rank = quantile * sum(self._gaps.values())
        for bucket in sorted(self._gaps, key=lambda bucket: -1e9 if bucket is None else bucket):
            rank -= self._gaps[bucket]
            if rank <= 0:
                return 0.0 if bucket is None else exp2(bucket / BUCKETS_PER_OCTAVE)
        return None

    def as_dict(self) -> dict[str, Any]:
        """The figures under their names, with ``inter_token_p50`` and ``inter_token_p99``."""
        names = ("events", "bytes", "reads", "first_event", "first_token", "duration", "terminal")
        figures: dict[str, Any] = {name: getattr(self, name) for name in names}
        figures["inter_token_p50"] = self.inter_token(0.5)
        figures["inter_token_p99"] = self.inter_token(0.99)
        return figures

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"StreamStats({figures})"
