"""The figures of a stream, and what counts as simultaneous."""

from __future__ import annotations

import time
from collections.abc import Iterator

from faces import LETTER, RESPONSE
from upstream import event

from penstock.stream import Stream

PING = event("ping")


def test_figures() -> None:
    def slow() -> Iterator[bytes]:
        for at, chunk in enumerate(RESPONSE):
            time.sleep(0.02 if at else 0.05)
            yield chunk

    stream = Stream(slow(), started=time.monotonic() - 1)
    assert stream.stats.inter_token(0.5) is None
    stream.final()
    stats = stream.stats
    assert stats.events == len(RESPONSE)
    assert stats.first_event is not None
    assert stats.first_token is not None
    assert stats.duration is not None
    assert 1.05 <= stats.first_event < stats.first_token < stats.duration < 3
    median, p99 = stats.inter_token(0.5), stats.inter_token(0.99)
    assert median is not None
    assert p99 is not None
    assert 0.018 < median <= p99 < 1
    assert stats.as_dict()["inter_token_p99"] == p99
    assert "terminal='response.completed'" in repr(stats)


def test_events_of_one_read_are_simultaneous() -> None:
    stream = Stream([LETTER, LETTER * 3])
    stats = stream.stats
    assert (stats.events, stats.first_event, stats.duration) == (0, None, None)
    next(stream)
    assert stats.inter_token(0.5) is None
    list(stream)
    assert (stats.events, stats.bytes) == (4, 4 * len(LETTER))
    stats.wait(2.0)  # as if one of the three had been late
    assert stats.inter_token(0.3) == 0.0
    assert stats.inter_token(1.0) == 2.0


def test_time_to_the_first_token_is_not_that_of_the_first_event() -> None:
    stream = Stream([PING, PING, event("ping", delta="x"), event("ping", delta="x")])
    stats = stream.stats
    for _ in range(2):
        next(stream)
        assert stats.first_token is None
    first = stats.first_event
    list(stream)
    assert stats.first_event == first
    assert stats.first_token is not None
