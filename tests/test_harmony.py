"""Items and messages, each as the other: each kind as a row, both ways, and nothing lost in silence."""

from __future__ import annotations

import re
from typing import Any

import openai_harmony
import pytest
from harmony_support import SEARCH, Json, brief
from openai.types.responses import ResponseReasoningItem

from penstock import DecodeError
from penstock import harmony as harmony_module
from penstock.harmony import UnsupportedFieldError, harmony_to_items, items_to_harmony

ROUND_TRIPS: dict[str, tuple[list[Json], list[Json]]] = {
    "reasoning": (
        [{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Think."}]}],
        [{"role": "assistant", "channel": "analysis", "content": [{"type": "text", "text": "Think."}]}],
    ),
    "answer": (
        [
            {
                "type": "message",
                "role": "assistant",
                "phase": "final_answer",
                "content": [{"type": "output_text", "text": "Hi"}, {"type": "output_text", "text": "!"}],
            }
        ],
        [
            {
                "role": "assistant",
                "channel": "final",
                "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}],
            }
        ],
    ),
    "preamble": (
        [
            {
                "type": "message",
                "role": "assistant",
                "phase": "commentary",
                "content": [{"type": "output_text", "text": "So."}],
            }
        ],
        [{"role": "assistant", "channel": "commentary", "content": [{"type": "text", "text": "So."}]}],
    ),
    "function": (
        [{"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}],
        [
            {
                "role": "assistant",
                "channel": "commentary",
                "recipient": "functions.f",
                "content_type": "<|constrain|>json",
                "content": [{"type": "text", "text": "{}"}],
            }
        ],
    ),
    "custom tool": (
        [{"type": "custom_tool_call", "call_id": "call_1", "name": "tool", "input": "x"}],
        [
            {
                "role": "assistant",
                "channel": "commentary",
                "recipient": "functions.tool",
                "content": [{"type": "text", "text": "x"}],
            }
        ],
    ),
    "python": (
        [{"type": "code_interpreter_call", "code": "1", "container_id": "", "outputs": None}],
        [
            {
                "role": "assistant",
                "channel": "analysis",
                "recipient": "python",
                "content_type": "code",
                "content": [{"type": "text", "text": "1"}],
            }
        ],
    ),
    "search": (
        [{"type": "web_search_call", "action": SEARCH}],
        [
            {
                "role": "assistant",
                "channel": "analysis",
                "recipient": "browser.search",
                "content_type": "code",
                "content": [{"type": "text", "text": '{"query": "cats"}'}],
            }
        ],
    ),
    "open": (
        [{"type": "web_search_call", "action": {"type": "open_page", "url": "https://a/"}}],
        [
            {
                "role": "assistant",
                "channel": "analysis",
                "recipient": "browser.open",
                "content_type": "code",
                "content": [{"type": "text", "text": '{"id": "https://a/"}'}],
            }
        ],
    ),
    "find": (
        [{"type": "web_search_call", "action": {"type": "find_in_page", "pattern": "x", "url": ""}}],
        [
            {
                "role": "assistant",
                "channel": "analysis",
                "recipient": "browser.find",
                "content_type": "code",
                "content": [{"type": "text", "text": '{"pattern": "x"}'}],
            }
        ],
    ),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_items_and_messages_are_each_other(name: str) -> None:
    items, expected = ROUND_TRIPS[name]
    assert items_to_harmony(items) == expected
    back = harmony_to_items(expected, custom_tools=["tool"])
    assert [brief(item) for item in back] == [brief(item) for item in items]
    theirs = [openai_harmony.Message.from_dict(message) for message in expected]
    assert [theirs_to.to_dict() for theirs_to in theirs] == [
        {**message, "name": None} for message in expected
    ]
    ours = harmony_to_items(theirs, custom_tools=["tool"])
    assert [brief(item) for item in ours] == [brief(item) for item in items]


INPUT: dict[str, tuple[Any, list[Json]]] = {
    "text": ("Hi", [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]),
    "message without a type": (
        [{"role": "user", "content": "Hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    ),
    "instructions": (
        [
            {"role": "system", "content": "be"},
            {"role": "developer", "content": [{"text": "a"}, {"text": "b"}]},
        ],
        [
            {"role": "developer", "content": [{"type": "developer_content", "instructions": "be"}]},
            {"role": "developer", "content": [{"type": "developer_content", "instructions": "a\n\nb"}]},
        ],
    ),
    "refusal": (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [{"role": "assistant", "channel": "final", "content": [{"type": "text", "text": "no"}]}],
    ),
    "call and output in one input": (
        [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_text", "text": "sun"}],
            },
        ],
        [
            {
                "role": "assistant",
                "channel": "commentary",
                "recipient": "functions.f",
                "content_type": "<|constrain|>json",
                "content": [{"type": "text", "text": ""}],
            },
            {
                "role": "tool",
                "name": "functions.f",
                "recipient": "assistant",
                "channel": "commentary",
                "content": [{"type": "text", "text": "sun"}],
            },
        ],
    ),
    "summary alone": (
        [
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "So."}],
                "encrypted_content": "x",
            }
        ],
        [{"role": "assistant", "channel": "analysis", "content": [{"type": "text", "text": "So."}]}],
    ),
    "object of the SDK": (
        [
            ResponseReasoningItem.model_validate(
                {
                    "id": "rs_1",
                    "type": "reasoning",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "a"}],
                }
            )
        ],
        [{"role": "assistant", "channel": "analysis", "content": [{"type": "text", "text": "a"}]}],
    ),
    "empty reasoning": ([{"type": "reasoning", "summary": []}], []),
    "logs": (
        [
            {
                "type": "code_interpreter_call",
                "code": None,
                "outputs": [{"type": "logs", "logs": "1"}, {"type": "logs", "logs": "2"}],
            }
        ],
        [
            {
                "role": "assistant",
                "channel": "analysis",
                "recipient": "python",
                "content_type": "code",
                "content": [{"type": "text", "text": ""}],
            },
            {
                "role": "tool",
                "name": "python",
                "recipient": "assistant",
                "channel": "analysis",
                "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}],
            },
        ],
    ),
}


@pytest.mark.parametrize("name", INPUT)
def test_input_becomes_messages(name: str) -> None:
    items, expected = INPUT[name]
    made = items_to_harmony(items)
    assert made == expected
    for message in made:
        openai_harmony.Message.from_dict(message)


def test_calls_may_stand_in_the_previous_response() -> None:
    previous = [{"type": "custom_tool_call", "call_id": "c", "name": "t", "input": "x"}, {"type": "message"}]
    items = [{"type": "custom_tool_call_output", "call_id": "c", "output": "sun"}]
    [message] = items_to_harmony(items, previous=previous)
    assert (message["name"], message["content"]) == ("functions.t", [{"type": "text", "text": "sun"}])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([5], "input[0] is no object"),
        ([{"type": "function_call", "name": "f", "arguments": ""}], "input[0].call_id is missing"),
        ([{"type": "function_call", "call_id": "c", "name": "f"}], "input[0].arguments is missing"),
        ([{"type": "function_call", "call_id": "c", "name": ["f"]}], "input[0].name is no string"),
        ([{"type": "function_call_output", "output": ""}], "input[0].call_id is missing"),
        ([{"role": "user", "content": 5}], "input[0].content is no list"),
        ([{"role": "user", "content": ["x"]}], "input[0].content[0] is no object"),
        ([{"type": "web_search_call", "action": "x"}], "input[0].action is no object"),
        (
            [{"type": "code_interpreter_call", "outputs": [{"type": "logs"}]}],
            "input[0].outputs[0].logs is missing",
        ),
        ([{"type": "code_interpreter_call", "code": 5}], "input[0].code is no string"),
    ],
)
def test_what_is_wrong_is_told(items: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        items_to_harmony(items)


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"type": "image_generation_call"}, "input[0]"),
        ({}, "input[0]"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0]"),
        ({"role": "critic", "content": "x"}, "input[0].role"),
        ({"type": "function_call_output", "call_id": "c", "output": ""}, "input[0].call_id"),
        ({"type": "reasoning", "encrypted_content": "x"}, "input[0].encrypted_content"),
        ({"type": "web_search_call"}, "input[0].action"),
        ({"type": "code_interpreter_call", "outputs": [{"type": "image"}]}, "input[0].outputs[0]"),
    ],
)
def test_nothing_is_lost_in_silence(item: Json, path: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        items_to_harmony([item])
    assert caught.value.path == path
    paths: list[str] = []
    items_to_harmony([item], unsupported=paths.append)
    assert paths == [path]


def test_messages_that_were_cut_end_incomplete() -> None:
    messages = [{"role": "assistant", "channel": "analysis", "content": text} for text in ("a", "b")]
    for reason, status in [
        ("stop", None),
        ("tool_calls", None),
        ("length", "incomplete"),
        ("abort", "incomplete"),
    ]:
        first, last = harmony_to_items(messages, finish_reason=reason)
        assert (first.get("status"), last.get("status")) == (None, status)
    with pytest.raises(ValueError, match="finish_reason is"):
        harmony_to_items(messages, finish_reason="finished")


def test_messages_that_are_none() -> None:
    with pytest.raises(DecodeError, match="content_not_text"):
        harmony_to_items([{"role": "assistant", "content": [{"type": "image"}]}])
    with pytest.raises(AttributeError):
        harmony_to_items([1])
    unknown = [{"role": "assistant", "channel": "thoughts", "content": "a"}]
    assert [brief(item) for item in harmony_to_items(unknown)] == [("message", None, "a")]
    with pytest.raises(DecodeError) as caught:
        harmony_to_items(unknown, strict=True)
    assert caught.value.reason == "channel_unknown"
    summary = harmony_to_items([{**unknown[0], "channel": "analysis"}], reasoning="summary")
    assert summary[0]["summary"] == [{"type": "summary_text", "text": "a"}]


def test_the_vocabulary_of_gpt_oss_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(openai_harmony, "load_harmony_encoding", loaded.append)
    harmony_module.gpt_oss_vocabulary.cache_clear()
    try:
        assert harmony_module.gpt_oss_vocabulary() is harmony_module.gpt_oss_vocabulary()
    finally:
        harmony_module.gpt_oss_vocabulary.cache_clear()
    assert loaded == ["HarmonyGptOss"]
