"""The naive twins against the vectors: who judges the core is judged first."""

import oracles
import pytest
from cases import JsonCase, StreamCase, json_cases, stream_cases

PLAIN = [case for case in stream_cases("sse") if not case.options and not case.done]


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_naive_decoder_agrees_with_the_vector(case: StreamCase) -> None:
    decoded = oracles.decode_event_stream(case.stream)
    assert [(data, name or None, id or None) for name, data, id in decoded.events] == [
        (event.data, event.name, event.id) for event in case.events
    ]
    assert decoded[1:] == (case.retry, case.last_event_id, case.comments)


@pytest.mark.parametrize("case", json_cases(), ids=str)
def test_oracle_agrees_with_the_vector(case: JsonCase) -> None:
    if case.accepted:
        value = oracles.loads(case.text)
        assert not case.has_value or oracles.same(value, case.value)
    else:
        with pytest.raises(ValueError, match=r"\S"):
            oracles.loads(case.text)


@pytest.mark.parametrize("case", [case for case in json_cases() if case.prefixes_refused], ids=str)
def test_json_oracle_refuses_every_prefix(case: JsonCase) -> None:
    for end in range(len(case.text)):
        with pytest.raises(ValueError, match=r"\S"):
            oracles.loads(case.text[:end])


def test_same_tells_apart_what_a_user_can() -> None:
    for left, right in (
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1], [1, 1]),
    ):
        assert not oracles.same(left, right)
        assert not oracles.same({"x": [left]}, {"x": [right]})
        assert oracles.same(left, left)
