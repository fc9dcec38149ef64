"""The drop-in for the openai SDK beside the SDK: the same program, the same client, another import."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from benches import peers, rows
from benches.peers import Contender
from benches.streams import SOURCES, Source

pytestmark = [
    pytest.mark.benchmark(timer=process_time),
    pytest.mark.parametrize("source", SOURCES),
]

Race = Callable[..., None]

DROP_IN = "penstock.integrations.openai"
pytest.importorskip(DROP_IN)

EVENTS = Contender("penstock", "penstock", peers.openai_events(DROP_IN), picky=True)
CHUNKS = Contender("penstock", "penstock", peers.openai_chunks(DROP_IN), picky=True)


@pytest.mark.parametrize("who", [EVENTS, peers.OPENAI_EVENTS], ids=str)
def test_responses(race: Race, source: Source, who: Contender) -> None:
    race(rows.OPENAI, source, "responses", EVENTS, who)


@pytest.mark.parametrize("who", [CHUNKS, peers.OPENAI_CHUNKS], ids=str)
def test_chat(race: Race, source: Source, who: Contender) -> None:
    race(rows.OPENAI_CHAT, source, "chat", CHUNKS, who)
