"""What `make bench-gateway` measures with: that it counts right is checked here, not how fast things are."""

from __future__ import annotations

import os
import shutil

import pytest

from benches.gateway.contenders import CONTENDERS
from benches.gateway.measure import GATEWAY_CORE, cancellation, cpu, first_token, running
from benches.gateway.traces import CHAT, RESPONSES, STAMP, TRACES
from penstock import ChatAccumulator, ResponseAccumulator

pytestmark = pytest.mark.skipif(
    shutil.which("taskset") is None or GATEWAY_CORE not in os.sched_getaffinity(0),
    reason="a core of its own for the gateway is wanted",
)


@pytest.mark.parametrize("contender", [one for one in CONTENDERS if one.package == "penstock"], ids=str)
def test_the_gateway_is_measured(contender) -> None:
    with running(contender, deltas=20) as gateway:
        row = cpu(gateway, 5)
        assert row["complete"]
        assert (row["events"], row["terminals"]) == (100, 5)
        assert first_token(gateway, 3)["through_ms_p50"] > 0
        assert cancellation(gateway, 2)["never_within_1s"] == 0


@pytest.mark.parametrize("name", TRACES)
def test_the_traces_are_whole(name: str) -> None:
    trace = TRACES[name]
    stream = trace.opening + trace.delta(7) + trace.delta(8) + trace.closing
    accumulator = ResponseAccumulator() if trace is RESPONSES else ChatAccumulator()
    accumulator.feed(stream)
    assert accumulator.final()["usage"]["total_tokens"] == 110
    assert [int(stamp) for stamp in STAMP.findall(stream)] == [7, 8]
    assert len(trace.terminal.findall(stream)) == 1
    assert CHAT.whole.startswith(b"{")
