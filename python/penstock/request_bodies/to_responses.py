"""From the body of a Chat Completions request to that of a Responses request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.request_bodies.common import (
    CACHE_BREAKPOINT,
    CALL_EXTRAS,
    CUSTOM,
    FUNCTION,
    LOGPROBS,
    SAME,
    SCHEMA,
    Converted,
    Extra,
    Json,
    Policy,
    Report,
    each,
    mapping,
    need,
    pick,
    set_given,
    text,
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
    body: Json = {"store": False, **pick(request, SAME)}
    body["input"] = list(_Messages(report).items(request.get("messages")))
    for key in ("max_tokens", "max_completion_tokens"):
        set_given(body, "max_output_tokens", request.get(key))
    if tools := list(_tools(request, report)):
        body["tools"] = tools
    choice = request.get("tool_choice")
    set_given(
        body, "tool_choice", _tool_choice(request.get("function_call") if choice is None else choice, report)
    )
    if how := _text(request, report):
        body["text"] = how
    if (effort := request.get("reasoning_effort")) is not None:
        body["reasoning"] = {"effort": effort}
    known = {
        *SAME, "messages", "max_tokens", "max_completion_tokens", "tools", "functions", "tool_choice",
        "function_call", "verbosity", "response_format", "reasoning_effort", "stream_options",
    }  # fmt: skip
    if request.get("logprobs"):
        body["include"] = [LOGPROBS]
        set_given(body, "top_logprobs", request.get("top_logprobs"))
        known |= {"logprobs", "top_logprobs"}
    # A response always says its usage.
    options = mapping(request.get("stream_options"), "stream_options")
    if kept := {key: value for key, value in options.items() if key != "include_usage"}:
        body["stream_options"] = kept
    report.rest(request, "", known, body, _CHAT_ONLY)
    return Converted(body, report.paths)


_CHAT_ONLY: Final = frozenset({
    "audio", "frequency_penalty", "logit_bias", "logprobs", "modalities", "n", "prediction",
    "presence_penalty", "seed", "stop", "top_logprobs", "web_search_options",
})  # fmt: skip


class _Messages:
    """Makes items of messages."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._customs: set[str] = set()
        """Ids of the custom tool calls so far."""
        self._legacy: Counter[str] = Counter()
        """How often each function was called by calls without ids; their answers name the function."""

    def items(self, messages: Any) -> Iterator[Json]:
        """The input items that messages stand for."""
        for path, message in each(messages, "messages"):
            role = need(message, "role", path)
            if role == "assistant":
                yield from self._said(message, path)
            elif role in ("system", "developer", "user"):
                item = {"type": "message", "role": role, "content": self._content(message, path)}
                yield self._finish(item, message, path, ("role", "content"), ("name",))
            elif role == "tool":
                call_id = text(message, "tool_call_id", path)
                kind = "custom_tool_call_output" if call_id in self._customs else "function_call_output"
                item = {"type": kind, "call_id": call_id, "output": self._content(message, path)}
                yield self._finish(item, message, path, ("role", "content", "tool_call_id"))
            elif role == "function":
                name = text(message, "name", path)
                item = {"type": "function_call_output", "call_id": self._legacy_id(name)}
                item["output"] = message.get("content") or ""
                yield self._finish(item, message, path, ("role", "content", "name"))
            else:
                raise ValueError(f"{path}.role is one that Chat Completions does not have")

    def _finish(
        self,
        item: Json,
        message: Mapping[str, Any],
        path: str,
        known: tuple[str, ...],
        own: tuple[str, ...] = (),
    ) -> Json:
        self._report.rest(message, path, known, item, own)
        return item

    def _said(self, message: Mapping[str, Any], path: str) -> Iterator[Json]:
        """The items of a message of the assistant."""
        if reasoning := self._reasoning(message, path):
            yield reasoning
        kept: Json = {}
        known = (
            "role", "content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning",
            "thinking_blocks", "reasoning_details", "annotations",
        )  # fmt: skip
        self._report.rest(message, path, known, kept, ("audio", "name"))
        if parts := self._said_parts(message, path):
            yield {"type": "message", "role": "assistant", "content": parts, **kept}
        for call_path, call in each(message.get("tool_calls"), f"{path}.tool_calls"):
            yield self._call(call, call_path)
        if function := mapping(message.get("function_call"), f"{path}.function_call"):
            yield self._legacy_call(function, f"{path}.function_call")

    def _said_parts(self, message: Mapping[str, Any], path: str) -> list[Json]:
        """The parts of a message of the assistant."""
        parts: list[Json] = []
        content = message.get("content")
        if isinstance(content, list):
            for part_path, part in each(content, f"{path}.content"):
                kind = part.get("type")
                if kind == "text":
                    parts.append(_output_text(text(part, "text", part_path)))
                elif kind == "refusal":
                    parts.append({"type": "refusal", "refusal": text(part, "refusal", part_path)})
                else:
                    self._report.lose(part_path)
                    continue
                self._report.rest(part, part_path, ("type", kind))
        elif content:
            parts.append(_output_text(text(message, "content", path)))
        if message.get("refusal"):
            parts.append({"type": "refusal", "refusal": text(message, "refusal", path)})
        self._cite(message, parts, path)
        return parts

    def _cite(self, message: Mapping[str, Any], parts: list[Json], path: str) -> None:
        """Put the annotations of a message where they stand: in its text, if that is one part."""
        texts = [part for part in parts if part["type"] == "output_text"]
        for place, annotation in each(message.get("annotations"), f"{path}.annotations"):
            citation = annotation.get("url_citation")
            if (
                annotation.get("type") != "url_citation"
                or not isinstance(citation, Mapping)
                or len(texts) != 1
            ):
                self._report.lose(place)
            else:
                texts[0]["annotations"].append({"type": "url_citation", **citation})

    def _reasoning(self, message: Mapping[str, Any], path: str) -> Json | None:
        item: Json = pick(message, ("reasoning_details",))
        said = message.get("reasoning_content") or message.get("reasoning")
        if blocks := message.get("thinking_blocks"):
            item["encrypted_content"] = json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))
        if said and not isinstance(said, str):
            self._report.lose(f"{path}.reasoning")
            said = None
        if not item and not said:
            return None
        return {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": said}] if said else [],
            **item,
        }

    def _call(self, call: Mapping[str, Any], path: str) -> Json:
        kind = call.get("type") or "function"
        if kind not in ("function", "custom"):
            raise ValueError(f"{path}.type is one that Chat Completions does not have")
        call_id = text(call, "id", path)
        called = mapping(need(call, kind, path), f"{path}.{kind}")
        own = "function_call"
        if kind == "custom":
            self._customs.add(call_id)
            own = "custom_tool_call"
        item = {"type": own, "call_id": call_id, **called, **pick(call, CALL_EXTRAS)}
        return self._finish(item, call, path, ("id", "type", kind, "index", *CALL_EXTRAS))

    def _legacy_call(self, function: Mapping[str, Any], path: str) -> Json:
        name = text(function, "name", path)
        self._legacy[name] += 1
        return {"type": "function_call", "call_id": self._legacy_id(name), **function}

    def _legacy_id(self, name: str) -> str:
        """The id of the last call of a function without one."""
        count = self._legacy[name]
        return f"call_{name}_{count}" if count > 1 else f"call_{name}"

    def _content(self, message: Mapping[str, Any], path: str) -> Any:
        content = need(message, "content", path)
        if not isinstance(content, list):
            return content
        made = (_part(part, place, self._report) for place, part in each(content, f"{path}.content"))
        return [part for part in made if part is not None]


