"""Whether the items a caller sends next begin with what the model said last.

A caller who resends a conversation writes the model's output back in a form of his own: without ids, as plain
text, with or without its reasoning. The server that is asked to continue uses its own copy, so the two must
mean the same, or the whole conversation has to be sent.

`following` applies the rules for every item type; `following_pipecat` those of pipecat, quirks included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from penstock.errors import DecodeError, LimitExceeded
from penstock.prefix import hash_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["following", "following_pipecat"]

_TEXT_PARTS: Final = frozenset({"output_text", "input_text", "text"})
_NAMES: Final = ("id", "call_id", "approval_request_id")
"""Fields that name an item; one that both sides have and agree on is enough."""


def following(items: Sequence[Any], start: int, output: Sequence[Any]) -> int | None:
    """The index in `items` behind the previous output, which begins at `start`; None if it is not there.

    Reasoning may be left out, since the server has it anyway; everything else must be there, in order.
    """
    at = start
    for said in output:
        if at < len(items) and _same(said, items[at]):
            at += 1
        elif not _is(said, "reasoning"):
            return None
    return at


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, dict) and item.get("type") == kind


def _same(said: Any, given: Any) -> bool:
    """Whether a given item is the one that was said; what is missing on both sides makes no two equal."""
    if not (isinstance(said, dict) and isinstance(given, dict)):
        return bool(said == given)
    kind = said.get("type")
    if said == given:
        same = True
    elif given.get("type", "message") != kind:
        same = False
    elif kind == "message":
        same = _same_message(said, given)
    elif kind in ("function_call", "custom_tool_call"):
        same = _same_call(said, given)
    else:
        # Calls of hosted tools, approvals, compaction and what comes later: the server knows them by name.
        named = [name for name in _NAMES if said.get(name) and given.get(name)]
        same = bool(named) and all(said[name] == given[name] for name in named)
        same = same or (kind == "reasoning" and _same_seal(said, given))
    return same


def _same_seal(said: dict[str, Any], given: dict[str, Any]) -> bool:
    sealed = said.get("encrypted_content")
    return sealed is not None and sealed == given.get("encrypted_content")


def _same_message(said: dict[str, Any], given: dict[str, Any]) -> bool:
    words = _words(said.get("content"))
    same_role = given.get("role") == said.get("role", "assistant")
    return same_role and words is not None and words == _words(given.get("content"))


def _same_call(said: dict[str, Any], given: dict[str, Any]) -> bool:
    """By `call_id`, and by name and arguments where the caller kept them: who edits a call means another."""
    return (
        bool(said.get("call_id"))
        and given.get("call_id") == said["call_id"]
        and given.get("name", said.get("name")) == said.get("name")
        and given.get("input", said.get("input")) == said.get("input")
        and _same_json(said.get("arguments"), given.get("arguments", said.get("arguments")))
    )


def _same_json(said: Any, given: Any) -> bool:
    """Whether two JSON texts are equal, or spell equal values; 1 and true are none, though Python says so."""
    if said == given:
        return True
    try:
        return isinstance(said, str) and isinstance(given, str) and hash_json(said) == hash_json(given)
    except (DecodeError, LimitExceeded):
        return False


def _words(content: Any) -> list[tuple[str, str]] | None:
    """A message's content as runs of text and of refusal; None for content that has anything else in it.

    How a text is cut into parts makes no difference; an empty one is no text.
    """
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        return None
    runs: list[tuple[str, str]] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        name, text = ("refusal", "refusal") if kind == "refusal" else ("text", "text")
        if kind not in _TEXT_PARTS and kind != "refusal":
            return None
        words = part.get(text)
        if not isinstance(words, str):
            return None
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + words)
        elif words:
            runs.append((name, words))
    return runs


def following_pipecat(items: Sequence[Any], start: int, output: Sequence[Any]) -> int | None:
    """As `following`, by pipecat's rules: pairwise, messages by text, calls by `call_id`, reasoning by `id`.

    A refusal counts as empty text, and two calls without a `call_id` as the same.
    """
    if len(items) - start < len(output):
        return None
    for at, said in enumerate(output, start):
        given = items[at]
        if not (isinstance(said, dict) and isinstance(given, dict)):
            return None
        compare = _PIPECAT.get(said.get("type", ""))
        if compare is None or not compare(said, given):
            return None
    return start + len(output)


def _pipecat_message(said: dict[str, Any], given: dict[str, Any]) -> bool:
    if given.get("role") != said.get("role", "assistant"):
        return False
    return _joined(said.get("content"), "output_text") == _joined(given.get("content"), "input_text")


def _joined(content: Any, kind: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if _is(part, kind))


def _pipecat_call(said: dict[str, Any], given: dict[str, Any]) -> bool:
    return given.get("type") == "function_call" and given.get("call_id") == said.get("call_id")


def _pipecat_reasoning(said: dict[str, Any], given: dict[str, Any]) -> bool:
    return given.get("type") == "reasoning" and given.get("id") == said.get("id")


_PIPECAT: Final[dict[str, Callable[[dict[str, Any], dict[str, Any]], bool]]] = {
    "message": _pipecat_message,
    "function_call": _pipecat_call,
    "reasoning": _pipecat_reasoning,
}
