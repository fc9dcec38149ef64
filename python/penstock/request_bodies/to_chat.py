"""From the body of a Responses request to that of a Chat Completions request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.request_bodies.common import (
    CALL_EXTRAS,
    ENCRYPTED,
    LOGPROBS,
    SAME,
    Converted,
    Extra,
    Json,
    Policy,
    Report,
    set_given,
)

__all__ = ["responses_request_to_chat"]


def responses_request_to_chat(
    request: Mapping[str, Any], *, unsupported: Policy = "error", extra: Extra = "unsupported"
) -> Converted:
    """The Chat Completions request that asks for what a Responses request asks for.

    Args:
        request: the body of a `POST /responses`.
        unsupported: "error" raises `UnsupportedFieldError` for what Chat Completions has no form for;
            "report" leaves it out.
        extra: "keep" passes on members that the Responses API does not know.

    Raises:
        UnsupportedFieldError: if so asked.
        ValueError: a member has a value that its API does not allow.
    """
    report = Report(unsupported, extra)
    body: Json = {key: request[key] for key in SAME if request.get(key) is not None}
    messages = []
    if instructions := request.get("instructions"):
        messages.append({"role": "developer", "content": instructions})
    body["messages"] = messages + list(_messages(request.get("input"), report))

    if (limit := request.get("max_output_tokens")) is not None:
        body["max_completion_tokens"] = limit
    if tools := request.get("tools"):
        kept = [
            made for place, tool in enumerate(tools) if (made := _chat_tool(tool, f"tools[{place}]", report))
        ]
        if kept:
            body["tools"] = kept
    if (choice := request.get("tool_choice")) is not None:
        set_given(body, "tool_choice", _chat_tool_choice(choice, report))
    text = request.get("text") or {}
    report.lose_others(text, "text", ("format", "verbosity"))
    set_given(body, "verbosity", text.get("verbosity"))
    if (layout := text.get("format")) and layout.get("type") != "text":
        body["response_format"] = (
            _wrap(layout, "json_schema") if layout.get("type") == "json_schema" else layout
        )
    reasoning = request.get("reasoning") or {}
    set_given(body, "reasoning_effort", reasoning.get("effort"))
    # Chat Completions has no choice: servers that give reasoning give all of it.
    report.lose_others(reasoning, "reasoning", ("effort", "summary", "generate_summary"))
    if (top := request.get("top_logprobs")) is not None:
        body |= {"logprobs": True, "top_logprobs": top}
    for place, wanted in enumerate(request.get("include") or ()):
        if wanted == LOGPROBS:
            body["logprobs"] = True
        elif wanted != ENCRYPTED:
            report.lose(f"include[{place}]")
    if options := request.get("stream_options"):
        body["stream_options"] = options
    if request.get("stream"):
        # A response always says its usage.
        body["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
    known = {
        *SAME, "instructions", "input", "max_output_tokens", "tools", "tool_choice", "text", "reasoning",
        "top_logprobs", "include", "stream_options",
    }  # fmt: skip
    report.rest(request, known, body, _RESPONSES_ONLY)
    return Converted(body, report.paths)


_RESPONSES_ONLY: Final = frozenset({
    "background", "conversation", "context_management", "max_tool_calls", "previous_response_id", "prompt",
    "truncation",
})  # fmt: skip


def _messages(items: Any, report: Report) -> Iterator[Json]:
    """The messages that input items stand for; what one turn of the assistant said makes one message."""
    if isinstance(items, str):
        yield {"role": "user", "content": items}
        return
    turn: Json = {}
    for place, item in enumerate(items or ()):
        path = f"input[{place}]"
        kind = item.get("type") or "message"
        is_assistant = kind == "message" and item.get("role") == "assistant"
        is_call = kind in ("function_call", "custom_tool_call")
        # A message has its reasoning before its text before its calls; what stands otherwise is another turn.
        goes_on = is_call or (is_assistant and not {"content", "tool_calls"} & turn.keys())
        if turn and not goes_on:
            yield _finish(turn)
            turn = {}
        if is_assistant:
            turn |= _assistant(item, path, report)
        elif is_call:
            turn.setdefault("tool_calls", []).append(_chat_call(item, path, report))
        elif kind == "reasoning":
            turn = _chat_reasoning(item, path, report)
        elif kind == "message":
            report.lose_others(item, path, ("type", "role", "content", "id", "status"))
            yield {"role": item["role"], "content": _chat_content(item["content"], path, report)}
        elif kind in ("function_call_output", "custom_tool_call_output"):
            report.lose_others(item, path, ("type", "id", "call_id", "output", "status"))
            content = _chat_content(item.get("output"), path, report, "output")
            yield {"role": "tool", "tool_call_id": item["call_id"], "content": content}
        else:
            report.lose(path)
    if turn:
        yield _finish(turn)


def _finish(turn: Json) -> Json:
    return {"role": "assistant", "content": None} | turn


def _assistant(item: Mapping[str, Any], path: str, report: Report) -> Json:
    report.lose_others(item, path, ("type", "role", "content", "id", "status"))
    content = item.get("content")
    if not isinstance(content, list):
        return {"content": content}
    texts, refusals = [], []
    for place, part in enumerate(content):
        if part.get("type") in ("output_text", "input_text", "text"):
            texts.append(part["text"])
        elif part.get("type") == "refusal":
            refusals.append(part["refusal"])
        else:
            report.lose(f"{path}.content[{place}]")
    turn: Json = {"content": "".join(texts) if texts else None}
    if refusals:
        turn["refusal"] = "".join(refusals)
    return turn


def _chat_call(item: Mapping[str, Any], path: str, report: Report) -> Json:
    custom = item["type"] == "custom_tool_call"
    known = {"type", "id", "status", "call_id", "name", "input" if custom else "arguments"}
    extras = {key: value for key, value in item.items() if key in CALL_EXTRAS}
    report.lose_others(item, path, known | CALL_EXTRAS)
    if custom:
        return {
            "id": item["call_id"],
            "type": "custom",
            "custom": {"name": item["name"], "input": item["input"]},
            **extras,
        }
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function, **extras}


def _chat_reasoning(item: Mapping[str, Any], path: str, report: Report) -> Json:
    known = ("type", "id", "status", "summary", "content", "encrypted_content", "reasoning_details")
    report.lose_others(item, path, known)
    texts = [part["text"] for key in ("summary", "content") for part in item.get(key) or ()]
    turn: Json = {"reasoning_content": "\n\n".join(texts)} if texts else {}
    set_given(turn, "reasoning_details", item.get("reasoning_details"))
    if encrypted := item.get("encrypted_content"):
        blocks = _thinking_blocks(encrypted)
        if blocks is None:
            report.lose(f"{path}.encrypted_content")
        else:
            turn["thinking_blocks"] = blocks
    return turn


def _thinking_blocks(encrypted: str) -> list[Json] | None:
    """The thinking blocks that a transcoder put into `encrypted_content`; None for anybody else's."""
    if not encrypted.startswith("[{"):
        return None
    try:
        blocks: list[Json] = json.loads(encrypted)
    except ValueError:
        return None
    return blocks if all(block.get("type") in ("thinking", "redacted_thinking") for block in blocks) else None


