"""The slow, obvious twin of `ChatAccumulator`: dicts in, one dict out, the common rules of the dialect.

It knows what real providers send (see `tests/test_chat_accumulator.py` for the odd cases, which stand in
`tests/vectors/chat`), shares no line with the core, and is held against it on recorded streams.
"""

from typing import Any

Json = dict[str, Any]

_HEAD = ("id", "created", "model", "service_tier", "system_fingerprint")
_DROPPED = {"object", "choices", "usage", "obfuscation", *_HEAD}
_CHOICE = {"index", "delta", "finish_reason", "logprobs"}
_JOINED = ("refusal", "reasoning_content", "reasoning")


def completions(chunks: list[Json]) -> list[Json]:
    """All completions of a stream: another id with a new role, after every finish reason, starts another."""
    groups: list[list[Json]] = [[]]
    for chunk in chunks:
        if any((choice.get("delta") or {}).get("role") for choice in chunk.get("choices") or []):
            last = completion(groups[-1])
            finished = last["choices"] and all(choice["finish_reason"] for choice in last["choices"])
            if finished and last["id"] != chunk["id"]:
                groups.append([])
        groups[-1].append(chunk)
    return [completion(group) for group in groups]


def completion(chunks: list[Json]) -> Json:
    """The completion that the chunks of one message spell."""
    made: Json = {"id": "", "object": "chat.completion", "created": 0, "model": "", "usage": None}
    choices: dict[int, Json] = {}
    for chunk in chunks:
        for key in _HEAD:
            if chunk.get(key) and not made.get(key):
                made[key] = chunk[key]
        made["usage"] = chunk.get("usage") or made["usage"]
        for key, value in chunk.items():
            if key == "citations":
                known = made.setdefault("citations", [])
                known.extend(item for item in value if item not in known)
            elif key not in _DROPPED and (value is not None or key not in made):
                made[key] = value
        for choice in chunk.get("choices") or []:
            add_choice(choices.setdefault(choice["index"], new_choice(choice["index"])), choice)
    made["choices"] = [choices[index] for index in sorted(choices)]
    return made


def new_choice(index: int) -> Json:
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def add_choice(made: Json, choice: Json) -> None:
    made["finish_reason"] = choice.get("finish_reason") or made["finish_reason"]
    for key, value in choice.items():
        if key not in _CHOICE and (value is not None or key not in made):
            made[key] = value
    message, delta = made["message"], choice.get("delta") or {}
    for key, value in delta.items():
        if key == "content" and value is not None:
            add_content(message, value)
        elif key in _JOINED and value is not None:
            message[key] = (message.get(key) or "") + value
        elif key == "tool_calls":
            for fragment in value or []:
                add_call(message.setdefault("tool_calls", []), fragment)
        elif key not in {"content", "role", "index", *_JOINED} and (value is not None or key not in message):
            message[key] = value


def add_content(message: Json, value: str | list[Json]) -> None:
    if isinstance(value, str):
        if not isinstance(message["content"], list):
            message["content"] = (message["content"] or "") + value
            return
        value = [{"type": "text", "text": value}] if value else []
    before = message["content"] or []
    parts: list[Json] = [{"type": "text", "text": before}] if isinstance(before, str) else before
    message["content"] = parts
    for part in value:
        kind = part["type"]
        if not parts or parts[-1]["type"] != kind:
            parts.append({"type": kind, kind: [{"type": "text", "text": ""}] if kind == "thinking" else ""})
        if kind == "text":
            parts[-1]["text"] += part["text"]
        else:
            parts[-1]["thinking"][0]["text"] += "".join(piece["text"] for piece in part["thinking"])


def add_call(calls: list[Json], fragment: Json) -> None:
    function = fragment.get("function") or {}
    place = fragment.get("index", len(calls) if fragment.get("id") else len(calls) - 1)
    if place >= len(calls):
        calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
    call = calls[place]
    call.update({key: fragment[key] for key in ("id", "type") if fragment.get(key)})
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""
