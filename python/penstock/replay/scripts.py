"""What the replay upstream says: its scripts, and what it reads in a request to choose and shape one.

A script is a list of output items and an outcome, the same for both APIs. `responses.py` and `chat.py` turn
it into their own events. Everything is deterministic: the same request gets the same items.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Final, Literal, cast

from .faults import Faults
from .http import HttpError

__all__ = [
    "SCRIPTS",
    "Item",
    "Message",
    "Prompt",
    "Reasoning",
    "Script",
    "Tool",
    "ToolCall",
    "pieces",
    "text_of",
    "write",
]


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thinking, shown as summary parts (Responses) or as `reasoning_content` (Chat Completions)."""

    summary: tuple[str, ...]

    @property
    def deltas(self) -> tuple[str, ...]:
        """The parts as one text, cut into deltas."""
        return tuple(pieces("\n\n".join(self.summary)))


@dataclass(frozen=True, slots=True)
class Message:
    """Text of the assistant, already cut into its deltas."""

    deltas: tuple[str, ...]
    refusal: bool = False

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.deltas)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call, its arguments as JSON text."""

    name: str
    arguments: str

    @property
    def deltas(self) -> tuple[str, ...]:
        """The arguments, cut into deltas."""
        return tuple(pieces(self.arguments))


Item = Reasoning | Message | ToolCall
Outcome = Literal["completed", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class Script:
    """The output items in order and how the response ends."""

    items: tuple[Item, ...]
    outcome: Outcome = "completed"

    @property
    def tokens(self) -> int:
        """What the whole output costs, one token a delta."""
        return sum(len(item.deltas) for item in self.items)

    @property
    def reasoning_tokens(self) -> int:
        """The part of `tokens` that was thinking."""
        return sum(len(item.deltas) for item in self.items if isinstance(item, Reasoning))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the request offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a script may depend on, whichever API the request came through."""

    text: str = ""
    """The last text of the user."""
    tools: tuple[Tool, ...] = ()
    answered: bool = False
    """Whether the input ends with results of function calls, so that the model is expected to speak."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema of the text, where the request sets one."""
    tokens: int = 0
    """The input's size in the replay upstream's own tokens."""


def pieces(text: str) -> Iterator[str]:
    """Cut text into deltas about as long as tokens: a word's beginning with its space, or what is left."""
    return (match.group() for match in re.finditer(r"\s?\w{1,7}|\s?[^\w\s]|\s+", text))


def text_of(content: Any) -> str:
    """The text of a message's `content`, a string or a list of parts; empty for anything else."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


OVERVIEW: Final = """\
A penstock carries water from the reservoir to the turbine. Nothing about it is glamorous: a steel pipe, a \
gate at the top, and the patience of a river behind it. Yet every watt of the station passes through that \
pipe, so the engineers who build one care about the same three things each time.

First, **no loss**. A rough wall or a sharp bend turns height into heat, and heat turns no wheel. Second, \
**no surprise**. When the gate closes, the moving column still wants to move; a surge tank gives it a place \
to go, and the pressure never jumps. Third, **the truth at the end**. A gauge that reads full while the pipe \
runs dry is worse than no gauge at all.

