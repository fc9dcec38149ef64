"""A whole response to the event-stream bytes of its stream, for models that cannot stream."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import Contender, Pass, Streams
from benches.rows import PYDANTIC_SLICES
from penstock import synthesize

pytestmark = pytest.mark.benchmark(timer=process_time)

TEXT = "The water runs down a pipe and drives wheels: größer, 水, 🌊. " * 80
SLICE = 5
DELTAS = -(-len(TEXT) // SLICE)

PART: dict[str, Any] = {"type": "output_text", "text": TEXT, "annotations": []}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [PART],
}
WHOLE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "completed",
    "model": "generated-1",
    "output": [MESSAGE],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def synthesized(_: Streams) -> Pass:
    def run() -> int:
        frames = list(synthesize(WHOLE, slice=SLICE, format="sse"))
        return (
            len(frames) - 8
        )  # two begin the response, two each the message and its part; the rest ends them

    return run


def pydantic_slices(_: Streams) -> Pass:
    """As LiteLLM's mock iterator did: a model for each slice, then the whole response."""
    from openai.types.responses import (  # noqa: PLC0415 - only it needs the peer
        Response,
        ResponseCompletedEvent,
        ResponseTextDeltaEvent,
    )

    def run() -> int:
        events: list[Any] = [
            ResponseTextDeltaEvent(
                type="response.output_text.delta",
                item_id="resp_1",
                output_index=0,
                content_index=0,
                delta=TEXT[at : at + SLICE],
                logprobs=[],
                sequence_number=at // SLICE,
            )
            for at in range(0, len(TEXT), SLICE)
        ]
        response = Response.model_validate(WHOLE)
        completed = ResponseCompletedEvent(
            type="response.completed", response=response, sequence_number=len(events)
        )
        frames = [
            f"event: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()
            for event in (*events, completed)
        ]
        return len(frames) - 1

    return run


OURS = Contender("penstock", "penstock", synthesized)
PYDANTIC = Contender(PYDANTIC_SLICES, "openai", pydantic_slices)


@pytest.mark.parametrize("who", [OURS, PYDANTIC], ids=str)
def test_synthesize(measure: Measure, who: Contender) -> None:
    if not who.installed:
        pytest.skip(f"{who.distribution} is not installed")
    reference = None if who is OURS else OURS.prepare([])
    run = who.prepare([])
    result = measure(
        rows.SYNTHESIZE, "generated", who.name, who.version, run, reference=reference, per=DELTAS
    )
    assert result == DELTAS