def _output_text(said: str) -> Json:
    return {"type": "output_text", "text": said, "annotations": []}


def _part(part: Mapping[str, Any], path: str, report: Report) -> Json | None:
    kind = part.get("type")
    inner: Json = {}
    match kind:
        case "text":
            made: Json = {"type": "input_text", "text": text(part, "text", path)}
        case "image_url":
            image = mapping(need(part, kind, path), f"{path}.image_url")
            made = {
                "type": "input_image",
                "image_url": need(image, "url", f"{path}.image_url"),
                "detail": image.get("detail") or "auto",
            }
            report.rest(image, f"{path}.image_url", ("url", "detail"), inner)
        case "file":
            file = mapping(need(part, kind, path), f"{path}.file")
            known = ("file_id", "file_data", "filename")
            made = {"type": "input_file", **pick(file, known)}
            report.rest(file, f"{path}.file", known, inner)
        case "input_audio":
            made = {"type": kind, kind: need(part, kind, path)}
        case _:
            report.lose(path)
            return None
    made |= inner | pick(part, (CACHE_BREAKPOINT,))
    report.rest(part, path, ("type", CACHE_BREAKPOINT, str(kind)), made)
    return made


def _tools(request: Mapping[str, Any], report: Report) -> Iterator[Json]:
    """The tools, and the functions of old."""
    for path, tool in each(request.get("tools"), "tools"):
        kind = tool.get("type")
        if kind not in ("function", "custom"):
            report.lose(path)
            continue
        inner = mapping(need(tool, kind, path), f"{path}.{kind}")
        made = (
            _function(inner, f"{path}.{kind}", report) if kind == "function" else _custom(inner, path, report)
        )
        report.rest(tool, path, ("type", kind), made)
        yield made
    for path, function in each(request.get("functions"), "functions"):
        yield _function(function, path, report)


