"""What the demo shows, whatever it looks like: an event's words, a final object's facts, the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from penstock import Event, IncompleteStream
    from penstock.stats import StreamStats

__all__ = ["Place", "Show", "Stage", "Words", "calls_of", "facts_of", "figures_of", "text_of", "words_of"]

JSON = dict[str, Any]

Show = Callable[["Event"], None]
Place = tuple[int | None, int | None]
"""Which paragraph words belong to: an output item, and a part of it."""


class Stage(Protocol):
    """Where the demo is shown."""

    def opening(self, url: str) -> None:
        """Say what is about to be seen."""

    def scene(self, title: str, subtitle: str) -> None:
        """Announce the next stream."""

    def streaming(self) -> AbstractContextManager[Show]:
        """Show the words of a stream as its events are passed in."""

    def final(self, final: JSON) -> None:
        """Show a final Response or ChatCompletion, and the function calls in it."""

    def incomplete(self, error: IncompleteStream) -> None:
        """Show how a stream ended too soon, and what is kept of it."""

    def figures(self, stats: StreamStats) -> None:
        """Show what a stream measured."""

    def closing(self, seconds: float, streams: int) -> None:
        """Say where to go from here."""


class Words(NamedTuple):
    """What one event adds to the text on show."""

    kind: str
    """`text`, `thought` or `call`."""
    place: Place
    words: str


KINDS: Final = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "thought",
    "response.function_call_arguments.delta": "call",
}


def words_of(event: Event) -> Words | None:
    """The words an event adds, in either dialect; None for the many that add none."""
    kind = KINDS.get(event.type)
    if kind is not None:
        return Words(kind, (event.output_index, event.get("summary_index")), event.delta or "")
    if event.type == "response.output_item.added" and event["item"]["type"] == "function_call":
        return Words("call", (event.output_index, None), event["item"]["name"] + " ")
    if event.delta:
        return Words("text", (0, None), event.delta)
    choices = event.get("choices")
    thought = choices[0]["delta"].get("reasoning_content") if choices else None
    return Words("thought", (None, None), thought) if thought else None


def facts_of(final: JSON) -> list[tuple[str, str]]:
    """What to tell of a final object: its identity, its outcome, its parts, its cost."""
    facts = [("object", final["object"]), ("id", final["id"]), ("model", final["model"])]
    if "choices" in final:
        choice = final["choices"][0]
        facts.append(("finish_reason", choice["finish_reason"]))
        kept = {
            key: value for key, value in choice["message"].items() if isinstance(value, str) and key != "role"
        }
        facts += [(f"message.{key}", f"{len(value)} characters") for key, value in kept.items()]
    else:
        facts.append(("status", final["status"]))
        if error := final.get("error"):
            facts.append(("error", f"{error['code']}: {error['message']}"))
        facts += [(f"output[{index}]", _item(item)) for index, item in enumerate(final["output"])]
    usage = final.get("usage") or {}
    counts = [(key, value) for key, value in usage.items() if isinstance(value, int)]
    if counts:
        facts.append(("usage", ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in counts)))
    return facts


def _item(item: JSON) -> str:
    if item["type"] == "message":
        return f"message, {sum(len(part.get('text', '')) for part in item['content'])} characters"
    if item["type"] == "reasoning":
        return f"reasoning, {len(item['summary'])} summary parts"
    return f"{item['type']} {item['name']}"


def calls_of(final: JSON) -> list[tuple[str, str]]:
    """Name and arguments of each function call of a Response."""
    items = (item for item in final.get("output", ()) if item["type"] == "function_call")
    return [(item["name"], _arguments(json.loads(item["arguments"]))) for item in items]


def _arguments(given: JSON) -> str:
    return ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items())


def figures_of(stats: StreamStats) -> list[tuple[str, str]]:
    """The figures of a stream, ready to read."""
    first = f"event after {_time(stats.first_event)}, token after {_time(stats.first_token)}"
    between = f"p50 {_time(stats.inter_token(0.5))}, p99 {_time(stats.inter_token(0.99))}"
    return [
        ("received", f"{stats.events} events, {stats.bytes:,} bytes in {_time(stats.duration)}"),
        ("first", first),
        ("between tokens", between),
        ("terminal", stats.terminal or "none came"),
    ]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def text_of(partial: JSON | None) -> str:
    """The text of a partial Response."""
    items = (partial or {}).get("output", [])
    return "".join(part.get("text", "") for item in items for part in item.get("content", []))
