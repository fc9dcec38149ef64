"""Slow, obvious twins of the two fast paths: the event-stream decoder and the JSON reader.

They are written from the standards, share no line with the core, and are held to the same
vectors as the core; the property tests then hold the core to them on inputs nobody wrote down.
"""

import json
import re
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

MAX_DEPTH = 128

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Dispatched(NamedTuple):
    """One event as the standard dispatches it; an empty name means `message`."""

    name: str
    data: str
    id: str


class Decoded(NamedTuple):
    """What a whole event stream says."""

    events: list[Dispatched]
    retry: int | None
    last_event_id: str
    comments: int


def decode_event_stream(stream: bytes) -> Decoded:
    """Decode a whole stream by WHATWG HTML 9.2.6, one rule a line; pending data is discarded at the end."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    events: list[Dispatched] = []
    data = name = last_id = last_event_id = ""
    retry: int | None = None
    comments = 0
    for line in re.split("\r\n|\n|\r", text)[:-1]:  # what follows the last line end is no line
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_event_id = last_id
            if data:
                events.append(Dispatched(name, data.removesuffix("\n"), last_event_id))
            data = name = ""
        elif not field:
            comments += 1
        elif field == "event":
            name = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return Decoded(events, retry, last_event_id, comments)


def loads(text: bytes) -> Any:
    """Read one JSON text as `json.loads` reads a str, but for documented differences; refuse by ValueError.

    NaN and the infinities are refused, and so is nesting over 128 levels; a lone surrogate escape becomes
    U+FFFD, as invalid UTF-8 does. That integers over 4,300 digits are refused is CPython's own rule.
    """
    decoded = text.decode("utf-8", "replace")
    skeleton = _STRING.sub("", decoded)
    if max(accumulate(1 if c in "[{" else -(c in "]}") for c in skeleton), default=0) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return _encodable(json.loads(decoded, parse_constant=_refuse))


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal in types, key order and the zero's sign too."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right) if isinstance(left, float) else bool(left == right)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value
