"""What the replay upstream has seen and done: figures for `GET /stats`, requests for tests that ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Asked", "Seen", "Stats"]

JSON = dict[str, Any]


@dataclass(slots=True)
class Stats:
    """What the server has seen since it started; `GET /stats` shows it."""

    connections: int = 0
    requests: int = 0
    refused: int = 0
    """Requests answered with a status of 400 or more."""
    streams: int = 0
    """Event streams begun."""
    completed: int = 0
    """Answers of the generating routes, streams or not, written to their end."""
    faulted: int = 0
    """Those ended early because the request asked for it."""
    aborted: int = 0
    """Those whose client went away."""
    active: int = 0
    """Those being written now."""
    websockets: int = 0
    """Connections that went over to the WebSocket mode."""
    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived, for tests that ask what a client sent; credentials are left out."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Asked:
    """A `response.create` as the server understood it."""

    connection: int
    """Which WebSocket it came over, counted from 1."""
    lane: str | None
    body: JSON
    """Its fields, flat, the input as items and the faults still behind the model."""
    context: list[Any]
    """The items of the conversation it continues; its own input comes behind them."""
