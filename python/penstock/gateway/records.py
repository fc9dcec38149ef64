"""What the gateway knows of its streams: one record each, and the figures that they add up to.

No record holds a word of a prompt or an answer, a key or a header. Counting a chunk costs some list and
integer operations; the figures are put into words only when somebody asks.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from penstock._penstock import Decoder, Relay

from .routing import Api

__all__ = ["Histogram", "Ledger", "Record", "Tally", "ending", "state"]

KEPT: Final = 200
"""Ended streams that the live page can still show."""

SHOWN: Final = 50
"""Of those the page lists so many."""

MAX_TIMELINE: Final = 240
"""Points of one stream's timeline; a longer stream's are thinned by half, again and again."""

MAX_MODELS: Final = 1_000
"""Models that are counted apart: behind a wildcard clients invent names."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SAMPLE: Final = 8
"""Of so many reads behind the first text one is measured, for all of them."""

MICROS: Final = tuple(
    micros / 1e6 for micros in (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000)
)


class Histogram:
    """Counts by upper bound, as Prometheus has them; an observation is a bisection and two additions."""

    __slots__ = ("bounds", "count", "counts", "help", "name", "total")

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self.name, self.help, self.bounds = name, text, bounds
        self.counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.count += times
        self.total += value * times

    def quantile(self, share: float) -> float | None:
        """The bound below which that share of the values lies; None above the last, or without values."""
        reached = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            reached += count
            if self.count and reached >= share * self.count:
                return bound
        return None


@dataclass(slots=True)
class Record:
    """One stream as it stands. Times are seconds from its request's arrival; `began` is the time of day."""

    number: int
    request_id: str
    tenant: str
    model: str
    api: Api
    transport: str = "http"
    upstream: str = ""
    bridge: bool = False
    attempts: int = 0
    response_id: str | None = None
    traceparent: str | None = None
    began: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    """To the first event with text."""
    last: float = 0.0
    events: int = 0
    bytes: int = 0
    usage: dict[str, Any] | None = None
    terminal: str | None = None
    status: int = 0
    duration: float | None = None
    waited: float = 0.0
    """Seconds for which upstreams were waited for, up to the first byte."""
    overhead: float = 0.0
    """Seconds that bytes spent in the gateway, summed over chunks."""
    timeline: list[tuple[float, int]] = field(default_factory=list)
    _stride: int = 1
    _skipped: int = 0

    def note(self, events: int, size: int) -> None:
        """Count what went out at this moment; `events` is how many there have been so far."""
        self.last = time.monotonic() - self.started
        self.events = events
        self.bytes += size
        self._skipped += 1
        if self._skipped >= self._stride:
            self._skipped = 0
            self.timeline.append((self.last, events))
            if len(self.timeline) > MAX_TIMELINE:
                del self.timeline[1::2]
                self._stride *= 2

    def summary(self) -> dict[str, Any]:
        """What the live page and the log say of it."""
        kept = (
            "number", "request_id", "tenant", "model", "api", "transport", "upstream", "bridge", "attempts",
            "response_id", "began", "first", "events", "bytes", "terminal", "status", "duration",
        )  # fmt: skip
        shown = {name: getattr(self, name) for name in kept}
        shown["usage"] = _counts(self.usage)
        shown["overhead_us"] = round(self.overhead * 1e6 / self.events, 1) if self.events else None
        return shown