def _function(function: Mapping[str, Any], path: str, report: Report) -> Json:
    # Responses is strict where nothing is said, Chat Completions is not; and it requires parameters.
    made = {
        "type": "function",
        "strict": False,
        "parameters": {"type": "object", "properties": {}},
        **pick(function, FUNCTION),
    }
    report.rest(function, path, FUNCTION, made)
    return made


def _custom(tool: Mapping[str, Any], path: str, report: Report) -> Json:
    made: Json = {"type": "custom", **pick(tool, CUSTOM)}
    layout = mapping(made.get("format"), f"{path}.custom.format")
    if layout.get("type") == "grammar":
        grammar = mapping(need(layout, "grammar", f"{path}.custom.format"), f"{path}.custom.format.grammar")
        made["format"] = {"type": "grammar", **grammar}
    report.rest(tool, f"{path}.custom", CUSTOM, made)
    return made


def _tool_choice(choice: Any, report: Report) -> Any:
    if choice is None or isinstance(choice, str):
        return choice
    choice = mapping(choice, "tool_choice")
    kind = choice.get("type")
    if kind is None and "name" in choice:
        return {"type": "function", "name": choice["name"]}
    if kind in ("function", "custom"):
        return _named(choice, "tool_choice")
    if kind == "allowed_tools":
        allowed = mapping(need(choice, kind, "tool_choice"), "tool_choice.allowed_tools")
        listed = each(need(allowed, "tools", "tool_choice.allowed_tools"), "tool_choice.allowed_tools.tools")
        tools = [_named(tool, path) for path, tool in listed]
        return {"type": kind, "mode": need(allowed, "mode", "tool_choice.allowed_tools"), "tools": tools}
    report.lose("tool_choice")
    return None


def _named(tool: Mapping[str, Any], path: str) -> Json:
    """A tool by its name, which Chat Completions has one level below its type; others are named alike."""
    kind = tool.get("type")
    if kind in ("function", "custom"):
        return {"type": kind, **mapping(need(tool, kind, path), f"{path}.{kind}")}
    return dict(tool)


def _text(request: Mapping[str, Any], report: Report) -> Json:
    """How the text is to be."""
    how = pick(request, ("verbosity",))
    layout = mapping(request.get("response_format"), "response_format")
    if layout.get("type") == "json_schema":
        schema = mapping(need(layout, "json_schema", "response_format"), "response_format.json_schema")
        how["format"] = {"type": "json_schema", **pick(schema, SCHEMA)}
        report.rest(schema, "response_format.json_schema", SCHEMA, how["format"])
        report.rest(layout, "response_format", ("type", "json_schema"), how["format"])
    elif layout:
        how["format"] = layout
    return how
