"""What the gateway tells OpenTelemetry: spans and measurements by the GenAI names, no words."""

from __future__ import annotations

from gateways import serving, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from test_gateway import body

from penstock.gateway import read
from penstock.gateway.otel import Telemetry
from penstock.replay import ReplayServer

PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def test_spans_and_measurements() -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = Telemetry(tracers=tracers, meters=meters)
    with ReplayServer() as upstream:
        config = read(settings(upstream), {})
        with serving(config, upstream, telemetry=telemetry) as gateway, gateway.client() as client:
            headers = {"traceparent": PARENT}
            client.post("/responses", json=body("chat-text", input="canary", stream=True), headers=headers)
            client.post("/responses", json=body("replay-text+cut@9", input="canary", stream=True))
            assert gateway.settled()
            assert gateway.upstream.seen[0].headers["traceparent"] == PARENT
    good, cut = spans.get_finished_spans()
    assert good.name == "chat chat-text"
    assert good.parent is not None
    assert f"{good.context.trace_id:032x}-{good.parent.span_id:016x}" == PARENT[3:52]
    told = dict(good.attributes or {})
    assert told["gen_ai.provider.name"] == "chat"
    assert told["gen_ai.usage.output_tokens"] == 199
    assert told["penstock.bridge"] is True
    assert [event.name for event in good.events] == ["first token"]
    assert cut.status.status_code is StatusCode.ERROR
    assert dict(cut.attributes or {})["error.type"] == "failed"
    data = reader.get_metrics_data()
    assert data is not None
    names = {
        metric.name
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert names == {
        "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token", "gen_ai.client.token.usage",
    }  # fmt: skip
    assert "canary" not in "".join(span.to_json() for span in (good, cut)) + data.to_json()
    tracers.shutdown()
    meters.shutdown()
