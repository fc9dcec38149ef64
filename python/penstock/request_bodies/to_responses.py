"""From the body of a Chat Completions request to that of a Responses request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.request_bodies.common import (
    CALL_EXTRAS,
    LOGPROBS,
    SAME,
    Converted,
    Extra,
    Json,
    Policy,
    Report,
    set_given,
)

__all__ = ["chat_request_to_responses"]


def chat_request_to_responses(
    request: Mapping[str, Any], *, unsupported: Policy = "error", extra: Extra = "unsupported"
) -> Converted:
    """The Responses request that asks for what a Chat Completions request asks for.

    System and developer messages stay in the input, where they stand. The response is not stored unless the
    request says so: a Chat Completions client does not expect it.

    Args:
        request: the body of a `POST /chat/completions`.
        unsupported: "error" raises `UnsupportedFieldError` for what Responses has no form for; "report"
            leaves it out.
        extra: "keep" passes on members that the Chat Completions API does not know.

    Raises:
        UnsupportedFieldError: if so asked.
        ValueError: a member has a value that its API does not allow.
    """
    report = Report(unsupported, extra)
    body: Json = {key: request[key] for key in SAME if request.get(key) is not None}
    body.setdefault("store", False)
    customs: set[str] = set()
    body["input"] = [
        item
        for place, message in enumerate(request.get("messages") or ())
        for item in _items(message, f"messages[{place}]", customs, report)
    ]
    for key in ("max_tokens", "max_completion_tokens"):
        if (limit := request.get(key)) is not None:
            body["max_output_tokens"] = limit
    tools = [
        made
        for place, tool in enumerate(request.get("tools") or ())
        if (made := _response_tool(tool, f"tools[{place}]", report))
    ]
    tools += [{"type": "function", **function} for function in request.get("functions") or ()]
    if tools:
        body["tools"] = tools
    choice = request.get("tool_choice", request.get("function_call"))
    if choice is not None:
        set_given(body, "tool_choice", _response_tool_choice(choice, report))
    text: Json = {}
    set_given(text, "verbosity", request.get("verbosity"))
    if layout := request.get("response_format"):
        schema = layout.get("type") == "json_schema"
        text["format"] = _unwrap(layout, "json_schema", "response_format", report) if schema else layout
    if text:
        body["text"] = text
    if (effort := request.get("reasoning_effort")) is not None:
        body["reasoning"] = {"effort": effort}
    if request.get("logprobs"):
        body["include"] = [LOGPROBS]
        set_given(body, "top_logprobs", request.get("top_logprobs"))
    if options := request.get("stream_options"):
        kept = {key: value for key, value in options.items() if key != "include_usage"}
        if kept:
            body["stream_options"] = kept
    known = {
        *SAME, "messages", "max_tokens", "max_completion_tokens", "tools", "functions", "tool_choice",
        "function_call", "verbosity", "response_format", "reasoning_effort", "logprobs", "top_logprobs",
        "stream_options",
    }  # fmt: skip
    report.rest(request, known, body, _CHAT_ONLY)
    return Converted(body, report.paths)


_CHAT_ONLY: Final = frozenset({
    "audio", "frequency_penalty", "logit_bias", "logprobs", "modalities", "n", "prediction",
    "presence_penalty", "seed", "stop", "web_search_options",
})  # fmt: skip


def _items(message: Mapping[str, Any], path: str, customs: set[str], report: Report) -> Iterator[Json]:
    """The input items that a message stands for. `customs` are the ids of the custom tool calls so far."""
    role = message["role"]
    content = message.get("content")
    match role:
        case "system" | "developer" | "user":
            report.lose_others(message, path, ("role", "content"))
            yield {"type": "message", "role": role, "content": _response_content(content, path, report)}
        case "assistant":
            yield from _assistant_items(message, path, customs, report)
        case "tool":
            report.lose_others(message, path, ("role", "content", "tool_call_id"))
            call_id = message["tool_call_id"]
            kind = "custom_tool_call_output" if call_id in customs else "function_call_output"
            yield {"type": kind, "call_id": call_id, "output": _response_content(content, path, report)}
        case "function":
            report.lose_others(message, path, ("role", "content", "name"))
            yield {"type": "function_call_output", "call_id": _legacy_id(message["name"]), "output": content}
        case _:
            raise ValueError(f"{path}.role is {role!r}, which Chat Completions does not have")


def _assistant_items(
    message: Mapping[str, Any], path: str, customs: set[str], report: Report
) -> Iterator[Json]:
    reasoning = _response_reasoning(message)
    if reasoning:
        yield reasoning
    parts: list[Json] = []
    content = message.get("content")
    if isinstance(content, str) and content:
        parts.append(_output_text(content))
    for place, part in enumerate(content if isinstance(content, list) else ()):
        if part.get("type") == "text":
            parts.append(_output_text(part["text"]))
        elif part.get("type") == "refusal":
            parts.append({"type": "refusal", "refusal": part["refusal"]})
        else:
            report.lose(f"{path}.content[{place}]")
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        yield {"type": "message", "role": "assistant", "content": parts}
    for place, call in enumerate(message.get("tool_calls") or ()):
        yield _response_call(call, f"{path}.tool_calls[{place}]", customs, report)
    if function := message.get("function_call"):
        yield {"type": "function_call", "call_id": _legacy_id(function["name"]), **function}
    known = (
        "role", "content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning",
        "thinking_blocks", "reasoning_details", "annotations",
    )  # fmt: skip
    report.lose_others(message, path, known)


def _output_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": []}


def _legacy_id(name: str) -> str:
    """Function calls of old have no id; their answers name the function."""
    return f"call_{name}"


def _response_reasoning(message: Mapping[str, Any]) -> Json | None:
    item: Json = {}
    text = message.get("reasoning_content") or message.get("reasoning")
    set_given(item, "reasoning_details", message.get("reasoning_details"))
    if blocks := message.get("thinking_blocks"):
        item["encrypted_content"] = json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))
    if not item and not text:
        return None
    summary = [{"type": "summary_text", "text": text}] if isinstance(text, str) and text else []
    return {"type": "reasoning", "summary": summary, **item}


def _response_call(call: Mapping[str, Any], path: str, customs: set[str], report: Report) -> Json:
    kind = call.get("type") or "function"
    if kind not in ("function", "custom"):
        raise ValueError(f"{path}.type is {kind!r}, which Chat Completions does not have")
    report.lose_others(call, path, {"id", "type", kind, "index"} | CALL_EXTRAS)
    extras = {key: value for key, value in call.items() if key in CALL_EXTRAS}
    if kind == "custom":
        customs.add(call["id"])
        return {"type": "custom_tool_call", "call_id": call["id"], **call["custom"], **extras}
    return {"type": "function_call", "call_id": call["id"], **call["function"], **extras}


def _response_content(content: Any, path: str, report: Report) -> Any:
    if not isinstance(content, list):
        return content
    made = (_response_part(part, f"{path}.content[{place}]", report) for place, part in enumerate(content))
    return [part for part in made if part is not None]


def _response_part(part: Mapping[str, Any], path: str, report: Report) -> Json | None:
    match part.get("type"):
        case "text":
            report.lose_others(part, path, ("type", "text"))
            return {"type": "input_text", "text": part["text"]}
        case "image_url":
            image = part["image_url"]
            report.lose_others(image, f"{path}.image_url", ("url", "detail"))
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
        case "file":
            file = part["file"]
            report.lose_others(file, f"{path}.file", ("file_id", "file_data", "filename"))
            return {"type": "input_file", **{key: value for key, value in file.items() if value is not None}}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            report.lose(path)
            return None


def _response_tool(tool: Mapping[str, Any], path: str, report: Report) -> Json | None:
    kind = tool.get("type")
    if kind in ("function", "custom"):
        made = _unwrap(tool, kind, path, report)
        if kind == "function":
            # Responses is strict where nothing is said, Chat Completions is not.
            made.setdefault("strict", False)
        return made
    report.lose(path)
    return None


def _response_tool_choice(choice: Any, report: Report) -> Any:
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    if kind is None and "name" in choice:
        return {"type": "function", "name": choice["name"]}
    if kind in ("function", "custom"):
        return _unwrap(choice, kind, "tool_choice", report)
    if kind == "allowed_tools":
        allowed = choice[kind]
        tools = [_named(tool) for tool in allowed["tools"]]
        return {"type": kind, "mode": allowed["mode"], "tools": tools}
    report.lose("tool_choice")
    return None


def _named(tool: Mapping[str, Any]) -> Json:
    return {"type": tool["type"], **tool[tool["type"]]}


def _unwrap(value: Mapping[str, Any], kind: str, path: str, report: Report) -> Json:
    report.lose_others(value, path, ("type", kind))
    return {"type": kind, **value[kind]}
