"""From the body of a Responses request to that of a Chat Completions request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from penstock.request_bodies.common import (
    CACHE_BREAKPOINT,
    CALL_EXTRAS,
    CUSTOM,
    ENCRYPTED,
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
    listed,
    mapping,
    need,
    pick,
    set_given,
    text,
)

__all__ = ["responses_request_to_chat"]


def responses_request_to_chat(
    request: Mapping[str, Any], *, unsupported: Policy = "error", extra: Extra = "unsupported"
) -> Converted:
    """The Chat Completions request that asks for what a Responses request asks for.

    That reasoning be summed up and given in its encrypted form is not asked for: servers of Chat Completions
    give of it what they give, and the transcoder makes that the summary and the encrypted content.

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
    body: Json = pick(request, SAME)
    messages = []
    if instructions := request.get("instructions"):
        messages.append({"role": "developer", "content": instructions})
    body["messages"] = messages + list(_messages(request.get("input"), report))
    set_given(body, "max_completion_tokens", request.get("max_output_tokens"))
    if tools := [
        made for path, tool in each(request.get("tools"), "tools") if (made := _tool(tool, path, report))
    ]:
        body["tools"] = tools
    set_given(body, "tool_choice", _tool_choice(request.get("tool_choice"), report))
    _add_text(mapping(request.get("text"), "text"), body, report)
    reasoning = mapping(request.get("reasoning"), "reasoning")
    set_given(body, "reasoning_effort", reasoning.get("effort"))
    report.rest(reasoning, "reasoning", ("effort", "summary", "generate_summary"))
    if top := request.get("top_logprobs"):
        body |= {"logprobs": True, "top_logprobs": top}
    for place, wanted in enumerate(listed(request.get("include"), "include")):
        if wanted == LOGPROBS:
            body["logprobs"] = True
        elif wanted != ENCRYPTED:
            report.lose(f"include[{place}]")
    options = dict(mapping(request.get("stream_options"), "stream_options"))
    if request.get("stream"):
        # A response always says its usage.
        options["include_usage"] = True
    if options:
        body["stream_options"] = options
    known = {
        *SAME, "instructions", "input", "max_output_tokens", "tools", "tool_choice", "text", "reasoning",
        "top_logprobs", "include", "stream_options",
    }  # fmt: skip
    report.rest(request, "", known, body, _RESPONSES_ONLY)
    return Converted(body, report.paths)


_RESPONSES_ONLY: Final = frozenset({
    "access_programs", "background", "conversation", "context_management", "image", "max_tool_calls",
    "previous_response_id", "prompt", "truncation",
})  # fmt: skip

_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")

# What Responses knows of them besides, and Chat Completions does not.
_OF_CALLS: Final = ("async", "caller", "namespace", "name")
_OF_PARTS: Final = ("annotations", "detail", "file_id", "file_url")
_OF_TOOLS: Final = ("allowed_callers", "async", "defer_loading", "output_schema")


def _add_text(asked: Mapping[str, Any], body: Json, report: Report) -> None:
    """Carry over how the text is to be."""
    set_given(body, "verbosity", asked.get("verbosity"))
    layout = mapping(asked.get("format"), "text.format")
    if layout.get("type") == "json_schema":
        schema = pick(layout, SCHEMA)
        report.rest(layout, "text.format", ("type", *SCHEMA), schema)
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif layout and layout.get("type") != "text":
        body["response_format"] = layout
    report.rest(asked, "text", ("format", "verbosity"))


def _messages(items: Any, report: Report) -> Iterator[Json]:
    """The messages that input items stand for."""
    if isinstance(items, str):
        yield {"role": "user", "content": items}
        return
    given = list(each(items, "input"))
    turn = _Turn([item.get("call_id") for _, item in given if item.get("type") in _OUTPUTS], report)
    for path, item in given:
        kind = text(item, "type", path) if item.get("type") else _untyped(item)
        is_assistant = kind == "message" and item.get("role") == "assistant"
        if kind in _CALLS:
            turn.call(item, path)
        elif is_assistant or kind == "reasoning":
            if turn.is_over:
                yield turn.end()
            (turn.say if is_assistant else turn.reason)(item, path)
        else:
            if turn.message:
                yield turn.end()
            yield from _other_message(kind, item, path, report)
    if turn.message:
        yield turn.end()


