"""A naive twin of `ResponseAccumulator` for streams that follow the rules: dicts, changed event by event.

It knows nothing of limits, lanes, strictness or defects. What it says about a legal stream is what the fast
one must say.
"""

import copy
from typing import Any

Json = dict[str, Any]

WHOLE = {
    "function_call_arguments": "arguments",
    "mcp_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "code_interpreter_call_code": "code",
    "apply_patch_call_operation_diff": "diff",
}
PARTS = {
    "output_text": ("content", "text"),
    "refusal": ("content", "refusal"),
    "reasoning_text": ("content", "text"),
    "reasoning_summary_text": ("summary", "text"),
}
NEW_PART: dict[str, Json] = {
    "output_text": {"type": "output_text", "text": "", "annotations": []},
    "refusal": {"type": "refusal", "refusal": ""},
    "reasoning_text": {"type": "reasoning_text", "text": ""},
    "reasoning_summary_text": {"type": "summary_text", "text": ""},
}
STATUSES = {"in_progress", "searching", "interpreting", "generating", "completed", "failed"}


class Oracle:
    """Folds parsed events; `response` is the response so far, `responses` those that have ended."""

    def __init__(self) -> None:
        self.base: Json | None = None
        self.items: dict[int, Json] = {}
        self.ended = False
        self.responses: list[Json] = []

    @property
    def response(self) -> Json | None:
        if self.base is None or self.ended:
            return self.base
        items = [item for _, item in sorted(self.items.items())]
        return {**self.base, "output": items} if items else self.base

    def feed(self, event: Json) -> None:
        event = copy.deepcopy(event)
        family, _, action = event["type"].removeprefix("response.").rpartition(".")
        if event["type"] == "response.created":
            self.base, self.items, self.ended = event["response"], {}, False
        elif event["type"] in {"response.in_progress", "response.queued"}:
            self.base = event["response"]
        elif not family and "response" in event:
            self._end(event["response"])
        elif family == "output_item":
            if event["item"] is not None:
                self.items[event["output_index"]] = event["item"]
        elif family in {"content_part", "reasoning_summary_part"}:
            self._part(event, "content" if family == "content_part" else "summary")
        elif family in PARTS:
            self._text(event, family, action)
        elif family in WHOLE:
            self._whole(event, WHOLE[family], action)
        elif family == "output_text.annotation":
            self._annotate(event)
        elif family == "shell_call_command":
            commands = self.items[event["output_index"]]["action"]["commands"]
            _put(commands, event["command_index"], event.get("delta", event.get("command")), action)
        elif family == "shell_call_output_content":
            self._output(event, action)
        elif action in STATUSES and family.endswith("_call"):
            self.items[event["output_index"]]["status"] = action

    def _end(self, response: Json) -> None:
        output = response.get("output") or []
        if not output and self.items:
            for item in self.items.values():
                if response["status"] != "completed" and item.get("status") == "in_progress":
                    item["status"] = "incomplete"
            response["output"] = [item for _, item in sorted(self.items.items())]
        self.base, self.ended = response, True
        self.responses.append(response)

    def _part(self, event: Json, key: str) -> None:
        parts = self.items[event["output_index"]].setdefault(key, [])
        _put(parts, _place(event), event["part"], "done")

    def _text(self, event: Json, family: str, action: str) -> None:
        list_key, key = PARTS[family]
        parts = self.items[event["output_index"]].setdefault(list_key, [])
        index = _place(event)
        if index == len(parts):
            parts.append(copy.deepcopy(NEW_PART[family]))
        part = parts[index]
        part[key] = part[key] + event["delta"] if action == "delta" else event[key]
        if event.get("logprobs"):
            before = part.get("logprobs", []) if action == "delta" else []
            part["logprobs"] = before + event["logprobs"]

    def _whole(self, event: Json, key: str, action: str) -> None:
        item = self.items[event["output_index"]]
        holder = item["operation"] if key == "diff" else item
        holder[key] = (holder[key] or "") + event["delta"] if action == "delta" else event[key]

    def _annotate(self, event: Json) -> None:
        part = self.items[event["output_index"]]["content"][event["content_index"]]
        _put(part["annotations"], event["annotation_index"], event["annotation"], "done")

    def _output(self, event: Json, action: str) -> None:
        output = self.items[event["output_index"]]["output"]
        index = event["command_index"]
        if action == "done":
            output[index : index + 1] = event["output"]
            return
        if index == len(output):
            output.append({"stdout": "", "stderr": ""})
        for name, text in event["delta"].items():
            output[index][name] += text


def _place(event: Json) -> int:
    """Which part of its item an event is about."""
    place: int = event["content_index"] if "content_index" in event else event["summary_index"]
    return place


def _put(values: list[Any], index: int, value: Any, action: str) -> None:
    if index == len(values):
        values.append(value)
    else:
        values[index] = values[index] + value if action == "delta" else value
