"""How a client is let in: its page's origin, the handshake, who it is; all before any upstream call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penstock._penstock import Event
from penstock.websocket.channels import CLOSE_SECONDS, Channel, ClosedError
from penstock.websocket.limits import ConnectionLimits, Gate, refusal_of
from penstock.websocket.origins import Origins
from penstock.websocket.wire import RefusedError, dump, error_frame

__all__ = ["Authenticate", "Opening", "let_in", "say", "turn_away", "turned_away_by"]


@dataclass(slots=True, eq=False)
class Opening:
    """A client that wants in.

    Attributes:
        channel: its connection, whose `path`, `query` and `header(name)` tell of the request.
        message: the first message, where a hook has asked for it.
        forward: what goes on to the upstream in its place. A hook sets it to None where the message was for
            authentication alone, or to another text.
        tenant: whose sessions this connection may reach; a hook sets it.
        context: anything a hook wants to hand to what comes after it.
    """

    channel: Channel
    message: str = field(default="", repr=False)
    forward: str | None = field(default=None, repr=False)
    tenant: str | None = None
    context: Any = field(default=None, repr=False)

    @property
    def event(self) -> Event:
        """The first message, for reading: `event.type`, `event.get("token")`."""
        return Event(self.message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.channel.path!r}>"  # the message may hold a key


Authenticate: TypeAlias = Callable[[Opening], Awaitable[None]]
"""Looks at the first message and raises `RefusedError` to turn the client away."""


async def let_in(
    channel: Channel,
    *,
    origins: Origins,
    authenticate: Authenticate | None,
    limits: ConnectionLimits,
    gate: Gate,
    subprotocol: str | None,
) -> Opening:
    """Check the origin; where a hook is given, complete the handshake and have it judge the first message.

    Raises:
        RefusedError: the client may not come in; tell it by `turn_away`.
        ClosedError: it has left.
    """
    if not origins.allow(channel.header("origin")):
        raise RefusedError("This origin may not connect.", status=403, code="origin_not_allowed")
    opening = Opening(channel)
    if authenticate is None:
        return opening
    await channel.accept(subprotocol)
    late = RefusedError("No authentication came in time.", status=401, code="authentication_timeout")
    try:
        async with asyncio.timeout(limits.first_message_seconds):
            message = await channel.receive()
    except TimeoutError:
        raise late from None
    error = gate.take(message, asyncio.get_running_loop().time())
    if error is not None:
        raise refusal_of(error) from error
    if isinstance(message, bytes):
        raise RefusedError("The first message must be text.", code="binary_message", close_code=1003)
    opening.message = opening.forward = message
    await authenticate(opening)
    return opening


def turned_away_by(refusal: RefusedError) -> int:
    """The code that a client is turned away with: 1008 for its own fault, 1013 (try again later) else."""
    if refusal.close_code is not None:
        return refusal.close_code
    return 1008 if refusal.status < 500 else 1013


async def turn_away(channel: Channel, refusal: RefusedError) -> None:
    """Tell a client that it may not come in, by an HTTP answer or an error frame, and close."""
    code = turned_away_by(refusal)
    if channel.accepted:
        await say(channel, error_frame(refusal))
        await channel.close(code, refusal.code or "")
    else:
        await channel.deny(refusal.status, dump({"error": refusal.error()}).encode(), code)


async def say(channel: Channel, *frames: str) -> None:
    """Send last words, to a client that may not listen any more."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            for frame in frames:
                await channel.send(frame)
    except (ClosedError, TimeoutError):
        pass
