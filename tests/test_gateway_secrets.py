"""Canaries in keys, headers, prompts and answers: in no log, no trace, no figure and no `repr`."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import traceback
from contextlib import suppress
from typing import Any

import httpx
import pytest
from gateways import Running, serving, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from penstock.gateway import ConfigError, read
from penstock.gateway.otel import Telemetry
from penstock.replay import ReplayServer

CANARY = "c4n4ry5eed"
KEY = f"sk-{CANARY}-of-a-client"
FAULTS = (
    "", "status=500", "status=401", "status=404", "status=429", "html", "json-error", "cut@5", "reset@5",
    "close@0", "stall@0", "stall@5", "error-event@5", "malformed@5", "bad-utf8@5", "wrong-dialect",
    "big-event=200000",
)  # fmt: skip
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


def config(upstream: ReplayServer) -> dict[str, Any]:
    sections = settings(
        upstream,
        keys=[{"name": "team", "key": KEY}],
        ids={"keys": {"k": f"{CANARY}-seals-response-ids-since-today"}},
        limits={"idle": 0.3, "first_event": 0.3},
        retry={"attempts": 1},
        hooks=[{"use": "gateway_hooks:Broken"}],
        prices={"*": {"input": 1, "output": 1}},
    )
    for replica in sections["upstreams"]:
        replica |= {"key": f"sk-{CANARY}-upstream", "headers": {"x-own": CANARY}}
    sections["upstreams"] += [
        {"name": "kept", "url": upstream.base_url, "models": ["kept-*=replay-*"], "key": f"sk-{CANARY}-kept"},
        {"name": "gone", "url": "http://127.0.0.1:9/v1", "models": ["gone"]},
    ]
    sections["store"] = {"url": f"redis://user:{CANARY}@127.0.0.1:6379/0"}
    return sections


def provoke_http(gateway: Running) -> None:
    """Everything that can go wrong, with canaries wherever a client can put one."""
    headers = {"authorization": f"Bearer {KEY}", "x-secret": CANARY, "cookie": CANARY}
    with httpx.Client(base_url=gateway.base_url, headers=headers, trust_env=False, timeout=30) as client:
        said = {"input": CANARY, "instructions": CANARY, "user": CANARY}
        for fault in FAULTS:
            for model in ("replay-echo", "chat-echo", "kept-echo"):
                for stream in (True, False):
                    metadata = {"note": CANARY, "penstock_fault": fault}
                    asked = {"model": model, **said, "stream": stream, "metadata": metadata}
                    client.post(f"/responses?{CANARY}={CANARY}", json=asked)
        for wrong in (KEY[:-1], CANARY):
            client.get("/models", headers={"authorization": f"Bearer {wrong}"})
        for content in (
            CANARY,
            f'{{"{CANARY}": ',
            json.dumps({"model": "none", "user": CANARY}),
            json.dumps([CANARY]),
        ):
            client.post("/responses", content=content.encode())
        for members in (
            {"model": "gone"}, {"model": "chat-text", "tools": [{"type": CANARY}]},
            {"model": "none", "stream": CANARY},
            {"model": "replay-text", "previous_response_id": CANARY},
            {"model": "replay-text", "input": [{"type": CANARY, CANARY: CANARY}]},
        ):  # fmt: skip
            client.post("/responses", json={**said, **members})
        for path in (f"/responses/{CANARY}", f"/responses/{CANARY}/{CANARY}", f"/{CANARY}"):
            for method in ("GET", "POST", "DELETE", "PUT"):
                client.request(method, path)


async def provoke_websocket(gateway: Running) -> None:
    url = gateway.base_url.replace("http", "ws", 1) + "/responses"
    headers = {"authorization": f"Bearer {KEY}", "x-secret": CANARY}
    async with connect(url, additional_headers=headers, proxy=None) as client:
        for fault in FAULTS:
            for model in ("replay-echo", "chat-echo", "none"):
                metadata = {"note": CANARY, "penstock_fault": fault}
                asked = {"type": "response.create", "model": model, "input": CANARY, "user": CANARY}
                await client.send(json.dumps({**asked, "metadata": metadata}))
                async with asyncio.timeout(20):
                    while json.loads(await client.recv())["type"] not in ENDS:
                        pass
        for message in (
            CANARY,
            f'{{"type": "none", "x": "{CANARY}"}}',
            json.dumps({"type": "response.create", "model": 1}),
        ):
            await client.send(message)
            await client.recv()
        await client.send(CANARY.encode())
        with suppress(ConnectionClosed):
            await client.recv()


def told_by(gateway: Running) -> tuple[str, str]:
    """Its figures, and what its page shows."""
    with httpx.Client(base_url=gateway.url, headers={"api-key": KEY}, trust_env=False) as client:
        return client.get("/metrics").text, client.get("/ui/state").text


def written(records: list[logging.LogRecord]) -> str:
    """All that any formatter could make of log records, tracebacks and what was logged with them."""
    lines = []
    for record in records:
        lines += [record.getMessage(), repr(record.args), repr(getattr(record, "facts", None))]
        if record.exc_info and record.exc_info[1] is not None:
            lines += traceback.format_exception(record.exc_info[1])
    return "\n".join(lines)


def shown() -> list[str]:
    """How every living object of penstock's shows itself; those of the replay upstream aside."""
    reprs = []
    for thing in gc.get_objects():
        kind = type(thing)
        module = getattr(kind, "__module__", None)
        if isinstance(module, str) and module.startswith("penstock") and "replay" not in module:
            reprs.append(f"{module}.{kind.__name__}: {thing!r}")
    return reprs


