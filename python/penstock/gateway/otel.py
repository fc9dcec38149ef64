"""OpenTelemetry: one span and a few measurements a stream, by the names of the GenAI conventions.

They go to whatever SDK the process has set up (`opentelemetry-instrument`, `OTEL_*`); without one they go
nowhere. A client's `traceparent` makes the span a child of its own, and is passed on upstream. Nothing that
was said is told.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .records import Record

__all__ = ["Telemetry"]


class Telemetry:
    """Tells of streams that are over.

    Args:
        tracers, meters: providers; by default the process's own.
    """

    def __init__(
        self, *, tracers: trace.TracerProvider | None = None, meters: metrics.MeterProvider | None = None
    ) -> None:
        self._tracer = (tracers or trace.get_tracer_provider()).get_tracer("penstock.gateway")
        meter = (meters or metrics.get_meter_provider()).get_meter("penstock.gateway")
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration", "s", "From a request's arrival to its last byte."
        )
        self._first = meter.create_histogram(
            "gen_ai.server.time_to_first_token", "s", "From a request's arrival to its first text."
        )
        self._per_token = meter.create_histogram(
            "gen_ai.server.time_per_output_token", "s", "Between events after the first text."
        )
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of a request.")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, record: Record) -> None:
        """Tell of one stream."""
        usage = record.usage or {}
        spent = {
            "input": usage.get("input_tokens", usage.get("prompt_tokens")),
            "output": usage.get("output_tokens", usage.get("completion_tokens")),
        }
        common: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": record.upstream or "none",
            "gen_ai.request.model": record.model,
        }
        failed = record.terminal not in ("completed", "incomplete")
        if failed:
            common["error.type"] = record.terminal or "unknown"
        self._span(record, common, spent, failed=failed)
        duration = record.duration or 0.0
        self._duration.record(duration, common)
        if record.first is not None:
            self._first.record(record.first, common)
            if record.events > 1:
                self._per_token.record((duration - record.first) / (record.events - 1), common)
        for kind, count in spent.items():
            if isinstance(count, int):
                self._tokens.record(count, {**common, "gen_ai.token.type": kind})

    def _span(self, record: Record, common: dict[str, Any], spent: dict[str, Any], *, failed: bool) -> None:
        began = int(record.began * 1e9)
        parent = self._propagator.extract({"traceparent": record.traceparent}) if record.traceparent else None
        span = self._tracer.start_span(
            f"chat {record.model}", context=parent, kind=SpanKind.SERVER, start_time=began, attributes=common
        )
        facts = {
            "gen_ai.response.id": record.response_id,
            "gen_ai.usage.input_tokens": spent["input"],
            "gen_ai.usage.output_tokens": spent["output"],
            "penstock.api": record.api,
            "penstock.bridge": record.bridge,
            "penstock.events": record.events,
            "penstock.terminal": record.terminal,
        }
        span.set_attributes({name: value for name, value in facts.items() if value is not None})
        if failed:
            span.set_status(StatusCode.ERROR, record.terminal)
        if record.first is not None:
            span.add_event("first token", timestamp=began + int(record.first * 1e9))
        span.end(began + int((record.duration or 0.0) * 1e9))
