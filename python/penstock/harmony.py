"""Messages of the Harmony format, gpt-oss's own, and items of the Responses API, each as the other.

    messages = items_to_harmony(request["input"])          # for the prompt
    items = harmony_to_items(parser.messages)              # what a whole answer says

`penstock.HarmonyParser` makes a stream of events of an answer while it is generated. Messages are dicts as
openai-harmony has them (`Message.to_dict`, `Message.from_dict`); its objects are taken as well.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from penstock._penstock import Limits, _harmony_to_items
from penstock.request_bodies.common import UnsupportedFieldError, listed, mapping, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Lose = Callable[[str], object]

__all__ = [
    "UnsupportedFieldError",
    "Vocabulary",
    "gpt_oss_vocabulary",
    "harmony_to_items",
    "items_to_harmony",
]

Json = dict[str, Any]


class Vocabulary(Protocol):
    """What token ids mean, as the encodings of openai-harmony and tiktoken tell it."""

    def decode(self, tokens: Sequence[int], errors: str = ...) -> str:
        """Return the text of tokens; `errors` says what becomes of bytes that are not UTF-8."""

    def is_special_token(self, token: int) -> bool:
        """Whether a token structures the text rather than being part of it."""


@functools.cache
def gpt_oss_vocabulary() -> Vocabulary:
    """Return the vocabulary of gpt-oss, which the package openai-harmony loads, once a process.

    That package downloads it, unless it has done so before or `TIKTOKEN_ENCODINGS_BASE` names a folder with
    the file.
    """
    import openai_harmony  # noqa: PLC0415 - an extra, for callers who have token ids

    name = openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS
    vocabulary: Vocabulary = openai_harmony.load_harmony_encoding(name)
    return vocabulary


def harmony_to_items(
    messages: Iterable[Any],
    /,
    *,
    ids: Callable[[str], str] | None = None,
    finish_reason: str = "stop",
    strict: bool = False,
    reasoning: Literal["raw", "summary"] = "raw",
    custom_tools: Sequence[str] = (),
    container_id: str = "",
    limits: Limits | None = None,
) -> list[Json]:
    """Make output items of whole messages, as `HarmonyParser` makes them of the model's text.

    Args:
        messages: dicts, or messages of openai-harmony; those of others than the assistant become nothing.
        ids: called with a prefix (`msg_`, `rs_`, …), returns an id that begins with it; None for random ones.
        finish_reason: what the engine says, as for `HarmonyParser.finish`; if the model did not come to its
            end by itself, the item of the last message is incomplete.
        strict: raise `DecodeError` for channels and recipients that the format does not have.
        reasoning: what analysis becomes: "raw" (`reasoning_text`) or "summary".
        custom_tools: names of functions that are custom tools.
        container_id: of code interpreter calls.
        limits: the bounds: `max_message_bytes`, `max_parts` and `max_tool_calls`.

    Raises:
        DecodeError: a message is none, or one of the assistant has content that is no text.
        LimitExceeded: there is more than `limits` grants.
    """
    return _harmony_to_items(
        [_as_dict(message) for message in messages],
        ids=ids,
        finish_reason=finish_reason,
        strict=strict,
        reasoning=reasoning,
        custom_tools=list(custom_tools),
        container_id=container_id,
        limits=limits,
    )


def _as_dict(message: Any) -> Any:
    return message if isinstance(message, dict) else message.to_dict()


def items_to_harmony(
    items: str | Iterable[Any], /, *, previous: Iterable[Any] = (), unsupported: Lose | None = None
) -> list[Json]:
    """Make messages for a prompt of the input of a Responses request, or of the output of a response.

    The system message, and tools, which stand in the first developer message, are the server's to write; to
    drop the analysis of earlier answers is the renderer's.

    Args:
        items: the input: a text of the user, or items, each a dict or an object of the openai package.
        previous: the items before them, in which the calls may stand whose outputs are among `items`.
        unsupported: called with the path of what Harmony has no form for, such as ``input[2].content[0]``;
            that is then left out. None raises.

    Raises:
        UnsupportedFieldError: as `unsupported` says; also for the output of a call that is nowhere.
        ValueError: an item has a value that the API does not allow.
    """
    if isinstance(items, str):
        return [_message("user", [_text(items)])]
    lose = unsupported or _refuse
    given = list(_each(items, "input"))
    tools = {
        text(item, "call_id", path): f"functions.{text(item, 'name', path)}"
        for path, item in (*_each(previous, "previous"), *given)
        if item.get("type") in tuple(CALLS)
    }
    return [message for path, item in given for message in _messages(item, path, tools, lose)]


CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
"""Calls of functions, and where their arguments stand."""

OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")

CONSTRAINED: Final = "<|constrain|>json"
"""The content type that the model itself writes for a function, so that a prompt repeats its tokens."""

BROWSER: Final = {
    "search": ("browser.search", {"query": "query"}),
    "open_page": ("browser.open", {"url": "id"}),
    "find_in_page": ("browser.find", {"pattern": "pattern"}),
}
"""Actions of a web search call: the recipient, and the names of its arguments by member."""


def _refuse(path: str) -> None:
    raise UnsupportedFieldError(path)


def _each(values: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return the path and the members of each object of a list; the openai package has objects of its own."""
    for place, value in enumerate(values or ()):
        dump = getattr(value, "model_dump", None)
        yield f"{path}[{place}]", mapping(dump() if dump else value, f"{path}[{place}]")