async def test_no_secret_in_logs_traces_figures_and_reprs(caplog: pytest.LogCaptureFixture) -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    caplog.set_level(logging.DEBUG, "penstock")
    seen: list[str] = []
    logging.getLogger("penstock.gateway").propagate = True
    with ReplayServer() as upstream:
        made = read({**config(upstream), "store": {}}, {})
        telemetry = Telemetry(tracers=tracers, meters=meters)
        with serving(made, upstream, telemetry=telemetry) as gateway:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(provoke_http, gateway))
                for _ in range(20):  # while requests of all kinds are under way
                    await asyncio.sleep(0.05)
                    seen += shown()
            await provoke_websocket(gateway)
            assert await asyncio.to_thread(gateway.settled)
            figures, page = await asyncio.to_thread(told_by, gateway)
            seen += shown()
    measured = reader.get_metrics_data()
    assert measured is not None
    traces = "".join(span.to_json() for span in spans.get_finished_spans())
    assert len(caplog.records) > len(FAULTS)
    assert len(seen) > 1_000
    assert traces.count('"trace_id"') > len(FAULTS)
    leaks = {text.split(":")[0] for text in seen if CANARY in text}
    assert leaks == set()
    for told in (written(caplog.records), traces, measured.to_json(), figures, page):
        assert CANARY not in told
    tracers.shutdown()
    meters.shutdown()


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": [{"name": "a", "key": f" {CANARY} "}]},
        {"keys": [{"name": "a", "key": {"v": CANARY}}]},
        {"ids": {"keys": {"k": CANARY}}},
        {"upstreams": [{"name": "a", "url": f"http://user:{CANARY}@h/v1"}]},
        {"upstreams": [{"name": "a", "url": "http://h", "key": [CANARY]}]},
        {"upstreams": [{"name": "a", "url": "http://h", "headers": {"x": [CANARY]}}]},
        {"store": {"url": [CANARY]}, "listen": {"port": CANARY}},
    ],
)
def test_no_secret_in_what_is_said_of_a_wrong_configuration(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        read({"upstreams": [{"name": "a", "url": "http://h"}], **wrong}, {})
    assert CANARY not in f"{caught.value}{caught.value!r}{traceback.format_exception(caught.value)}"