Streams of tokens are not so different. Take what comes, keep it in order, waste nothing on the way, and say \
plainly when it stopped too soon.\
"""

FORECAST: Final = """\
The upper weir stands at 4.2 m and is rising about 3 cm an hour, so gate 2 should open to 35 % before \
midnight. That keeps the flow at 18 m³/s, well inside what the lower channel can take.\
"""

DOORS: Final = """\
Opening gate 2 a little now is safer than opening it wide later: the level falls slowly either way, but the \
channel below only has to carry one of them.\
"""

WORLD: Final = (
    "Wasser fällt — l'eau tombe — 水が落ちる — вода падает — الماء يسقط. Emoji: 🌊💧🏞️ 👩🏽‍🔧 🇨🇭. "
    'Escapes: "quoted" \\ / tab\tend. Separators:\u2028line\u2029paragraph\u0085next\x0btab\x0cfeed\x1cfile. '
    "Combining: e\u0301 ñ; zero width: a\u200bb; noncharacter: \ufffe; last: 𝄞"
)

CALLS: Final = (
    ToolCall("read_gauge", '{"station":"upper-weir","unit":"m","hours":[0,6,12,24]}'),
    ToolCall(
        "set_gate", '{"gate":2,"opening":0.35,"reason":"rising level","notify":{"crew":"night","by":"sms"}}'
    ),
)


def _message(text: str, faults: Faults) -> Message:
    deltas = tuple(pieces(text))
    if faults.tokens is not None:
        deltas = tuple(islice(cycle(deltas), faults.tokens)) if deltas else ()
    if faults.big_event:
        middle = len(deltas) // 2
        deltas = (*deltas[:middle], "~" * faults.big_event, *deltas[middle:])
    return Message(deltas)


def _text(_prompt: Prompt, faults: Faults) -> Script:
    return Script((_message(OVERVIEW, faults),))


def _reasoning(_prompt: Prompt, faults: Faults) -> Script:
    thought = Reasoning(
        (
            "**Reading the level**\n\nThe weir rises 3 cm an hour; by midnight it would stand 20 cm higher.",
            "**Choosing the gate**\n\nGate 2 feeds the lower channel. A third of it is plenty.",
        )
    )
    return Script((thought, _message(DOORS, faults)))


def _tools(prompt: Prompt, faults: Faults) -> Script:
    if prompt.answered:
        return Script((_message(FORECAST, faults),))
    calls = tuple(ToolCall(tool.name, _example(tool.schema)) for tool in prompt.tools[:2]) or CALLS
    return Script(calls)


def _full(prompt: Prompt, faults: Faults) -> Script:
    thought, *_ = _reasoning(prompt, faults).items
    announced = Message(tuple(pieces("Let me look at the gauge and prepare the gate.")))
    said = _tools(prompt, faults).items
    return Script((thought, *said) if prompt.answered else (thought, announced, *said))


def _refusal(_prompt: Prompt, faults: Faults) -> Script:
    words = _message("I cannot open the gate while people are in the channel.", faults)
    return Script((Message(words.deltas, refusal=True),))


def _incomplete(prompt: Prompt, faults: Faults) -> Script:
    message = _text(prompt, faults).items[0]
    assert isinstance(message, Message)  # noqa: S101
    return Script((Message(message.deltas[: max(1, len(message.deltas) // 3)]),), "incomplete")


def _failed(prompt: Prompt, faults: Faults) -> Script:
    return Script(_incomplete(prompt, faults).items, "failed")


def _echo(prompt: Prompt, faults: Faults) -> Script:
    return Script((_message(prompt.text, faults),))


def _json(prompt: Prompt, faults: Faults) -> Script:
    schema = prompt.schema or {
        "type": "object",
        "properties": {"gate": {"type": "integer"}},
        "required": ["gate"],
    }
    return Script((_message(_example(schema), faults),))


def _unicode(_prompt: Prompt, faults: Faults) -> Script:
    return Script((_message(WORLD, faults),))


def _empty(_prompt: Prompt, _faults: Faults) -> Script:
    return Script(())


SCRIPTS: Final = {
    "replay-text": _text,
    "replay-reasoning": _reasoning,
    "replay-tools": _tools,
    "replay-full": _full,
    "replay-echo": _echo,
    "replay-json": _json,
    "replay-unicode": _unicode,
    "replay-refusal": _refusal,
    "replay-incomplete": _incomplete,
    "replay-failed": _failed,
    "replay-empty": _empty,
}


def write(name: str, prompt: Prompt, faults: Faults) -> Script:
    """The script called `name` for this request; a model the upstream does not play gets `replay-text`.

    Raises `HttpError` 404 for a name that claims to be a script and is none.
    """
    if name.startswith("replay-") and name not in SCRIPTS:
        raise HttpError(
            404, f"The model {name[:80]!r} does not exist.", code="model_not_found", param="model"
        )
    script = SCRIPTS.get(name, _text)(prompt, faults)
    if faults.bad_arguments:
        script = replace(script, items=tuple(map(_with_bad_arguments, script.items)))
    return script if faults.outcome is None else replace(script, outcome=cast("Outcome", faults.outcome))


def _with_bad_arguments(item: Item) -> Item:
    """A function call whose arguments break off in the middle."""
    return (
        replace(item, arguments=item.arguments[: len(item.arguments) // 2])
        if isinstance(item, ToolCall)
        else item
    )


def _example(schema: Mapping[str, Any]) -> str:
    """A JSON text that fits the plain part of a schema: types, properties, required, enum, const, items."""
    return json.dumps(_value(schema, 0), separators=(",", ":"), ensure_ascii=False)


def _value(schema: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > 16:
        return None
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        required = schema.get("required", list(known))
        return {name: _value(known[name], depth + 1) for name in known if name in required}
    if kind == "array":
        return [_value(schema.get("items"), depth + 1)]
    plain = (("string", "upper-weir"), ("integer", 2), ("number", 0.35), ("boolean", True))
    return next((value for name, value in plain if name == kind), None)
