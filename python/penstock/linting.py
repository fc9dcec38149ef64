"""What is wrong with a Responses stream: `lint` and its findings.

The rules and the reading are the core's; this module tells the framings apart and gives the findings names.
"""

from __future__ import annotations

import codecs
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from penstock._penstock import Event, Limits, _Linter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Piece = bytes | bytearray | memoryview | Event | str | dict[str, Any]
    Source = Piece | Iterable[Piece]

__all__ = ["Finding", "lint"]

WHOLE: Final = (bytes, bytearray, memoryview, str, dict, Event)
"""What is a stream, or an event of one, by itself."""


BLANK_PIECES: Final = 64
"""How many pieces of nothing but white space may stand before what tells the framing."""


class Finding(NamedTuple):
    """What one event did that a legal stream does not.

    Attributes:
        code: the rule's code, such as ``"PS204"``; codes keep their meaning for ever.
        rule: its name, such as ``"after_item_done"``.
        event: the event's number in the stream, from 0; the last one's where the stream ends too early.
        type: the event's type; empty if it has none.
        output_index: the item it is about; None if it names none.
        message: the rule, as a sentence.
    """

    code: str
    rule: str
    event: int
    type: str
    output_index: int | None
    message: str

    def __str__(self) -> str:
        about = "" if self.output_index is None else f" (output_index {self.output_index})"
        return f"{self.code} event {self.event} {self.type}{about}: {self.message}"


def lint(
    source: Source, /, *, strict: bool = False, ignore: Iterable[str] = (), limits: Limits | None = None
) -> list[Finding]:
    """Find where a Responses stream breaks the rules of its life; an empty list for a legal one.

    Order, indices, ids, sequence numbers, missing `done` events, terminals that do not fit, and texts, items
    and the final output that are not what was streamed. A defect is told once: what follows from it is not.
    Several responses may follow one another, in several lanes.

    Args:
        source: the bytes of an event stream or JSON lines, or an iterable of chunks of them; or events, each
            an `Event`, a dict, or a JSON text.
        strict: also apply the rules that real providers break all the time.
        ignore: codes or names of rules that are not applied.
        limits: the bounds; findings beyond `max_parts` are left out.

    Raises:
        LimitExceeded: the stream wants more than `limits` grants.
        ValueError: `ignore` names no rule.
    """
    names = [ignore] if isinstance(ignore, str) else list(ignore)
    pieces: Iterator[Piece] = iter([source] if isinstance(source, WHOLE) else source)
    # White space tells nothing yet; who sends no more than that is read as an event stream.
    first: list[Piece] = []
    framing = None
    for piece in islice(pieces, BLANK_PIECES):
        first.append(piece)
        if framing := _framing(piece):
            break
    linter = _Linter(framing=framing or "sse", strict=strict, ignore=names, limits=limits)
    for piece in chain(first, pieces):
        linter.feed(piece)
    return [Finding(*row) for row in linter.finish()]


def _framing(piece: Piece) -> Literal["sse", "ndjson"] | None:
    """How a stream that begins with this is framed: no line of an event stream begins with a brace."""
    if not isinstance(piece, (bytes, bytearray, memoryview)):
        return "sse"
    match bytes(piece[:64]).removeprefix(codecs.BOM_UTF8).lstrip()[:1]:
        case b"":
            return None
        case b"{":
            return "ndjson"
        case _:
            return "sse"