def _untyped(item: Mapping[str, Any]) -> str:
    """What an item is that does not say its type."""
    return "message" if "role" in item else "item_reference"


def _other_message(kind: str, item: Mapping[str, Any], path: str, report: Report) -> Iterator[Json]:
    """The message that an item stands for which the assistant did not say."""
    if kind == "message":
        message = {"role": need(item, "role", path), "content": _content(item, "content", path, report)}
        report.rest(item, path, ("type", "role", "content", "id", "status"), message, ("phase",))
        yield message
    elif kind in _OUTPUTS and item.get("call_id") is not None:
        message = {"role": "tool", "tool_call_id": item["call_id"]}
        message["content"] = _content(item, "output", path, report)
        report.rest(item, path, ("type", "id", "call_id", "output", "status"), message, _OF_CALLS)
        yield message
    else:
        report.lose(path)


class _Turn:
    """What the assistant says in one message: its reasoning, its text, its calls.

    What stands in another order is another turn, except while a call waits for its output: Chat Completions
    has nothing between a message and the outputs of its calls.
    """

    def __init__(self, answered: list[Any], report: Report) -> None:
        """`answered` are the ids of the calls whose outputs are among the items."""
        self._answered = answered
        self._report = report
        self._waits = False
        self.message: Json = {}

    @property
    def is_over(self) -> bool:
        """Whether text or reasoning that comes now begins another message."""
        return not self._waits and bool({"content", "tool_calls"} & self.message.keys())

    def end(self) -> Json:
        """The message; another begins."""
        message = {"role": "assistant", "content": None} | self.message
        self.message, self._waits = {}, False
        return message

    def say(self, item: Mapping[str, Any], path: str) -> None:
        """Add the text and refusals of a message."""
        said = ("type", "role", "content", "id", "status")
        self._report.rest(item, path, said, self.message, ("phase",))
        content = item.get("content")
        if not isinstance(content, list):
            self._add_text("content", text(item, "content", path))
            return
        self.message.setdefault("content", None)
        for part_path, part in each(content, f"{path}.content"):
            if part.get("type") in ("output_text", "input_text", "text"):
                start = len(self.message.get("content") or "")
                self._add_text("content", text(part, "text", part_path))
                self._cite(part, start, part_path)
                # Log probabilities of what was said are of no use to who hears it.
                known = ("type", "text", "annotations", "logprobs")
                self._report.rest(part, part_path, known)
            elif part.get("type") == "refusal":
                self._add_text("refusal", text(part, "refusal", part_path))
            else:
                self._report.lose(part_path)

    def _add_text(self, key: str, said: str) -> None:
        self.message[key] = (self.message.get(key) or "") + said

    def _cite(self, part: Mapping[str, Any], start: int, path: str) -> None:
        """Add the annotations of a part whose text begins at `start` of the message's."""
        for place, annotation in each(part.get("annotations"), f"{path}.annotations"):
            if annotation.get("type") != "url_citation":
                self._report.lose(place)
                continue
            citation = {key: value for key, value in annotation.items() if key != "type"}
            for key in ("start_index", "end_index"):
                if isinstance(citation.get(key), int):
                    citation[key] += start
            made = {"type": "url_citation", "url_citation": citation}
            self.message.setdefault("annotations", []).append(made)

    def reason(self, item: Mapping[str, Any], path: str) -> None:
        """Add a reasoning item."""
        known = ("type", "id", "status", "summary", "content", "encrypted_content", "reasoning_details")
        self._report.rest(item, path, known, self.message)
        texts = [
            text(part, "text", part_path)
            for key in ("summary", "content")
            for part_path, part in each(item.get(key), f"{path}.{key}")
        ]
        if before := self.message.get("reasoning_content"):
            texts.insert(0, before)
        if texts:
            self.message["reasoning_content"] = "\n\n".join(texts)
        if details := [
            detail for _, detail in each(item.get("reasoning_details"), f"{path}.reasoning_details")
        ]:
            self.message.setdefault("reasoning_details", []).extend(details)
        if encrypted := item.get("encrypted_content"):
            blocks = _thinking_blocks(encrypted)
            if blocks is None:
                self._report.lose(f"{path}.encrypted_content")
            else:
                self.message.setdefault("thinking_blocks", []).extend(blocks)

    def call(self, item: Mapping[str, Any], path: str) -> None:
        """Add a call of a function or custom tool."""
        key = _CALLS[item["type"]]
        kind = item["type"].removesuffix("_call").removesuffix("_tool")
        call_id = text(item, "call_id", path)
        called = {"name": need(item, "name", path), key: need(item, key, path)}
        call = {"id": call_id, "type": kind, kind: called, **pick(item, CALL_EXTRAS)}
        self._report.rest(
            item, path, {"type", "id", "status", "call_id", "name", key} | CALL_EXTRAS, call, _OF_CALLS
        )
        self.message.setdefault("tool_calls", []).append(call)
        self._waits |= call_id in self._answered


