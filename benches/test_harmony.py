"""What gpt-oss generates, token by token, to the bytes of a Responses stream."""

from __future__ import annotations

from time import process_time

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import Contender, Pass, Streams
from benches.rows import PYDANTIC_EVENT, STREAMABLE_PARSER
from penstock import HarmonyParser

pytestmark = pytest.mark.benchmark(timer=process_time)

WORDS = ["The", " answer", " is", ' "forty', '-two"', ".\n", " größer", " als"]
ARGUMENTS = ['{"', "city", '":"', "Tok", "yo", '","', 'n":', "1}"]
TOKENS = [
    *("<|channel|>", "analysis", "<|message|>", *WORDS * 100, "<|end|>", "<|start|>", "assistant"),
    *("<|channel|>", "comment", "ary", " to", "=functions", ".get", "_weather", " ", "<|constrain|>", "json"),
    *("<|message|>", *ARGUMENTS * 20, "<|call|>", "<|start|>", "assistant", "<|channel|>", "final"),
    *("<|message|>", *WORDS * 125, "<|return|>"),
]
"""An answer, each token a piece, as an engine hands them out."""


def parser(_: Streams) -> Pass:
    def run() -> int:
        written = HarmonyParser(model="m", id="resp_1", created_at=0)
        feed = written.feed
        for token in TOKENS:
            feed(token)
        written.finish("stop")
        return len((written.final() or {})["output"])

    return run


def pydantic_events(_: Streams) -> Pass:
    """An event for each token, without a look at what the token is: less than a parser has to do."""
    from openai.types.responses import ResponseTextDeltaEvent as Event  # noqa: PLC0415 - only it needs the peer

    def run() -> int:
        for number, token in enumerate(TOKENS):
            write(Event, number, token)
        return 3

    return run


def streamable_parser(_: Streams) -> Pass:
    """The package's own parser, which tells the text of each token, and an event for that."""
    import openai_harmony  # noqa: PLC0415 - only this contender needs it
    from openai.types.responses import ResponseTextDeltaEvent as Event  # noqa: PLC0415

    encoding = openai_harmony.load_harmony_encoding("HarmonyGptOss")
    tokens = [token for piece in TOKENS for token in encoding.encode(piece, allowed_special="all")]

    def run() -> int:
        reader = openai_harmony.StreamableParser(encoding, openai_harmony.Role.ASSISTANT)
        for number, token in enumerate(tokens):
            reader.process(token)
            if text := reader.last_content_delta:
                write(Event, number, text)
        return len(reader.messages)

    return run


def write(event: type, number: int, text: str) -> bytes:
    made = event(
        type="response.output_text.delta",
        item_id="msg_1",
        output_index=0,
        content_index=0,
        delta=text,
        logprobs=[],
        sequence_number=number,
    )
    return f"event: {made.type}\ndata: {made.model_dump_json()}\n\n".encode()


OURS = Contender("penstock", "penstock", parser)
PEERS = [
    Contender(PYDANTIC_EVENT, "openai", pydantic_events),
    Contender(STREAMABLE_PARSER, "openai-harmony", streamable_parser),
]


@pytest.mark.parametrize("who", [OURS, *PEERS], ids=str)
def test_harmony(measure: Measure, who: Contender) -> None:
    if not who.installed:
        pytest.skip(f"{who.distribution} is not installed")
    try:
        run = who.prepare([])
    except Exception as error:  # of a class of its own, in a package that may be missing
        pytest.skip(f"its vocabulary cannot be loaded: {error}")
    reference = None if who is OURS else OURS.prepare([])
    result = measure(
        rows.HARMONY, "generated", who.name, who.version, run, reference=reference, per=len(TOKENS)
    )
    assert result == 3
