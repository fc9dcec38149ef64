"""Request bodies between the two APIs: each member as a row, both ways, and nothing lost in silence."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
GRAMMAR = {"syntax": "lark", "definition": "start: /a/"}
CITATION = {"url": "https://u", "title": "", "start_index": 0, "end_index": 1}
NONE_NEEDED = {"type": "object", "properties": {}}
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
    "a tool with a grammar": (
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}]},
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {"name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}},
                }
            ]
        },
    ),
    "what is of the prompt's cache and of moderation": (
        {"prompt_cache_options": {"mode": "explicit"}, "moderation": {"model": "m"}},
        {"prompt_cache_options": {"mode": "explicit"}, "moderation": {"model": "m"}},
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
                        {
                            "type": "input_file",
                            "file_id": "f",
                            "prompt_cache_breakpoint": {"mode": "explicit"},
                        },
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
                        {
                            "type": "file",
                            "file": {"file_id": "f"},
                            "prompt_cache_breakpoint": {"mode": "explicit"},
                        },
                        {"type": "file", "file": {"filename": "n", "file_data": "data:"}},
                        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                    ],
                }
            ]
        },
    ),
    "citations": (
        {
            "input": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "t",
                            "annotations": [{"type": "url_citation", **CITATION}],
                        }
                    ],
                },
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "t",
                    "annotations": [{"type": "url_citation", "url_citation": CITATION}],
                },
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
    "a turn whose call waits for its output": (
        {
            "input": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "q"}]},
                {"role": "assistant", "content": "a"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "r"}],
                    "encrypted_content": ENCRYPTED,
                    "reasoning_details": [{"d": 1}],
                },
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "b",
                            "annotations": [{"type": "url_citation", **CITATION}],
                        }
                    ],
                },
                {"type": "function_call_output", "call_id": "c", "output": "1"},
                {"role": "assistant", "content": "e"},
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "reasoning_content": "q\n\nr",
                    "reasoning_details": [{"d": 1}],
                    "thinking_blocks": BLOCKS,
                    "content": "ab",
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {**CITATION, "start_index": 1, "end_index": 2},
                        }
                    ],
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "assistant", "content": "e"},
            ]
        },
    ),
    "a citation that does not say where": (
        {
            "input": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a", "annotations": [{"type": "url_citation", "url": "u"}]}
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "a",
                    "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
                }
            ]
        },
    ),
    "no log probabilities": ({"top_logprobs": 0}, {"messages": []}),
    "reasoning in two items": (
        {
            "input": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "q"}]},
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]},
                {"role": "assistant", "content": "a"},
            ]
        },
        {"messages": [{"role": "assistant", "reasoning_content": "q\n\nr", "content": "a"}]},
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
            "tools": [{"type": "function", "name": "f", "strict": False, "parameters": NONE_NEEDED}],
            "tool_choice": {"type": "function", "name": "f"},
            "input": [
                {"type": "function_call", "call_id": "call_f", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_f", "output": "1"},
            ],
        },
    ),
    "not strict unless said": (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"type": "function", "name": "f", "strict": False, "parameters": NONE_NEEDED}]},
    ),
    "functions of old, called twice": (
        {
            "messages": [
                {"role": "assistant", "function_call": {"name": "f", "arguments": "1"}},
                {"role": "function", "name": "f", "content": "a"},
                {"role": "assistant", "function_call": {"name": "f", "arguments": "2"}},
                {"role": "function", "name": "f", "content": None},
            ],
        },
        {
            "input": [
                {"type": "function_call", "call_id": "call_f", "name": "f", "arguments": "1"},
                {"type": "function_call_output", "call_id": "call_f", "output": "a"},
                {"type": "function_call", "call_id": "call_f_2", "name": "f", "arguments": "2"},
                {"type": "function_call_output", "call_id": "call_f_2", "output": ""},
            ],
        },
    ),
    "log probabilities not asked for": ({"logprobs": False, "top_logprobs": 0}, {}),
    "other tools that are allowed": (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "mcp", "server_label": "s"}]},
            }
        },
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "mcp", "server_label": "s"}],
            }
        },
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
    (responses_request_to_chat, {"input": [{"id": "msg_1"}]}, "input[0]"),
    (
        responses_request_to_chat,
        {"input": [{"type": "function_call_output", "output": "", "call_id": None}]},
        "input[0]",
    ),
    (
        responses_request_to_chat,
        {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}, "x": 1}]}]},
        "input[0].content[0].x",
    ),
    (
        responses_request_to_chat,
        {
            "input": [
                {
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "", "annotations": [{"type": "file_path"}]}],
                }
            ]
        },
        "input[0].content[0].annotations[0]",
    ),
    (
        responses_request_to_chat,
        {"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
        "tools[0].defer_loading",
    ),
    (
        responses_request_to_chat,
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "x": 1}}},
        "text.format.x",
    ),
    (chat_request_to_responses, {"stop": ["x"]}, "stop"),
    (chat_request_to_responses, {"top_logprobs": 2}, "top_logprobs"),
    (
        chat_request_to_responses,
        {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]},
        "tools[0].function.x",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}, "x": 1}]}]},
        "messages[0].content[0].x",
    ),
    (
        chat_request_to_responses,
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "x": 1}}]}
            ]
        },
        "messages[0].content[0].image_url.x",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "t", "x": 1}]}]},
        "messages[0].content[0].x",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "assistant", "content": "t", "annotations": [{"type": "x"}]}]},
        "messages[0].annotations[0]",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "assistant", "content": "t", "reasoning": {"x": 1}}]},
        "messages[0].reasoning",
    ),
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
    chat = {"messages": [{"role": "user", "content": [{"type": "text", "text": "t", "cache": 1}]}]}
    kept = chat_request_to_responses(chat, extra="keep").body
    assert kept["input"][0]["content"] == [{"type": "input_text", "text": "t", "cache": 1}]
    assert responses_request_to_chat(kept, extra="keep").body["messages"] == chat["messages"]
    for request, path in (
        ({"messages": [{"role": "user", "content": "t", "name": "n"}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
    ):
        assert chat_request_to_responses(request, extra="keep", unsupported="report").unsupported == [path]


MARK = "a mark"
CHAT_MEMBERS: dict[str, Any] = {
    "audio": {"voice": MARK, "format": "mp3"},
    "frequency_penalty": 0.5,
    "function_call": {"name": MARK},
    "functions": [{"name": MARK, "description": "d", "parameters": {"type": "object"}}],
    "logit_bias": {"5": 1},
    "max_completion_tokens": 77,
    "max_tokens": 77,
    "messages": [{"role": "user", "content": MARK}],
    "metadata": {"m": MARK},
    "modalities": ["audio"],
    "model": MARK,
    "moderation": {"model": MARK},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": MARK},
    "presence_penalty": 0.5,
    "prompt_cache_key": MARK,
    "prompt_cache_options": {"mode": MARK},
    "prompt_cache_retention": MARK,
    "reasoning_effort": MARK,
    "response_format": {"type": "json_schema", "json_schema": {"name": MARK, "schema": {}}},
    "safety_identifier": MARK,
    "seed": 77,
    "service_tier": MARK,
    "stop": MARK,
    "store": True,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "temperature": 0.5,
    "tool_choice": {"type": "custom", "custom": {"name": MARK}},
    "tools": [{"type": "function", "function": {"name": MARK}}],
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": MARK,
    "verbosity": MARK,
    "web_search_options": {"search_context_size": MARK},
}
RESPONSES_MEMBERS: dict[str, Any] = {
    "access_programs": {"cyber": MARK},
    "background": True,
    "context_management": [{"type": MARK}],
    "conversation": MARK,
    "image": {"context_compression": MARK},
    "include": [MARK],
    "input": MARK,
    "instructions": MARK,
    "max_output_tokens": 77,
    "max_tool_calls": 77,
    "metadata": {"m": MARK},
    "model": MARK,
    "moderation": {"model": MARK},
    "parallel_tool_calls": False,
    "previous_response_id": MARK,
    "prompt": {"id": MARK},
    "prompt_cache_key": MARK,
    "prompt_cache_options": {"mode": MARK},
    "prompt_cache_retention": MARK,
    "reasoning": {"context": MARK},
    "safety_identifier": MARK,
    "service_tier": MARK,
    "store": True,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "temperature": 0.5,
    "text": {"format": {"type": "json_schema", "name": MARK, "schema": {}}},
    "tool_choice": {"type": "mcp", "server_label": MARK},
    "tools": [{"type": "mcp", "server_label": MARK}],
    "top_logprobs": 2,
    "top_p": 0.5,
    "truncation": "auto",
    "user": MARK,
}
ITEMS = (
    "file_search_call", "computer_call", "computer_call_output", "web_search_call", "tool_search_call",
    "tool_search_output", "additional_tools", "configuration_update", "compaction", "compaction_trigger",
    "image_generation_call", "code_interpreter_call", "local_shell_call", "local_shell_call_output",
    "shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output", "mcp_list_tools",
    "mcp_approval_request", "mcp_approval_response", "mcp_call", "item_reference", "program",
    "program_output", "of the future",
)  # fmt: skip


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from leaves(element)
    else:
        yield value


@pytest.mark.parametrize(
    ("convert", "member", "value"),
    [(chat_request_to_responses, *row) for row in CHAT_MEMBERS.items()]
    + [(responses_request_to_chat, *row) for row in RESPONSES_MEMBERS.items()]
    + [(responses_request_to_chat, "input", [{"type": kind, "id": "x"}]) for kind in ITEMS],
)
def test_every_member_is_carried_or_reported(convert: Convert, member: str, value: Any) -> None:
    body, lost = convert({member: value}, unsupported="report")
    if lost:
        assert len(lost) == 1
        assert re.match(rf"{member}\b", lost[0])
    else:
        said = list(leaves(body))
        assert all(leaf in said for leaf in leaves(value))


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


WRONG: list[tuple[Convert, Json, str]] = [
    (
        responses_request_to_chat,
        {"input": [{"type": "message", "role": "user"}]},
        "input[0].content is missing",
    ),
    (responses_request_to_chat, {"input": [{"type": "message"}]}, "input[0].role is missing"),
    (responses_request_to_chat, {"input": [1]}, "input[0] is no object"),
    (responses_request_to_chat, {"input": {}}, "input is no list"),
    (responses_request_to_chat, {"input": [{"type": [1]}]}, "input[0].type is no string"),
    (responses_request_to_chat, {"tools": "x"}, "tools is no list"),
    (responses_request_to_chat, {"text": "x"}, "text is no object"),
    (
        responses_request_to_chat,
        {"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
        "input[0].arguments is missing",
    ),
    (chat_request_to_responses, {"messages": [{}]}, "messages[0].role is missing"),
    (
        chat_request_to_responses,
        {"messages": [{"role": "tool", "content": ""}]},
        "messages[0].tool_call_id is missing",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}]},
        "messages[0].content[0].image_url is no object",
    ),
    (
        chat_request_to_responses,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
        "messages[0].content[0].text is no string",
    ),
]


@pytest.mark.parametrize(("convert", "request_", "message"), WRONG, ids=[row[2] for row in WRONG])
def test_what_is_wrong_is_told(convert: Convert, request_: Json, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        convert(request_)


@given(st.data())
def test_any_body_is_converted_or_refused(data: st.DataObject) -> None:
    convert, column, rows = data.draw(
        st.sampled_from(
            [(responses_request_to_chat, 0, TO_CHAT), (chat_request_to_responses, 1, TO_RESPONSES)]
        )
    )
    both = [row[column] for row in BOTH.values()]
    body = copy.deepcopy(data.draw(st.sampled_from([*both, *(row[0] for row in rows.values())])))
    places = list(spots(body))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(st.sampled_from([None, 5, "x", [], {}, [1], [[]], {"a": 1}, {"type": []}]))
    policy, extra = data.draw(
        st.tuples(st.sampled_from(["error", "report"]), st.sampled_from(["unsupported", "keep"]))
    )
    with contextlib.suppress(ValueError):
        convert(body, unsupported=policy, extra=extra)


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a value: what holds it, and under which key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from spots(value[key])


@pytest.mark.parametrize(
    "request_", [*(row[0] for row in BOTH.values()), *(row[0] for row in TO_CHAT.values())]
)
def test_the_openai_package_knows_what_is_made_for_chat(request_: Json) -> None:
    types = pytest.importorskip("openai.types.chat.completion_create_params")
    made = responses_request_to_chat({"model": "m", **request_}).body
    check(types.CompletionCreateParamsStreaming, {"stream": True, **made})


@pytest.mark.parametrize(
    "request_", [*(row[1] for row in BOTH.values()), *(row[0] for row in TO_RESPONSES.values())]
)
def test_the_openai_package_knows_what_is_made_for_responses(request_: Json) -> None:
    types = pytest.importorskip("openai.types.responses.response_create_params")
    made = chat_request_to_responses({"model": "m", **request_}).body
    # What was said needs no id, though the package's types have one; sound is in none of its lists.
    made["input"] = [
        {"id": "x", "status": "completed", **item, **({"content": silent(item)} if "content" in item else {})}
        for item in made["input"]
    ]
    check(types.ResponseCreateParamsStreaming, {"stream": True, **made})


def silent(item: Json) -> Any:
    content = item["content"]
    if not isinstance(content, list):
        return content
    return [part for part in content if part["type"] != "input_audio"]


def check(kind: Any, body: Json) -> None:
    from pydantic import TypeAdapter  # noqa: PLC0415 - comes with the openai package

    TypeAdapter(kind).validate_python(body)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="unsupported is"):
        chat_request_to_responses({}, unsupported="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="extra is"):
        responses_request_to_chat({}, extra="x")  # type: ignore[arg-type]
