"""`synthesize`: the stream of a whole response is legal, gives it back and never cuts a character."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import (
    DecodeError,
    Decoder,
    Event,
    IllegalEvent,
    LimitExceeded,
    Limits,
    PenstockError,
    ResponseAccumulator,
    lint,
    synthesize,
)

ANNOTATION = {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "t", "url": "https://u"}
LOGPROBS = [{"token": "G", "logprob": -0.1, "top_logprobs": [], "bytes": [71]}]


def message(*content: dict[str, Any], **members: Any) -> dict[str, Any]:
    made = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {**made, "content": list(content), **members}


def text(text: str, **members: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **members}


def response(*output: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000.5,
        "completed_at": 1_700_000_002,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "m",
        "output": list(output),
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "temperature": 1.0,
        **members,
    }


SUMMARY = [{"type": "summary_text", "text": "think"}, {"type": "summary_text", "text": "again and again"}]
RAW = [{"type": "reasoning_text", "text": "raw thoughts"}]
CALL = {"call_id": "call_1", "name": "f", "status": "completed"}
PATCH = {"type": "update_file", "path": "p", "diff": "+ a line\n- another"}

ITEMS: dict[str, dict[str, Any]] = {
    "text": message(text("Grüße 👋🏽, Welt!", annotations=[ANNOTATION, ANNOTATION], logprobs=LOGPROBS)),
    "empty text": message(text("")),
    "no parts": message(),
    "refusal": message({"type": "refusal", "refusal": "I cannot do that."}),
    "parts": message(text("one"), {"type": "refusal", "refusal": "two"}, text("three"), phase="commentary"),
    "unknown part": message({"type": "output_audio", "data": "AA=="}, text("after it")),
    "summary": {"id": "rs_1", "type": "reasoning", "summary": SUMMARY, "encrypted_content": "e"},
    "raw reasoning": {
        "id": "rs_2",
        "type": "reasoning",
        "summary": [],
        "content": RAW,
        "status": "completed",
    },
    "both reasonings": {"id": "rs_3", "type": "reasoning", "summary": SUMMARY, "content": RAW},
    "function": {"id": "fc_1", "type": "function_call", "arguments": '{"a": [1, 2]}', **CALL},
    "no arguments": {"id": "fc_2", "type": "function_call", "arguments": "", **CALL},
    "custom": {"id": "ctc_1", "type": "custom_tool_call", "input": "free text", **CALL},
    "mcp": {
        "id": "mcp_1",
        "type": "mcp_call",
        "arguments": '{"q":"x"}',
        "name": "t",
        "server_label": "s",
        "output": "found",
        "error": None,
    },
    "code": {
        "id": "ci_1",
        "type": "code_interpreter_call",
        "code": "print('hello')",
        "container_id": "c",
        "outputs": [{"type": "logs", "logs": "hello"}],
        "status": "completed",
    },
    "no code": {
        "id": "ci_2",
        "type": "code_interpreter_call",
        "code": None,
        "container_id": "c",
        "outputs": None,
        "status": "completed",
    },
    "patch": {"id": "apc_1", "type": "apply_patch_call", "operation": PATCH, **CALL},
    "patch without diff": {
        "id": "apc_2",
        "type": "apply_patch_call",
        "operation": {"type": "delete_file", "path": "p"},
        **CALL,
    },
    "search": {
        "id": "ws_1",
        "type": "web_search_call",
        "action": {"type": "search", "query": "q"},
        "status": "completed",
    },
    "image": {"id": "ig_1", "type": "image_generation_call", "result": "AA==", "status": "completed"},
    "tools": {"id": "mcpl_1", "type": "mcp_list_tools", "server_label": "s", "tools": []},
    "compaction": {"id": "cmp_1", "type": "compaction", "encrypted_content": "c"},
    "program": {"id": "po_1", "type": "program_output", "call_id": "c", "result": "r", "status": "completed"},
    "vendor": {"id": "v_1", "type": "vendor:thing", "content": [{"type": "text", "text": "x"}]},
}


def accumulate(events: list[Event]) -> dict[str, Any]:
    accumulator = ResponseAccumulator(strict=True)
    accumulator.feed(events)
    return accumulator.final()


def check(whole: dict[str, Any], **options: Any) -> list[Event]:
    """The events, after everything that holds for all of them was looked at."""
    before = copy.deepcopy(whole)
    events = list(synthesize(whole, **options))
    assert whole == before
    assert lint(events, strict=True) == []
    assert accumulate(events) == whole
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for event in events[:2]:
        first = event["response"]
        assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert [event["response"] for event in events if event.type == f"response.{whole['status']}"] == [whole]
    return events


@pytest.mark.parametrize(
    "options", [{}, {"slice": 1}, {"unit": "words", "slice": 1}, {"unit": "graphemes"}, {"slice": 10**6}]
)
@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_each_item_comes_back(item: dict[str, Any], options: dict[str, Any]) -> None:
    check(response(item), **options)


def numbered(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "id": f"item_{place}"} for place, item in enumerate(items)]


def test_all_items_in_order() -> None:
    items = numbered(ITEMS.values())
    events = check(response(*items))
    added = [event for event in events if event.type == "response.output_item.added"]
    assert [event.output_index for event in added] == list(range(len(items)))
    for event in added:
        item = event["item"]
        if item["type"] not in {"vendor:thing"}:
            assert not any(item.get(key) for key in ("content", "summary", "arguments", "input", "code"))
        assert item.get("status") in {
            "completed" if item["type"] == "program_output" else "in_progress",
            None,
        }


def deltas(events: list[Event]) -> list[str]:
    return [event.delta for event in events if event.delta is not None]


@pytest.mark.parametrize(
    ("unit", "slice_", "whole", "expected"),
    [
        ("codepoints", 5, "Hello world", ["Hello", " worl", "d"]),
        ("codepoints", 1, "a👋é", ["a", "👋", "é"]),
        ("codepoints", 2, "👩‍💻", ["👩‍", "💻"]),
        ("graphemes", 1, "👩‍💻🇳🇴e\u0301!", ["👩‍💻", "🇳🇴", "e\u0301", "!"]),
        ("graphemes", 2, "👨‍👩‍👧\r\n각", ["👨‍👩‍👧\r\n", "각"]),
        ("words", 1, " Grüße  an\u2003alle\n", [" Grüße  ", "an\u2003", "alle\n"]),
        ("words", 2, "a b c", ["a b ", "c"]),
        ("words", 1, " \n", [" \n"]),
    ],
)
def test_slices(unit: Any, slice_: int, whole: str, expected: list[str]) -> None:
    assert deltas(check(response(message(text(whole))), unit=unit, slice=slice_)) == expected


def test_escaped_pairs_are_one_character() -> None:
    whole = json.dumps(response(message(text("👋👋"))), ensure_ascii=True)
    assert "\\ud83d" in whole
    assert deltas(list(synthesize(whole, slice=1))) == ["👋", "👋"]


@pytest.mark.parametrize(
    ("status", "members"),
    [
        ("completed", {}),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}),
        ("failed", {"error": {"code": "server_error", "message": "no"}, "usage": None}),
        ("cancelled", {}),
    ],
)
def test_the_status_says_how_it_ends(status: str, members: dict[str, Any]) -> None:
    for output in ([], [message(text("so far"))]):
        events = check(response(*output, status=status, **members))
        assert events[-1].type == f"response.{status}"
        assert sum(event.type == f"response.{status}" for event in events) == 1
    cut = message(text("so f"), status="incomplete")
    if status == "completed":
        with pytest.raises(IllegalEvent) as caught:
            synthesize(response(cut, status=status))
        assert caught.value.rule == "completed_incomplete"
    else:
        check(response(cut, status=status, **members))


def test_items_that_were_cut_end_last() -> None:
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": '{"a"', "status": "incomplete"}
    items = numbered([call, message(text("whole")), {**call, "call_id": "d"}])
    whole = response(*items, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    events = list(synthesize(whole))
    assert lint(events) == []
    assert accumulate(events) == whole
    done = [event.output_index for event in events if event.type == "response.output_item.done"]
    assert done == [1, 0, 2]


def test_searches_without_ids_get_them() -> None:
    whole = response({"type": "web_search_call", "action": {"type": "search", "query": "q"}})
    events = list(synthesize(whole))
    assert lint(events, strict=True) == []
    assert accumulate(events)["output"][0].pop("id").startswith("ws_")


def test_missing_ids_are_made() -> None:
    whole = response({"type": "function_call", "name": "f", "call_id": "call_1", "arguments": "{}"})
    events = list(synthesize(whole))
    assert lint(events, strict=True) == []
    final = accumulate(events)
    (item,) = final["output"]
    assert item.pop("id").startswith("fc_")
    assert final == whole


def test_formats_say_the_same() -> None:
    whole = response(*numbered(ITEMS.values()))
    events = list(synthesize(whole))
    frames = list(synthesize(whole, format="sse"))
    assert [Decoder().feed(frame) for frame in frames] == [[event] for event in events]
    texts = list(synthesize(whole, format="websocket"))
    assert [json.loads(text) for text in texts] == [event.json() for event in events]


@pytest.mark.parametrize("format_", ["events", "sse", "websocket"])
def test_litellm_s_bare_stream(format_: Any) -> None:
    whole = response(ITEMS["function"], message(text("Hello"), text(" world")), message(text("!👋")))
    made = list(synthesize(whole, format=format_, compat="litellm"))
    if format_ == "sse":
        made = Decoder().feed(b"".join(made))
    events = [json.loads(event) if isinstance(event, str) else event.json() for event in made]
    assert [event.pop("delta") for event in events[:-1]] == ["Hello", " worl", "d!👋"]
    place = {"item_id": "resp_1", "output_index": 0, "content_index": 0}
    assert events[:-1] == [{"type": "response.output_text.delta", **place}] * 3
    assert events[-1] == {"type": "response.completed", "response": whole}


def test_litellm_s_stream_without_text() -> None:
    whole = response(ITEMS["refusal"])
    assert [event.type for event in synthesize(whole, compat="litellm")] == ["response.completed"]


@pytest.mark.parametrize(
    ("whole", "error"),
    [
        ("", DecodeError),
        ("{", DecodeError),
        ("[]", DecodeError),
        (b'{"id":"\xff"}', DecodeError),
        ({"id": "r", "output": "text"}, DecodeError),
        ({"id": "r", "output": [1]}, DecodeError),
        ({"id": "r", "output": [message(content="text")]}, DecodeError),
        ({"id": "r", "output": [message(content=["text"])]}, DecodeError),
        ({}, IllegalEvent),
        ({"id": "a\nb"}, IllegalEvent),
        ({"id": "r", "status": "in_progress"}, IllegalEvent),
        ({"id": "r", "status": "queued"}, IllegalEvent),
        ({"id": "r", "status": 3}, IllegalEvent),
        ({"id": "r", "output": [{"id": "x"}]}, IllegalEvent),
        ({"id": "r", "output": [message(), message()]}, IllegalEvent),
    ],
)
def test_bad_responses_are_refused(whole: Any, error: type[PenstockError]) -> None:
    with pytest.raises(error):
        synthesize(whole)


def test_bounds() -> None:
    with pytest.raises(LimitExceeded):
        synthesize(response(*numbered(ITEMS.values())), limits=Limits(max_parts=3))
    with pytest.raises(LimitExceeded):
        synthesize(response(message(text("x" * 100))), limits=Limits(max_message_bytes=99))


@pytest.mark.parametrize(
    "options", [{"slice": 0}, {"unit": "bytes"}, {"format": "json"}, {"compat": "openai"}], ids=str
)
def test_bad_options_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"is \"|at least"):
        synthesize(response(), **options)


def test_any_object_of_the_right_shape_will_do() -> None:
    events = list(synthesize({"id": "r"}))
    assert accumulate(events) == {"id": "r", "output": [], "status": "completed"}
    with pytest.raises(TypeError):
        synthesize(object())  # type: ignore[call-overload]


characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
texts = st.builds(text, characters)
refusals = st.builds(lambda refusal: {"type": "refusal", "refusal": refusal}, characters)
items = st.one_of(
    st.builds(lambda parts: message(*parts), st.lists(texts | refusals, max_size=3)),
    st.builds(
        lambda parts: {"type": "reasoning", "summary": [{"type": "summary_text", "text": t} for t in parts]},
        st.lists(characters, max_size=3),
    ),
    st.builds(lambda arguments: {**ITEMS["function"], "arguments": arguments}, characters),
    st.builds(lambda text: {**ITEMS["custom"], "input": text}, characters),
    st.builds(lambda code: {**ITEMS["code"], "code": code}, characters),
    st.sampled_from(list(ITEMS.values())),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(items, max_size=4), st.integers(1, 9), st.sampled_from(["codepoints", "graphemes", "words"]))
def test_every_response_comes_back(output: list[dict[str, Any]], slice_: int, unit: str) -> None:
    check(response(*numbered(output)), slice=slice_, unit=unit)
