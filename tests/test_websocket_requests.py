"""What a back end is asked, of what a client asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.websocket.requests import MEMBERS, check, echo, request_body, transcoder
from penstock.websocket.wire import RefusedError

CONTEXT = b'[ {"role":"user", "content":"hi", "n":1e999, "big":123456789012345678901234567890} ]'
PLAIN = b'[{"type":"message","role":"user","content":"hi"}]'


def test_the_history_s_bytes_are_not_read_for_a_back_end_of_the_same_dialect() -> None:
    body = request_body({"model": "m"}, CONTEXT, "responses")
    assert body == b'{"model":"m","stream":true,"input":' + CONTEXT + b"}"


def test_members_of_the_connection_and_of_nobody_stay_here() -> None:
    own = {"previous_response_id": "r", "stream_id": "a", "generate": True, "stream": False, "input": "x"}
    foreign = {"api_key": "k", "api_base": "u", "extra_headers": {}, "type": "response.create", "nothing": 1}
    asked = {"model": "m", "temperature": 0.5, "metadata": {"a": "b"}, "user": None}
    body = json.loads(request_body({**own, **foreign, **asked}, PLAIN, "responses"))
    assert body == {
        "model": "m",
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "stream": True,
        "input": json.loads(PLAIN),
    }
    assert not MEMBERS & {"background", "stream", "input", "previous_response_id"}


def test_a_back_end_of_chat_completions() -> None:
    params = {"model": "m", "instructions": "Be brief.", "store": True, "max_output_tokens": 5}
    assert json.loads(request_body(params, PLAIN, "chat")) == {
        "model": "m",
        "stream": True,
        "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "max_completion_tokens": 5,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("params", "context", "dialect", "param"),
    [
        ({"truncation": "auto"}, PLAIN, "chat", "truncation"),
        ({"prompt": {"id": "p"}}, PLAIN, "chat", "prompt"),
        ({}, b'[{"type":"item_reference","id":"x"}]', "chat", "input[0]"),
        ({}, b'[{"type":"message"}]', "chat", None),
        ({"text": 5}, PLAIN, "chat", None),
        ({"temperature": float("inf")}, PLAIN, "chat", None),
        ({"temperature": float("inf")}, PLAIN, "responses", None),
    ],
)
def test_what_no_back_end_is_asked(params: Any, context: bytes, dialect: Any, param: str | None) -> None:
    with pytest.raises(RefusedError) as caught:
        request_body({"model": "m", **params}, context, dialect)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    "params",
    [{"model": "m"}, {"model": "m", "store": None, "generate": True, "background": False}],
)
def test_what_may_be_asked(params: dict[str, Any]) -> None:
    check(params)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "model"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "m", "previous_response_id": ["r"]}, "previous_response_id"),
        ({"model": "m", "previous_response_id": ""}, "previous_response_id"),
        ({"model": "m", "store": "no"}, "store"),
        ({"model": "m", "generate": 0}, "generate"),
        ({"model": "m", "background": True}, "background"),
    ],
)
def test_what_may_not_be_asked(params: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check(params)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_a_response_repeats() -> None:
    params = {"model": "m", "input": [], "temperature": 0.0, "user": None, "previous_response_id": "r"}
    assert echo(params) == {"temperature": 0.0, "previous_response_id": "r"}


def test_only_chat_completions_is_transcoded() -> None:
    assert transcoder({"model": "m"}, "responses") is None
    made = transcoder({"model": "m", "metadata": {"k": "v"}}, "chat")
    assert made is not None
    (created, *_) = made.finish_events()
    assert created["response"]["metadata"] == {"k": "v"}