def _chat_content(content: Any, path: str, report: Report, member: str = "content") -> Any:
    if not isinstance(content, list):
        return content
    made = (_chat_part(part, f"{path}.{member}[{place}]", report) for place, part in enumerate(content))
    return [part for part in made if part is not None]


def _chat_part(part: Mapping[str, Any], path: str, report: Report) -> Json | None:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            report.lose_others(part, path, ("type", "text", "annotations", "logprobs"))
            return {"type": "text", "text": part["text"]}
        case "input_image" if part.get("image_url"):
            report.lose_others(part, path, ("type", "image_url", "detail"))
            image = {"url": part["image_url"]}
            set_given(image, "detail", part.get("detail"))
            return {"type": "image_url", "image_url": image}
        case "input_file" if not part.get("file_url"):
            report.lose_others(part, path, ("type", "file_id", "file_data", "filename", "file_url"))
            file = {
                key: part[key] for key in ("file_id", "file_data", "filename") if part.get(key) is not None
            }
            return {"type": "file", "file": file}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            report.lose(path)
            return None


def _chat_tool(tool: Mapping[str, Any], path: str, report: Report) -> Json | None:
    if tool.get("type") in ("function", "custom"):
        return _wrap(tool, tool["type"])
    report.lose(path)
    return None


def _wrap(value: Mapping[str, Any], kind: str) -> Json:
    """Chat Completions has the members of a tool or format one level below its type."""
    return {"type": kind, kind: {key: item for key, item in value.items() if key != "type"}}


def _chat_tool_choice(choice: Any, report: Report) -> Any:
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return _wrap(choice, kind)
    if kind == "allowed_tools":
        tools = [
            made
            for place, tool in enumerate(choice["tools"])
            if (made := _chat_tool(tool, f"tool_choice.tools[{place}]", report))
        ]
        return {"type": kind, kind: {"mode": choice["mode"], "tools": tools}}
    report.lose("tool_choice")
    return None
