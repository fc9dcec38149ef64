"""What one client may ask of a connection, and how long anybody may take."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.errors import LimitExceeded, PenstockError
from penstock.websocket.wire import RefusedError, text_bytes

__all__ = ["ConnectionLimits", "Gate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds of one connection. None switches one off.

    Attributes:
        max_message_bytes: of one message from the client; beyond, the connection closes with 1009. Servers
            have a limit of their own (uvicorn: `--ws-max-size`, 16 MiB), and the lower one counts.
        max_messages: from the client in any `per_seconds`, as a bucket that fills steadily; beyond, 1008.
        max_bytes: likewise, of all messages together.
        per_seconds: the time in which the two are counted.
        first_message_seconds: for the first message, where an authentication hook waits for it.
        write_seconds: for one message to be taken by a peer whose buffers are full.

    Raises:
        ValueError: a bound that is not positive.
    """

    max_message_bytes: int | None = 16 * 1024 * 1024
    max_messages: int | None = 6_000
    max_bytes: int | None = 256 * 1024 * 1024
    per_seconds: float = 60.0
    first_message_seconds: float | None = 10.0
    write_seconds: float | None = 30.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or None")


class Gate:
    """Counts what a client sends against its limits; time is an argument."""

    __slots__ = ("_bytes", "_limits", "_messages", "_since")

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self._limits = limits
        self._messages = 0.0  # in the buckets
        self._bytes = 0.0
        self._since = now

    def take(self, message: str | bytes, now: float) -> PenstockError | None:
        """Let a message in, or say what it breaks: `LimitExceeded` for its size, else `RefusedError`."""
        limits = self._limits
        size = text_bytes(message)
        if limits.max_message_bytes is not None and size > limits.max_message_bytes:
            return LimitExceeded(
                f"a message of {size} bytes is beyond max_message_bytes ({limits.max_message_bytes})",
                limit="max_message_bytes",
                maximum=limits.max_message_bytes,
                value=size,
            )
        passed = (now - self._since) / limits.per_seconds
        self._since = now
        if limits.max_messages is not None:
            self._messages = max(0.0, self._messages - passed * limits.max_messages) + 1
            if self._messages > limits.max_messages:
                return _too_many(f"{limits.max_messages} messages", limits.per_seconds)
        if limits.max_bytes is not None:
            self._bytes = max(0.0, self._bytes - passed * limits.max_bytes) + size
            if self._bytes > limits.max_bytes:
                return _too_many(f"{limits.max_bytes} bytes", limits.per_seconds)
        return None


def refusal_of(error: PenstockError) -> RefusedError:
    """What the client is told of an error of `Gate.take`."""
    if isinstance(error, RefusedError):
        return error
    return RefusedError(f"{error}", status=413, code="message_too_big", close_code=1009)


def _too_many(what: str, seconds: float) -> RefusedError:
    return RefusedError(
        f"Rate limit reached: {what} in {seconds:g} s.",
        status=429,
        code="rate_limit_exceeded",
        close_code=1008,
    )
