"""What forwarding a frame costs the process in the middle: websockets on both sides, real sockets.

Only the forwarder's thread is timed. The peers do what LiteLLM's WebSocket forwarder does with each frame,
and nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

import pytest

from benches import rows
from benches.edges import EDGES, Client, Loop, edges_time, upstream
from benches.measure import Measure
from benches.streams import SOURCES, Source, load

FRAMES = 2_000
OURS = "penstock"


@pytest.fixture(scope="module", params=SOURCES)
def frames(request: pytest.FixtureRequest) -> tuple[Source, list[str]]:
    """Frames of whole responses, again and again."""
    streams = load(request.param, "responses")
    if not streams:
        pytest.skip("no recordings")
    payloads = [payload.decode() for stream in streams for payload in stream.payloads]
    return request.param, (payloads * (FRAMES // len(payloads) + 1))[:FRAMES]


@pytest.fixture(scope="module")
def beyond(frames: tuple[Source, list[str]]) -> Iterator[str]:
    """The upstream's address."""
    with Loop("upstream") as loop:
        yield loop.listen(upstream(frames[1]))


@pytest.mark.parametrize("who", EDGES)
@pytest.mark.benchmark(timer=edges_time)
def test_forward(measure: Measure, frames: tuple[Source, list[str]], beyond: str, who: str) -> None:
    source, sent = frames
    measure = replace(measure, clock=edges_time)
    with Loop("edge", timed=True) as edge, Loop("reference", timed=True) as beside:
        client = Client(edge.listen(EDGES[who](beyond)))
        reference = Client(beside.listen(EDGES[OURS](beyond)))
        try:
            last = measure(
                rows.FORWARD,
                source,
                who,
                version("penstock" if who == OURS else "websockets"),
                lambda: client.read(FRAMES),
                reference=None if who == OURS else lambda: reference.read(FRAMES),
                per=FRAMES,
            )
            assert last == sent[-1]
        finally:
            client.close()
            reference.close()
