"""What may be chosen for a streamed response: how it is kept alive, and what becomes of a stream whose client
has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from penstock._penstock import write_sse

__all__ = ["Cancel", "Detach", "DisconnectPolicy", "Drain", "KeepAlive"]

KEEP_ALIVE_SECONDS: Final = 15.0
"""Proxies cut connections that are silent for 60 s, some for 30 s; the HTML standard suggests 15 s."""

_FRAMES: Final = {
    "comment": write_sse(comment="keep-alive"),
    "ping": write_sse('{"type":"ping"}', event="ping"),
    "none": b"",
}


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What is written when nothing has been for a while, also before the upstream's first byte.

    Comments are what the standard has for it. Some clients take offence at them and know Anthropic's
    ``ping`` events instead; for those that know neither, there is ``"none"``.

    Attributes:
        kind: ``"comment"``, ``"ping"`` or ``"none"``.
        seconds: after how long a silence.

    Raises:
        ValueError: another kind, or a time that is not positive.
    """

    kind: Literal["comment", "ping", "none"] = "comment"
    seconds: float = KEEP_ALIVE_SECONDS

    def __post_init__(self) -> None:
        if self.kind not in _FRAMES:
            raise ValueError(f"keep-alives are of kind 'comment', 'ping' or 'none', not {self.kind!r}")
        _require_positive(self.seconds, "seconds between keep-alives")

    @property
    def frame(self) -> bytes:
        """The bytes to write; empty for none."""
        return _FRAMES[self.kind]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The upstream is let go as soon as the client has left: nothing more is generated or paid for."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The upstream is read on, for what wants the whole response (hooks, a store), within the request.

    Attributes:
        seconds: how long at most.
    """

    seconds: float = 30.0

    def __post_init__(self) -> None:
        _require_positive(self.seconds, "seconds to drain")


@dataclass(frozen=True, slots=True)
class Detach:
    """The upstream is read on by a task of its own, and the request is over: what belongs to it, such as
    middleware and dependencies, need not wait.

    Attributes:
        ttl: how many seconds at most.
    """

    ttl: float = 300.0

    def __post_init__(self) -> None:
        _require_positive(self.ttl, "seconds to live on")


DisconnectPolicy: TypeAlias = Cancel | Drain | Detach


def _require_positive(seconds: float, what: str) -> None:
    if not seconds > 0:
        raise ValueError(f"the {what} must be a positive number")


def keep_alive(given: KeepAlive | Literal["comment", "ping", "none"]) -> KeepAlive:
    """The policy that is meant by its kind alone."""
    return given if isinstance(given, KeepAlive) else KeepAlive(given)


def on_disconnect(given: DisconnectPolicy | Literal["cancel", "drain", "detach"]) -> DisconnectPolicy:
    """The policy that is meant by its name alone.

    Raises:
        ValueError: a name that none has.
    """
    if isinstance(given, Cancel | Drain | Detach):
        return given
    kinds: dict[str, type[Cancel | Drain | Detach]] = {"cancel": Cancel, "drain": Drain, "detach": Detach}
    if given not in kinds:
        raise ValueError(f"on_disconnect is 'cancel', 'drain', 'detach' or a policy, not {given!r}")
    return kinds[given]()
