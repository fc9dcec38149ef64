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
    """Every stream as Responses bytes, which go as they come, as a gateway sends them.

    What they say is read once, outside the clock; that each pass writes as much is seen by their length.
    """
    said: list[tuple[int, str]] = []
    for stream in streams:
        transcoder = Transcoder("chat", "responses", id="resp_1")
        written = b"".join([*map(transcoder.feed, stream.chunks), transcoder.finish()])
        accumulator = ResponseAccumulator()
        accumulator.feed(written)
        said.append((len(written), accumulator.output_text))

    def run() -> list[Any]:
        texts = []
        for stream, (length, text) in zip(streams, said, strict=True):
            transcoder = Transcoder("chat", "responses", id="resp_1")
            written = sum(map(len, map(transcoder.feed, stream.chunks))) + len(transcoder.finish())
            texts.append(text if written == length else None)
        return texts

    return run


PENSTOCK = Contender("penstock", "penstock", transcode)


@pytest.mark.parametrize("who", [PENSTOCK, *peers.TRANSCODERS], ids=str)
def test_chat_to_responses(race: Race, source: Source, who: Contender) -> None:
    race(rows.TRANSCODE, source, "chat", PENSTOCK, who)
