"""The rows of `tests/vectors` as typed cases; `tests/vectors/README.md` describes the files."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

VECTORS = Path(__file__).parent / "vectors"

T = TypeVar("T")


@dataclass(frozen=True)
class ExpectedEvent:
    """One event a stream must give. A type of None leaves it open: the payload is not JSON."""

    data: str
    name: str | None
    id: str | None
    type: str | None
    flushed: bool


@dataclass(frozen=True)
class StreamCase:
    """A byte stream and everything a decoder must say about it."""

    name: str
    stream: bytes
    options: Mapping[str, Any]
    events: tuple[ExpectedEvent, ...]
    retry: int | None
    last_event_id: str
    comments: int
    done: bool
    non_sse_body: bytes | None
    invalid_utf8: bool

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class JsonCase:
    """A text that JSON allows or not; `value` only where `json.loads` alone cannot tell the answer."""

    name: str
    text: bytes
    accepted: bool
    has_value: bool
    value: Any
    limit: str | None
    prefixes_refused: bool

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class LimitCase:
    """A stream that reaches a limit exactly, one that passes it, and where in the stream that one does."""

    name: str
    framing: Literal["sse", "ndjson"]
    limit: str
    maximum: int
    within: bytes
    above: bytes
    offset: int
    events: int

    def __str__(self) -> str:
        return self.name


def stream_cases(folder: str) -> list[StreamCase]:
    """The cases of one framing, `sse` or `ndjson`."""
    return list(_cases(folder, _stream_case))


def json_cases() -> list[JsonCase]:
    """The JSON cases."""
    return list(_cases("json", _json_case))


def limit_cases() -> list[LimitCase]:
    """The cases of the limits that bound a stream."""
    return list(_cases("limits", _limit_case))


def _cases(folder: str, read: Callable[[str, dict[str, Any]], T]) -> Iterator[T]:
    for path in sorted((VECTORS / folder).glob("*.jsonl")):
        for row in path.read_text("ascii").splitlines():
            yield read(path.stem, json.loads(row))


def _input(row: dict[str, Any]) -> bytes:
    if "bytes" in row:
        return bytes(row["bytes"], "latin-1")
    parts = row["parts"] if "parts" in row else [[row["text"], 1]]
    return b"".join(text.encode() * times for text, times in parts)


def _stream_case(file: str, row: dict[str, Any]) -> StreamCase:
    options = dict(row.get("options", {}))
    if options.get("sentinel") is not None:
        options["sentinel"] = options["sentinel"].encode()
    body = row.get("non_sse_body")
    return StreamCase(
        name=f"{file}:{row['name']}",
        stream=_input(row),
        options=options,
        events=tuple(map(_expected_event, row["events"])),
        retry=row.get("retry"),
        last_event_id=row.get("last_event_id", ""),
        comments=row.get("comments", 0),
        done=row.get("done", False),
        non_sse_body=None if body is None else body.encode(),
        invalid_utf8=row.get("invalid", False),
    )


def _expected_event(row: dict[str, Any]) -> ExpectedEvent:
    name = row.get("name")
    return ExpectedEvent(
        data=row["data"],
        name=name,
        id=row.get("id"),
        type=row.get("type", name or "message"),
        flushed=row.get("flushed", False),
    )


def _json_case(file: str, row: dict[str, Any]) -> JsonCase:
    return JsonCase(
        name=f"{file}:{row['name']}",
        text=_input(row),
        accepted=row.get("accept", row["name"].startswith("y_")),
        has_value="value" in row,
        value=row.get("value"),
        limit=row.get("limit"),
        prefixes_refused=row.get("prefixes") == "refused",
    )


def _limit_case(file: str, row: dict[str, Any]) -> LimitCase:
    streams = {key: row[key].encode() for key in ("within", "above")}
    return LimitCase(**{**row, **streams, "name": f"{file}:{row['name']}"})
