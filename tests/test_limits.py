"""Every limit of the decoder and the JSON reader, at its value and one above, however the input is cut."""

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from cases import LimitCase, limit_cases
from feeding import CARRIERS, feedings, run
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DecodeError, Decoder, Event, LimitExceeded, Limits

DEFAULTS = {
    "max_line_bytes": 16 << 20,
    "max_event_bytes": 16 << 20,
    "max_idle_bytes": 1 << 20,
    "max_id_bytes": 1_024,
    "max_event_name_bytes": 256,
    "max_depth": 128,
    "max_number_digits": 4_300,
    "max_message_bytes": 64 << 20,
    "max_parts": 4_096,
    "max_tool_calls": 1_024,
}


CASES = limit_cases()


def decoder_for(case: LimitCase) -> Decoder:
    return Decoder(framing=case.framing, limits=Limits(**{case.limit: case.maximum}))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exactly_at_the_limit_passes_however_it_is_cut(case: LimitCase) -> None:
    unlimited = run(Decoder(framing=case.framing), [case.within])
    assert unlimited.error is None
    for chunks in feedings(case.within):
        assert run(decoder_for(case), chunks) == unlimited, chunks


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_above_fails_with_the_same_error_however_it_is_cut(case: LimitCase) -> None:
    expected = ("LimitExceeded", case.limit, case.maximum, case.maximum + 1, case.offset)
    for chunks in feedings(case.above):
        outcome = run(decoder_for(case), chunks)
        assert outcome.error == expected, chunks
        assert len(outcome.events) == case.events, chunks


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_error_does_not_depend_on_the_bytes_like_type(carrier: str) -> None:
    for case in CASES:
        outcome = run(decoder_for(case), [CARRIERS[carrier](case.above)])
        assert outcome.error == ("LimitExceeded", case.limit, case.maximum, case.maximum + 1, case.offset)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_failed_decoder_stays_failed(case: LimitCase) -> None:
    decoder = decoder_for(case)
    with pytest.raises(LimitExceeded) as first:
        decoder.feed(case.above)
    assert decoder.failed
    assert len(first.value.events) == decoder.events == case.events
    for again in (b"data: x\n\n", b"", None):
        with pytest.raises(LimitExceeded) as repeated:
            decoder.finish() if again is None else decoder.feed(again)
        assert (repeated.value.limit, repeated.value.offset) == (case.limit, case.offset)
        assert repeated.value.events == []
    assert decoder.failed
    assert decoder.events == case.events


PIECES = [
    b"data: ",
    b"data",
    b":",
    b" ",
    b"x",
    b"xxxx",
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b"event: ",
    b"id: ",
    b"retry: 5",
    b"foo",
]
NAMES = ["max_line_bytes", "max_event_bytes", "max_idle_bytes", "max_id_bytes", "max_event_name_bytes"]


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 12), min_size=1),
    st.sampled_from(["sse", "ndjson"]),
)
def test_whatever_is_passed_first_is_reported_however_it_is_cut(
    stream: bytes, bounds: dict[str, Any], framing: Any
) -> None:
    limits = Limits(**bounds)
    whole = run(Decoder(framing=framing, limits=limits), [stream])
    for chunks in feedings(stream, seed=len(stream)):
        assert run(Decoder(framing=framing, limits=limits), chunks) == whole, chunks


def test_rows_of_an_error_in_a_projection_are_kept_too() -> None:
    decoder = Decoder(limits=Limits(max_line_bytes=10))
    with pytest.raises(LimitExceeded) as exceeded:
        decoder.feed(b"event: n\ndata: 1\n\ndata: far too long\n\n", fields=("name", "data"))
    assert exceeded.value.events == [("n", b"1")]


def test_idle_bytes_are_counted_between_events_not_over_the_stream() -> None:
    decoder = Decoder(limits=Limits(max_idle_bytes=20))
    for _ in range(100):
        assert len(decoder.feed(b": x\n: x\n\ndata: 1\n\n")) == 1


def test_the_first_limit_passed_is_the_one_reported() -> None:
    limits = Limits(max_line_bytes=20, max_event_bytes=10, max_idle_bytes=5)
    outcomes = {run(Decoder(limits=limits), chunks).error for chunks in feedings(b"data: " + b"x" * 30)}
    assert outcomes == {("LimitExceeded", "max_event_bytes", 10, 11, 16)}


def test_json_limits_can_be_lowered() -> None:
    limits = Limits(max_depth=3, max_number_digits=5)
    decoder = Decoder(limits=limits)
    deep, level, wide, digits = decoder.feed(
        b"data: [[[[]]]]\n\ndata: [[[]]]\n\ndata: 123456\n\ndata: [12345,0.123456]\n\n"
    )
    with pytest.raises(LimitExceeded) as exceeded:
        deep.json()
    assert (exceeded.value.limit, exceeded.value.maximum, exceeded.value.value) == ("max_depth", 3, 4)
    assert exceeded.value.offset == 3
    assert level.json() == [[[]]]
    with pytest.raises(LimitExceeded) as exceeded:
        wide.json()
    assert (exceeded.value.limit, exceeded.value.maximum) == ("max_number_digits", 5)
    assert digits.json() == [12345, 0.123456]
    assert not decoder.failed


def test_refused_json_is_refused_again() -> None:
    for text, error in ((b"[" * 200, LimitExceeded), (b"9" * 5_000, LimitExceeded), (b"[1,", DecodeError)):
        event = Event(text)
        for _ in range(2):
            with pytest.raises(error):
                event.json()


def test_none_means_unlimited() -> None:
    limits = Limits(max_line_bytes=None, max_event_bytes=None, max_idle_bytes=None)
    decoder = Decoder(limits=limits)
    block = b"x" * (1 << 20)
    decoder.feed(b": ")
    for _ in range(3):
        decoder.feed(block)
    decoder.feed(b"\ndata: ")
    for _ in range(17):
        decoder.feed(block)
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 17 << 20


def test_defaults() -> None:
    assert {name: getattr(Limits(), name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_limit_can_be_set_alone(name: str) -> None:
    limits = Limits(**{name: 7})
    assert {other: getattr(limits, other) for other in DEFAULTS} == {**DEFAULTS, name: 7}


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name != "max_depth"])
def test_each_limit_but_depth_can_be_switched_off(name: str) -> None:
    limits: dict[str, Any] = {name: None}
    assert getattr(Limits(**limits), name) is None


@pytest.mark.parametrize("depth", [None, 129, 1 << 40])
def test_depth_has_a_ceiling(depth: int | None) -> None:
    with pytest.raises((ValueError, TypeError)):
        Limits(max_depth=depth)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, -(1 << 70), 1.5, "16", b"1", object()], ids=repr)
def test_values_that_are_no_count_are_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        Limits(max_line_bytes=value)


def test_limits_are_a_frozen_value() -> None:
    limits = Limits(max_line_bytes=5)
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        limits.max_line_bytes = 6  # type: ignore[misc]
    assert limits == Limits(max_line_bytes=5) != Limits()
    assert hash(limits) == hash(Limits(max_line_bytes=5))
    assert "max_line_bytes=5" in repr(limits)
    assert copy.deepcopy(limits) == pickle.loads(pickle.dumps(limits)) == limits
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Limits(max_lines=5)  # type: ignore[call-arg]
