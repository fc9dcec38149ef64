"""Bytes to the final object."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benches import peers, rows
from benches.peers import Contender, Pass, Streams
from benches.streams import SOURCES, Source
from penstock import ChatAccumulator, IncompleteStream, ResponseAccumulator

pytestmark = [
    pytest.mark.benchmark(timer=process_time),
    pytest.mark.parametrize("source", SOURCES),
]

Race = Callable[..., None]


def accumulate(kind: type[ResponseAccumulator | ChatAccumulator]) -> Callable[[Streams], Pass]:
    def prepare(streams: Streams) -> Pass:
        def run() -> list[Any]:
            finals = []
            for stream in streams:
                accumulator = kind()
                for chunk in stream.chunks:
                    accumulator.feed(chunk)
                accumulator.finish()
                try:
                    final = accumulator.final()
                except IncompleteStream as error:  # some recordings are cut
                    final = error.partial or {}
                finals.append((final.get("id"), accumulator.output_text))
            return finals

        return run

    return prepare


RESPONSE = Contender("penstock", "penstock", accumulate(ResponseAccumulator))
COMPLETION = Contender("penstock", "penstock", accumulate(ChatAccumulator))


@pytest.mark.parametrize("who", [RESPONSE, *peers.RESPONSES], ids=str)
def test_response(race: Race, source: Source, who: Contender) -> None:
    race(rows.RESPONSE, source, "responses", RESPONSE, who)


@pytest.mark.parametrize("who", [COMPLETION, *peers.COMPLETIONS], ids=str)
def test_chat_completion(race: Race, source: Source, who: Contender) -> None:
    race(rows.CHAT, source, "chat", COMPLETION, who)