def _text(said: str) -> Json:
    return {"type": "text", "text": said}


def _message(role: str, content: list[Json], **members: str) -> Json:
    return {"role": role, "content": content, **members}


def _messages(item: Mapping[str, Any], path: str, tools: Mapping[str, str], lose: Lose) -> Iterator[Json]:
    """Return the messages that one item becomes."""
    kind = item.get("type") or ("message" if "role" in item else "")
    if kind == "message":
        yield from _said(item, path, lose)
    elif kind == "reasoning":
        yield from _thought(item, path, lose)
    elif kind in tuple(CALLS):
        content = [_text(text(item, CALLS[kind], path))]
        members = {"content_type": CONSTRAINED} if kind == "function_call" else {}
        recipient = f"functions.{text(item, 'name', path)}"
        yield _message("assistant", content, channel="commentary", recipient=recipient, **members)
    elif kind in OUTPUTS:
        if tool := tools.get(text(item, "call_id", path)):
            content = _parts(item.get("output"), f"{path}.output", lose)
            yield _message("tool", content, name=tool, recipient="assistant", channel="commentary")
        else:
            lose(f"{path}.call_id")
    elif kind == "web_search_call":
        yield from _browsed(item, path, lose)
    elif kind == "code_interpreter_call":
        yield from _run(item, path, lose)
    else:
        lose(path)


def _said(item: Mapping[str, Any], path: str, lose: Lose) -> Iterator[Json]:
    content = _parts(item.get("content"), f"{path}.content", lose)
    role = item.get("role")
    if role in ("system", "developer"):
        instructions = "\n\n".join(part["text"] for part in content)
        yield _message("developer", [{"type": "developer_content", "instructions": instructions}])
    elif role == "assistant":
        is_commentary = item.get("phase") == "commentary"
        yield _message("assistant", content, channel="commentary" if is_commentary else "final")
    elif role == "user":
        yield _message("user", content)
    else:
        lose(f"{path}.role")


def _thought(item: Mapping[str, Any], path: str, lose: Lose) -> Iterator[Json]:
    """Return the analysis, from the raw reasoning or, where a client has only that, its summary."""
    for key in ("content", "summary"):
        if item.get(key):
            yield _message("assistant", _parts(item[key], f"{path}.{key}", lose), channel="analysis")
            return
    if item.get("encrypted_content"):
        lose(f"{path}.encrypted_content")


def _browsed(item: Mapping[str, Any], path: str, lose: Lose) -> Iterator[Json]:
    action = mapping(item.get("action"), f"{path}.action")
    if action.get("type") not in tuple(BROWSER):
        lose(f"{path}.action")
        return
    recipient, names = BROWSER[action["type"]]
    arguments = {name: action[key] for key, name in names.items() if action.get(key)}
    content = [_text(json.dumps(arguments, ensure_ascii=False))]
    yield _message("assistant", content, channel="analysis", recipient=recipient, content_type="code")


def _run(item: Mapping[str, Any], path: str, lose: Lose) -> Iterator[Json]:
    content = [_text(text(item, "code", path) if item.get("code") else "")]
    yield _message("assistant", content, channel="analysis", recipient="python", content_type="code")
    logs = []
    for place, output in _each(listed(item.get("outputs"), f"{path}.outputs"), f"{path}.outputs"):
        if output.get("type") == "logs":
            logs.append(_text(text(output, "logs", place)))
        else:
            lose(place)
    if logs:
        yield _message("tool", logs, name="python", recipient="assistant", channel="analysis")


def _parts(content: Any, path: str, lose: Lose) -> list[Json]:
    """Return the texts of a message's content."""
    if isinstance(content, str):
        return [_text(content)]
    texts = []
    for place, part in _each(listed(content, path), path):
        said = part.get("refusal") if part.get("type") == "refusal" else part.get("text")
        if isinstance(said, str):
            texts.append(_text(said))
        else:
            lose(place)
    return texts