def _thinking_blocks(encrypted: Any) -> list[Json] | None:
    """The thinking blocks that a transcoder put into `encrypted_content`; None for anybody else's."""
    if not isinstance(encrypted, str) or not encrypted.startswith("[{"):
        return None
    try:
        blocks: list[Json] = json.loads(encrypted)
    except ValueError:
        return None
    kinds = ("thinking", "redacted_thinking")
    return blocks if all(isinstance(block, dict) and block.get("type") in kinds for block in blocks) else None


def _content(item: Mapping[str, Any], key: str, path: str, report: Report) -> Any:
    content = need(item, key, path)
    if not isinstance(content, list):
        return content
    made = (_part(part, place, report) for place, part in each(content, f"{path}.{key}"))
    return [part for part in made if part is not None]


def _part(part: Mapping[str, Any], path: str, report: Report) -> Json | None:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            made: Json = {"type": "text", "text": text(part, "text", path)}
            known: Iterable[str] = ("text", "logprobs")
        case "input_image" if part.get("image_url"):
            image = {"url": part["image_url"]} | pick(part, ("detail",))
            made, known = {"type": "image_url", "image_url": image}, ("image_url", "detail")
        case "input_file" if not part.get("file_url"):
            known = ("file_id", "file_data", "filename", "file_url")
            made = {"type": "file", "file": pick(part, known)}
        case "input_audio":
            known = ("input_audio",)
            made = {"type": "input_audio", "input_audio": need(part, "input_audio", path)}
        case _:
            report.lose(path)
            return None
    made |= pick(part, (CACHE_BREAKPOINT,))
    report.rest(part, path, ("type", CACHE_BREAKPOINT, *known), made, _OF_PARTS)
    return made


def _tool(tool: Mapping[str, Any], path: str, report: Report) -> Json | None:
    """A tool; Chat Completions has its members one level below its type."""
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        report.lose(path)
        return None
    known = FUNCTION if kind == "function" else CUSTOM
    made = pick(tool, known)
    if (layout := mapping(made.get("format"), f"{path}.format")).get("type") == "grammar":
        grammar = {key: value for key, value in layout.items() if key != "type"}
        made["format"] = {"type": "grammar", "grammar": grammar}
    report.rest(tool, path, ("type", *known), made, _OF_TOOLS)
    return {"type": kind, kind: made}


def _tool_choice(choice: Any, report: Report) -> Any:
    if choice is None or isinstance(choice, str):
        return choice
    choice = mapping(choice, "tool_choice")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return {"type": kind, kind: {key: value for key, value in choice.items() if key != "type"}}
    if kind == "allowed_tools":
        allowed = each(need(choice, "tools", "tool_choice"), "tool_choice.tools")
        tools = [made for path, tool in allowed if (made := _tool(tool, path, report))]
        return {"type": kind, kind: {"mode": need(choice, "mode", "tool_choice"), "tools": tools}}
    report.lose("tool_choice")
    return None
