"""Requests flat and nested, input items, and error frames of the WebSocket mode."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.websocket.wire import (
    RefusedError,
    create_params,
    dump,
    ended_frame,
    error_frame,
    input_items,
    text_bytes,
)

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


@pytest.mark.parametrize(
    ("frame", "params"),
    [
        ({"model": "m", "input": "hi"}, {"model": "m", "input": "hi"}),
        ({"response": {"model": "m", "input": "hi"}}, {"model": "m", "input": "hi"}),
        ({"response": {"model": "inner"}, "model": "outer"}, {"model": "inner"}),
        ({"response": {}, "model": "m"}, {"model": "m"}),  # empty counts as flat
        ({"response": None, "model": "m"}, {"model": "m"}),
        ({"response": [1], "model": "m"}, {"model": "m"}),
        ({"response": {"model": "m"}, "stream_id": "a"}, {"model": "m", "stream_id": "a"}),
        ({"response": {"model": "m", "stream_id": "b"}}, {"model": "m", "stream_id": "b"}),
        ({"response": {"model": "m", "stream_id": "b"}, "stream_id": "a"}, {"model": "m", "stream_id": "a"}),
        ({}, {}),
    ],
)
def test_flat_and_nested(frame: dict[str, Any], params: dict[str, Any]) -> None:
    assert create_params({"type": "response.create", **frame}) == params


@pytest.mark.parametrize(
    ("given", "items"),
    [(None, []), ("hi", [USER]), ([USER], [USER]), ([], []), ([{}, USER], [{}, USER])],
)
def test_input(given: Any, items: list[Any]) -> None:
    assert input_items({"input": given}) == items


@pytest.mark.parametrize("given", [1, {}, True, ["x"], [USER, None], [[]]])
def test_input_that_is_none(given: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        input_items({"input": given})
    assert (caught.value.status, caught.value.param) == (400, "input")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (502, "server_error"),
    ],
)
def test_an_error_frame(status: int, kind: str) -> None:
    refusal = RefusedError("No.", status=status, code="because", param="input")
    error = {"type": kind, "code": "because", "message": "No.", "param": "input"}
    assert json.loads(error_frame(refusal)) == {"type": "error", "status": status, "error": error}
    on_lane = json.loads(error_frame(refusal, stream_id="a"))
    assert on_lane == {"type": "error", "status": status, "error": error, "stream_id": "a"}


def test_a_refusal_survives_pickling() -> None:
    refusal = RefusedError("No.", status=403, code="c", type="t", param="p", close_code=1008)
    for other in (pickle.loads(pickle.dumps(refusal)), copy.copy(refusal)):
        assert (other.error(), other.status, other.close_code) == (refusal.error(), 403, 1008)


def test_a_failed_response_keeps_what_came() -> None:
    response = {
        "id": "resp_1",
        "status": "in_progress",
        "output": [
            {"type": "message", "status": "completed"},
            {"type": "message", "status": "in_progress"},
            {},
        ],
    }
    frame = json.loads(ended_frame(response, RefusedError("No.", code="c"), sequence_number=7))
    assert (frame["type"], frame["sequence_number"]) == ("response.failed", 7)
    assert frame["response"]["error"] == {"code": "c", "message": "No."}
    statuses = [item.get("status") for item in frame["response"]["output"]]
    assert statuses == ["completed", "incomplete", None]
    assert response["status"] == "in_progress"


def test_an_incomplete_response_says_why() -> None:
    frame = json.loads(ended_frame({"id": "r"}, "cancelled", sequence_number=1, stream_id="a"))
    assert frame == {
        "type": "response.incomplete",
        "sequence_number": 1,
        "response": {
            "id": "r",
            "status": "incomplete",
            "error": None,
            "incomplete_details": {"reason": "cancelled"},
            "output": [],
        },
        "stream_id": "a",
    }


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_dump_is_json_in_utf_8(value: Any) -> None:
    assert json.loads(dump(value).encode()) == value


def test_a_lone_surrogate_is_escaped() -> None:
    assert dump({"a": "\ud83d"}) == '{"a":"\\ud83d"}'
    assert dump({"a": "é"}) == '{"a":"é"}'


@given(st.text(st.characters(codec="utf-8")))
def test_sizes_are_those_on_the_wire(text: str) -> None:
    assert text_bytes(text) == len(text.encode())
    assert text_bytes(text.encode()) == len(text.encode())
