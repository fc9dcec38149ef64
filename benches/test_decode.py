"""Bytes to events, and what is read of them; beside what decodes event streams, and beside JSON alone."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benches import peers, rows
from benches.peers import Contender, Pass, Streams
from benches.streams import SOURCES, Source
from penstock import Decoder

pytestmark = [
    pytest.mark.benchmark(timer=process_time),
    pytest.mark.parametrize("source", SOURCES),
]

Race = Callable[..., None]


def read_events(streams: Streams) -> Pass:
    def run() -> list[Any]:
        last = []
        for stream in streams:
            decoder = Decoder()
            kind = None
            for chunk in stream.chunks:
                for event in decoder.feed(chunk):
                    kind = event.type
                    event.delta  # noqa: B018 - reading it is the work
            last.append(kind)
        return last

    return run


def read_rows(streams: Streams) -> Pass:
    fields = ("type", "delta")

    def run() -> list[Any]:
        last = []
        for stream in streams:
            decoder = Decoder()
            kind = None
            for chunk in stream.chunks:
                for kind, _delta in decoder.feed(chunk, fields=fields):  # noqa: B007 - the last one counts
                    pass
            last.append(kind)
        return last

    return run


def read_objects(streams: Streams) -> Pass:
    def run() -> list[Any]:
        last = []
        for stream in streams:
            decoder = Decoder()
            value = None
            for chunk in stream.chunks:
                for event in decoder.feed(chunk):
                    value = event.json()
            last.append(value)
        return last

    return run


def read_single_events(streams: Streams) -> Pass:
    def run() -> list[Any]:
        last = []
        for stream in streams:
            decoder = Decoder()
            kind = None
            for frame in stream.frames:
                for event in decoder.feed(frame):
                    kind = event.type
                    event.delta  # noqa: B018 - reading it is the work
            last.append(kind)
        return last

    return run


EVENTS = Contender("penstock", "penstock", read_events)
ROWS = Contender("penstock", "penstock", read_rows)
OBJECTS = Contender("penstock", "penstock", read_objects)
SINGLE = Contender("penstock", "penstock", read_single_events)


@pytest.mark.parametrize("who", [EVENTS, *peers.EVENTS], ids=str)
def test_events(race: Race, source: Source, who: Contender) -> None:
    race(rows.DECODE, source, "responses", EVENTS, who)


@pytest.mark.parametrize("who", [ROWS, *peers.PROJECTIONS], ids=str)
def test_projection(race: Race, source: Source, who: Contender) -> None:
    race(rows.PROJECTION, source, "responses", ROWS, who)


@pytest.mark.parametrize("who", [OBJECTS, *peers.OBJECTS], ids=str)
def test_objects(race: Race, source: Source, who: Contender) -> None:
    race(rows.JSON, source, "responses", OBJECTS, who)


def test_one_event_a_chunk(race: Race, source: Source) -> None:
    race(rows.SINGLE, source, "responses", SINGLE, SINGLE)
