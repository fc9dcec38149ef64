"""Request bodies between the two APIs: each member as a row, both ways, and nothing lost in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.request_bodies import (
    Converted,
    UnsupportedFieldError,
    chat_request_to_responses,
    responses_request_to_chat,
)

Json = dict[str, Any]
Convert = Callable[..., Converted]

SCHEMA = {"name": "s", "schema": {"type": "object"}, "strict": True}
FUNCTION = {"name": "f", "parameters": {}, "strict": False}
BLOCKS = [{"type": "thinking", "thinking": "a", "signature": "s"}]
ENCRYPTED = '[{"type":"thinking","thinking":"a","signature":"s"}]'

BOTH: dict[str, tuple[Json, Json]] = {
    "what both spell alike": (
        {"model": "m", "temperature": 0.5, "top_p": 1, "metadata": {"a": "b"}, "user": "u"},
        {"model": "m", "temperature": 0.5, "top_p": 1, "metadata": {"a": "b"}, "user": "u"},
    ),
    "limits": ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
    "verbosity": ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    "schema": (
        {"text": {"format": {"type": "json_schema", **SCHEMA}}},
        {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    ),
    "json object": (
        {"text": {"format": {"type": "json_object"}}},
        {"response_format": {"type": "json_object"}},
    ),
    "effort": ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    "logprobs": (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 2},
    ),
    "tools": (
        {"tools": [{"type": "function", **FUNCTION}, {"type": "custom", "name": "c"}]},
        {"tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": {"name": "c"}}]},
    ),
    "tool choice": ({"tool_choice": "required"}, {"tool_choice": "required"}),
    "tool choice by name": (
        {"tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "allowed tools": (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            }
        },
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            }
        },
    ),
    "messages": (
        {
            "input": [
                {"type": "message", "role": "developer", "content": "d"},
                {"type": "message", "role": "user", "content": "u"},
            ]
        },
        {"messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}]},
    ),
    "images and files": (
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "t"},
                        {"type": "input_image", "image_url": "https://i", "detail": "low"},
                        {"type": "input_file", "file_id": "f"},
                        {"type": "input_file", "filename": "n", "file_data": "data:"},
                        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "t"},
                        {"type": "image_url", "image_url": {"url": "https://i", "detail": "low"}},
                        {"type": "file", "file": {"file_id": "f"}},
                        {"type": "file", "file": {"filename": "n", "file_data": "data:"}},
                        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                    ],
                }
            ]
        },
    ),
    "a turn with calls": (
        {
            "input": [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "r"}],
                    "encrypted_content": ENCRYPTED,
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "t", "annotations": []},
                        {"type": "refusal", "refusal": "no"},
                    ],
                },
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "extra_content": 1},
                {"type": "custom_tool_call", "call_id": "b", "name": "g", "input": "x"},
                {"type": "function_call_output", "call_id": "a", "output": "1"},
                {"type": "custom_tool_call_output", "call_id": "b", "output": "2"},
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "t",
                    "refusal": "no",
                    "reasoning_content": "r",
                    "thinking_blocks": BLOCKS,
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": 1,
                        },
                        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "x"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "1"},
                {"role": "tool", "tool_call_id": "b", "content": "2"},
            ]
        },
    ),
}


@pytest.mark.parametrize("row", BOTH.values(), ids=BOTH.keys())
def test_both_ways(row: tuple[Json, Json]) -> None:
    responses, chat = copy.deepcopy(row)
    there = responses_request_to_chat(responses)
    assert there == ({"messages": [], **chat}, [])
    back = chat_request_to_responses(chat)
    assert back == ({"input": [], "store": False, **responses}, [])
    assert (responses, chat) == row


TO_CHAT: dict[str, tuple[Json, Json]] = {
    "text input and instructions": (
        {"instructions": "i", "input": "u"},
        {"messages": [{"role": "developer", "content": "i"}, {"role": "user", "content": "u"}]},
    ),
    "streams say their usage": (
        {"stream": True},
        {"messages": [], "stream": True, "stream_options": {"include_usage": True}},
    ),
    "text format": ({"text": {"format": {"type": "text"}}}, {"messages": []}),
    "defaults": ({"truncation": "disabled", "background": False, "user": None}, {"messages": []}),
    "encrypted reasoning asked for": ({"include": ["reasoning.encrypted_content"]}, {"messages": []}),
    "two turns": (
        {
            "input": [
                {"role": "assistant", "content": "a"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
                {"role": "assistant", "content": "b"},
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "a",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                },
                {"role": "assistant", "content": "b"},
            ]
        },
    ),
    "calls alone": (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                }
            ]
        },
    ),
    "output as parts": (
        {
            "input": [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_text", "text": "t"}],
                }
            ]
        },
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "t"}]}]},
    ),
}

TO_RESPONSES: dict[str, tuple[Json, Json]] = {
    "limit of old": ({"max_tokens": 5}, {"max_output_tokens": 5}),
    "functions of old": (
        {
            "functions": [{"name": "f"}],
            "function_call": {"name": "f"},
            "messages": [
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "1"},
            ],
        },
        {
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": {"type": "function", "name": "f"},
            "input": [
                {"type": "function_call", "call_id": "call_f", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_f", "output": "1"},
            ],
        },
    ),
    "not strict unless said": (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"type": "function", "name": "f", "strict": False}]},
    ),
    "stored if said": ({"store": True}, {"store": True}),
    "usage is always said": ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    "defaults": ({"n": 1, "logit_bias": {}, "presence_penalty": 0, "stop": None}, {}),
    "parts of the assistant": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "n"}],
                }
            ]
        },
        {
            "input": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "t", "annotations": []},
                        {"type": "refusal", "refusal": "n"},
                    ],
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("row", TO_CHAT.values(), ids=TO_CHAT.keys())
def test_to_chat(row: tuple[Json, Json]) -> None:
    assert responses_request_to_chat(row[0]) == (row[1], [])


@pytest.mark.parametrize("row", TO_RESPONSES.values(), ids=TO_RESPONSES.keys())
def test_to_responses(row: tuple[Json, Json]) -> None:
    assert chat_request_to_responses(row[0]) == ({"input": [], "store": False, **row[1]}, [])


LOST: list[tuple[Convert, Json, str]] = [
    (responses_request_to_chat, {"previous_response_id": "r"}, "previous_response_id"),
    (responses_request_to_chat, {"background": True}, "background"),
    (responses_request_to_chat, {"future": 1}, "future"),
    (responses_request_to_chat, {"tools": [{"type": "web_search"}]}, "tools[0]"),
    (responses_request_to_chat, {"tool_choice": {"type": "web_search"}}, "tool_choice"),
    (responses_request_to_chat, {"include": ["x"]}, "include[0]"),
    (responses_request_to_chat, {"text": {"x": 1}}, "text.x"),
    (responses_request_to_chat, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    (
        responses_request_to_chat,
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}]},
        "input[0].encrypted_content",
    ),
    (
        responses_request_to_chat,
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "[{"}]},
        "input[0].encrypted_content",
    ),
    (
        responses_request_to_chat,
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
        "input[0].content[0]",
    ),
    (
        responses_request_to_chat,
        {"input": [{"role": "assistant", "content": [{"type": "x"}]}]},
        "input[0].content[0]",
    ),
    (
        responses_request_to_chat,
        {"input": [{"role": "assistant", "content": "t", "phase": "commentary"}]},
        "input[0].phase",
    ),
    (chat_request_to_responses, {"stop": ["x"]}, "stop"),
    (chat_request_to_responses, {"n": 2}, "n"),
    (chat_request_to_responses, {"future": 1}, "future"),
    (chat_request_to_responses, {"tools": [{"type": "x"}]}, "tools[0]"),
    (chat_request_to_responses, {"tool_choice": {"type": "x"}}, "tool_choice"),
    (
        chat_request_to_responses,
        {"messages": [{"role": "user", "content": "t", "name": "n"}]},
        "messages[0].name",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "user", "content": [{"type": "x"}]}]},
        "messages[0].content[0]",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "assistant", "content": [{"type": "x"}]}]},
        "messages[0].content[0]",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "assistant", "audio": {"id": "a"}}]},
        "messages[0].audio",
    ),
]


@pytest.mark.parametrize(("convert", "request_", "path"), LOST, ids=[row[2] for row in LOST])
def test_nothing_is_lost_in_silence(convert: Convert, request_: Json, path: str) -> None:
    with pytest.raises(UnsupportedFieldError) as raised:
        convert(request_)
    assert raised.value.path == path
    assert isinstance(raised.value, PenstockError)
    assert convert(request_, unsupported="report").unsupported == [path]


def test_what_neither_api_knows_may_be_kept() -> None:
    for convert in (chat_request_to_responses, responses_request_to_chat):
        assert convert({"top_k": 5}, extra="keep").body["top_k"] == 5
    assert chat_request_to_responses({"stop": "x"}, extra="keep", unsupported="report").unsupported == [
        "stop"
    ]


@pytest.mark.parametrize(
    ("convert", "request_"),
    [
        (chat_request_to_responses, {"messages": [{"role": "king", "content": ""}]}),
        (chat_request_to_responses, {"messages": [{"role": "assistant", "tool_calls": [{"type": "x"}]}]}),
    ],
)
def test_what_no_api_has(convert: Convert, request_: Json) -> None:
    with pytest.raises(ValueError, match="does not have"):
        convert(request_)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="unsupported is"):
        chat_request_to_responses({}, unsupported="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="extra is"):
        responses_request_to_chat({}, extra="x")  # type: ignore[arg-type]
