"""What a model says to event-stream bytes, and a stream to what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import Contender, Pass, Streams
from benches.rows import PYDANTIC_EVENT
from benches.streams import SOURCES, Source
from penstock import Limits, ResponseEmitter, lint

pytestmark = pytest.mark.benchmark(timer=process_time)

TOKENS = ["The", " answer", " is", ' "forty', '-two"', ".\n", " größer", " als"] * 250
"""The deltas of one pass, one read of the output for each, as a server that sends them at once does."""


def emitter(_: Streams) -> Pass:
    def run() -> int:
        written = ResponseEmitter(model="m", id="resp_1", created_at=0, limits=Limits(max_message_bytes=None))
        written.start()
        message = written.open_item("message", id="msg_1")
        written.take()
        text, take = written.text, written.take
        for token in TOKENS:
            text(message, token)
            take()
        return written.sequence_number - 4  # created, in_progress, and two for the message and its part

    return run


def pydantic_events(_: Streams) -> Pass:
    from openai.types.responses import ResponseTextDeltaEvent as Event  # noqa: PLC0415 - only it needs the peer

    def run() -> int:
        number = 0
        for token in TOKENS:
            event = Event(
                type="response.output_text.delta",
                item_id="msg_1",
                output_index=0,
                content_index=0,
                delta=token,
                logprobs=[],
                sequence_number=number,
            )
            f"event: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()
            number += 1
        return number

    return run


OURS = Contender("penstock", "penstock", emitter)
PYDANTIC = Contender(PYDANTIC_EVENT, "openai", pydantic_events)


@pytest.mark.parametrize("who", [OURS, PYDANTIC], ids=str)
def test_text_delta(measure: Measure, who: Contender) -> None:
    if not who.installed:
        pytest.skip(f"{who.distribution} is not installed")
    reference = None if who is OURS else OURS.prepare([])
    run = who.prepare([])
    result = measure(rows.EMIT, "generated", who.name, who.version, run, reference=reference, per=len(TOKENS))
    assert result == len(TOKENS)


def linted(streams: Streams) -> Pass:
    def run() -> list[Any]:
        return [lint(stream.chunks) for stream in streams]

    return run


LINTER = Contender("penstock", "penstock", linted)


@pytest.mark.parametrize("source", SOURCES)
def test_lint(race: Callable[..., None], source: Source) -> None:
    race(rows.LINT, source, "responses", LINTER, LINTER)
