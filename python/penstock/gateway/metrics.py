"""The ledger in Prometheus' text format; what `/metrics` answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .records import Histogram, Ledger
from .routing import Upstream

__all__ = ["exposition"]

Labels = dict[str, object]


def exposition(ledger: Ledger, upstreams: Sequence[Upstream]) -> bytes:
    """Every figure with its help and type, in text format 0.0.4."""
    lines = [
        *_family("penstock_active_streams", "gauge", "Streams that run.", [({}, len(ledger.active))]),
        *_family(
            "penstock_stream_terminal_total", "counter", "Streams by how they ended.",
            _labelled(ledger.terminals, "reason", "api"),
        ),
        *_family(
            "penstock_requests_total", "counter", "Requests by route and status.",
            _labelled(ledger.requests, "route", "status"),
        ),
        *_family(
            "penstock_retries_total", "counter", "Requests sent again, by the upstream that had failed.",
            [({"upstream": name}, count) for name, count in sorted(ledger.retries.items())],
        ),
        *_family(
            "penstock_tokens_total", "counter", "Tokens as upstreams counted them.",
            _labelled(ledger.tokens, "model", "type"),
        ),
        *_family("penstock_events_total", "counter", "Events forwarded.", [({}, ledger.events)]),
        *_family("penstock_bytes_total", "counter", "Bytes of streams forwarded.", [({}, ledger.bytes)]),
        *_family(
            "penstock_buffered_bytes", "gauge", "Bytes of upstreams that wait until their clients read.",
            [({}, sum(upstream.endpoint.waiting for upstream in upstreams))],
        ),
        *_family(
            "penstock_upstream_streams", "gauge", "Requests that an upstream works on.",
            [({"upstream": upstream.name}, upstream.active) for upstream in upstreams],
        ),
    ]  # fmt: skip
    for histogram in (ledger.first_token, ledger.inter_token, ledger.durations, ledger.overhead):
        lines += _histogram(histogram)
    return "".join(f"{line}\n" for line in lines).encode()


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value}"


def _labelled(counts: Mapping[tuple[Any, Any], int], *names: str) -> list[tuple[Labels, float]]:
    return [(dict(zip(names, values, strict=True)), count) for values, count in sorted(counts.items())]


def _histogram(histogram: Histogram) -> Iterator[str]:
    yield f"# HELP {histogram.name} {histogram.help}"
    yield f"# TYPE {histogram.name} histogram"
    reached = 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        reached += count
        yield f'{histogram.name}_bucket{{le="{bound:g}"}} {reached}'
    yield f'{histogram.name}_bucket{{le="+Inf"}} {histogram.count}'
    yield f"{histogram.name}_sum {histogram.total:.9g}"
    yield f"{histogram.name}_count {histogram.count}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