def _counts(usage: dict[str, Any] | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {key: value for key, value in usage.items() if isinstance(value, int)}


def ending(terminal: str | None) -> str:
    """How a stream ended, in one word for both APIs; one without a terminal has failed."""
    words = {"finish_reason": "completed", "[DONE]": "completed", "error": "failed", None: "failed"}
    return words.get(terminal) or str(terminal).removeprefix("response.")


class Ledger:
    """All records and all figures of one process.

    Args:
        own, workers: this process's place among how many, so that no two give a number twice.
    """

    def __init__(self, own: int = 0, workers: int = 1) -> None:
        self.active: dict[int, Record] = {}
        self.ended: deque[Record] = deque(maxlen=KEPT)
        self.terminals: Counter[tuple[str, str]] = Counter()
        """By reason and API."""
        self.requests: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.retries: Counter[str] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        """By model and kind, `input` or `output`."""
        self.events = 0
        self.bytes = 0
        self.first_token = Histogram(
            "penstock_time_to_first_token_seconds", "From a request's arrival to its first text.", SECONDS
        )
        self.inter_token = Histogram(
            "penstock_inter_token_latency_seconds", "Between successive events of a stream.", SECONDS
        )
        self.durations = Histogram("penstock_stream_duration_seconds", "From request to terminal.", SECONDS)
        self.overhead = Histogram(
            "penstock_overhead_seconds", "From the arrival of an upstream's bytes to their sending.", MICROS
        )
        self._numbers = own
        self._step = workers

    def open(
        self,
        request_id: str,
        tenant: str,
        model: str,
        api: Api,
        *,
        transport: str = "http",
        parent: bytes = b"",
    ) -> Record:
        """Begin a stream's record; `parent` is the client's `traceparent`."""
        self._numbers += self._step
        record = Record(self._numbers, request_id, tenant, model, api, transport)
        record.traceparent = parent.decode("latin-1") or None
        self.active[record.number] = record
        return record

    def chunk(self, record: Record, events: int, size: int, arrived: float, reads: int = 1) -> None:
        """Count what was sent since the last call, in so many reads, the last of which arrived at `arrived`.

        That one's way through the gateway stands for all of them.
        """
        before, since = record.events, record.last
        record.note(events, size)
        spent = record.started + record.last - arrived
        record.overhead += spent * reads
        fresh = events - before
        self.events += fresh
        self.bytes += size
        self.overhead.observe(spent, reads)
        if before and fresh > 0:
            self.inter_token.observe((record.last - since) / fresh, fresh)

    def rest(self, record: Record, events: int, size: int) -> None:
        """Count the end of a stream, which waits for more than the gateway's work."""
        self.events += events - record.events
        self.bytes += size
        record.note(events, size)

    def token(self, record: Record) -> None:
        """The first text has come."""
        record.first = time.monotonic() - record.started
        self.first_token.observe(record.first)

    def close(self, record: Record, terminal: str) -> None:
        """End a record, once; later calls change nothing."""
        if self.active.pop(record.number, None) is None:
            return
        record.terminal = terminal
        record.duration = time.monotonic() - record.started
        self.durations.observe(record.duration)
        self.terminals[terminal, record.api] += 1
        for kind, names in (
            ("input", ("input_tokens", "prompt_tokens")),
            ("output", ("output_tokens", "completion_tokens")),
        ):
            found = next(
                (value for name in names if isinstance(value := (record.usage or {}).get(name), int)), 0
            )
            if found and ((record.model, kind) in self.tokens or len(self.tokens) < MAX_MODELS):
                self.tokens[record.model, kind] += found
        self.ended.append(record)

    def find(self, number: int) -> Record | None:
        """A record by its number, running or lately ended."""
        return self.active.get(number) or next((one for one in self.ended if one.number == number), None)

    def figures(self) -> dict[str, Any]:
        """What the live page shows of this process, in a form that can be summed."""
        terminals: Counter[str] = Counter()
        for (reason, _), count in self.terminals.items():
            terminals[reason] += count
        return {
            "active": [record.summary() for record in self.active.values()][-KEPT:],
            "active_streams": len(self.active),
            "ended": [record.summary() for record in list(self.ended)[-SHOWN:]],
            "events": self.events,
            "bytes": self.bytes,
            "output_tokens": sum(count for (_, kind), count in self.tokens.items() if kind == "output"),
            "terminals": terminals,
            "first_token": self.first_token.counts,
            "overhead": self.overhead.counts,
        }


class Tally:
    """Counts what passes of one stream, at a cost that does not grow with what is known of it.

    Up to the first text each read is put on record, from then on one of `SAMPLE`.
    """

    __slots__ = ("_ledger", "_probe", "_reads", "_record", "_relay", "_size")

    def __init__(self, ledger: Ledger, record: Record, relay: Relay) -> None:
        self._ledger = ledger
        self._record = record
        self._relay = relay
        self._probe: Decoder | None = Decoder()
        self._size = self._reads = 0

    @property
    def has_text(self) -> bool:
        """Whether the first text has passed."""
        return self._probe is None

    def add(self, out: bytes, arrived: float) -> None:
        """What one read brought has been sent; it had come at `arrived`."""
        if self._probe is not None and any(delta for (delta,) in self._probe.feed(out, fields=("delta",))):
            self._ledger.token(self._record)
            self._probe = None
        self._size += len(out)
        self._reads += 1
        if self._reads >= SAMPLE or self._probe is not None:
            self._ledger.chunk(self._record, self._relay.events, self._size, arrived, self._reads)
            self._size = self._reads = 0

    def close(self, rest: int) -> None:
        """The stream's last `rest` bytes have been made."""
        self._ledger.rest(self._record, self._relay.events, self._size + rest)


def state(workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The live page's view of it all, from each worker's figures."""
    terminals: Counter[str] = Counter()
    for figures in workers:
        terminals.update(figures["terminals"])
    active = sorted((row for figures in workers for row in figures["active"]), key=itemgetter("began"))
    ended = sorted((row for figures in workers for row in figures["ended"]), key=_ended_at)
    summed = {
        name: sum(figures[name] for figures in workers)
        for name in ("active_streams", "events", "bytes", "output_tokens")
    }
    return {
        **summed,
        "time": time.time(),
        "active": active[-KEPT:],
        "ended": ended[-SHOWN:][::-1],
        "terminals": dict(terminals.most_common()),
        "first_token": _quantiles(SECONDS, [figures["first_token"] for figures in workers]),
        "overhead": _quantiles(MICROS, [figures["overhead"] for figures in workers]),
    }


def _ended_at(row: Mapping[str, Any]) -> float:
    return float(row["began"] + row["duration"])


def _quantiles(bounds: tuple[float, ...], counts: Sequence[Sequence[int]]) -> dict[str, float | None]:
    histogram = Histogram("", "", bounds)
    histogram.counts = [sum(column) for column in zip(*counts, strict=True)]
    histogram.count = sum(histogram.counts)
    return {name: histogram.quantile(share) for name, share in (("p50", 0.5), ("p99", 0.99))}
