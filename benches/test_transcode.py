"""Bytes of one dialect to bytes of the other."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benches import peers, rows
from benches.peers import Contender, Pass, Streams
from benches.streams import SOURCES, Source
from penstock import ResponseAccumulator, Transcoder

pytestmark = [
    pytest.mark.benchmark(timer=process_time),
    pytest.mark.parametrize("source", SOURCES),
]

Race = Callable[..., None]


def transcode(streams: Streams) -> Pass:
    """Every stream as Responses bytes; what they say is read once, outside the clock."""
    said: dict[int, str] = {}

    def text(written: bytes) -> str:
        accumulator = ResponseAccumulator()
        accumulator.feed(written)
        return accumulator.output_text

    def run() -> list[Any]:
        texts = []
        for number, stream in enumerate(streams):
            transcoder = Transcoder("chat", "responses", id="resp_1")
            written = [transcoder.feed(chunk) for chunk in stream.chunks]
            written.append(transcoder.finish())
            if number not in said:
                said[number] = text(b"".join(written))
            texts.append(said[number])
        return texts

    run()
    return run


PENSTOCK = Contender("penstock", "penstock", transcode)


@pytest.mark.parametrize("who", [PENSTOCK, *peers.TRANSCODERS], ids=str)
def test_chat_to_responses(race: Race, source: Source, who: Contender) -> None:
    race(rows.TRANSCODE, source, "chat", PENSTOCK, who)
