"""Recorded streams: a file of JSON lines or of server-sent events, served as it stands."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import ChatAccumulator, ResponseAccumulator
from penstock.errors import PenstockError

from .wire import frame

__all__ = ["Recording", "RecordingError"]


class RecordingError(ValueError):
    """A file that holds no stream; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The framed events of one file, byte for byte where the file was framed already."""

    name: str
    events: tuple[bytes, ...]

    @staticmethod
    def load(path: Path) -> Recording:
        """Read a file. Raises `OSError`, or `RecordingError` where it holds no events."""
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        if content.lstrip()[:1] == b"{":
            events = tuple(_framed(line.strip(), path) for line in content.split(b"\n") if line.strip())
        else:
            blocks = re.findall(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", content, re.DOTALL)
            events = tuple(block for block in blocks if re.search(rb"^data", block, re.MULTILINE))
        if not events:
            raise RecordingError(f"{path} holds neither JSON lines nor server-sent events")
        return Recording(path.stem, events)

    def whole(self, accumulator: ResponseAccumulator | ChatAccumulator) -> dict[str, Any] | None:
        """The last object that the events add up to, for a request that does not stream; None without one."""
        try:
            accumulator.feed(b"".join(self.events))
            accumulator.finish()
            return accumulator.final()
        except PenstockError:
            return None


def _framed(line: bytes, path: Path) -> bytes:
    try:
        payload = json.loads(line)
    except ValueError as error:
        raise RecordingError(f"{path} has a line that is not JSON: {error}") from None
    kind = payload.get("type") if isinstance(payload, dict) else None
    return frame(line, kind if isinstance(kind, str) else None)
