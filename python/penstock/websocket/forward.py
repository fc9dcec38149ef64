"""Forwarding a WebSocket: what one side sends, the other gets, byte for byte.

    async def responses(websocket):                       # Starlette or FastAPI
        return await forward(websocket, lambda _: connect(URL, headers=KEY), allowed_origins=ORIGINS)

Here stands what the caller gives and gets; how it runs is in `forwarding`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

from penstock._penstock import Event
from penstock.websocket.channels import open_channel
from penstock.websocket.forwarding import OBSERVED, AsyncRewriter, Forwarding, Outcome, Rewriter
from penstock.websocket.limits import ConnectionLimits
from penstock.websocket.opening import Authenticate
from penstock.websocket.origins import Origins

__all__ = ["forward"]


async def forward(
    client: Any,
    upstream: Any,
    *,
    allowed_origins: Iterable[str | None] | None,
    authenticate: Authenticate | None = None,
    on_event: Callable[[Event], Any] | None = None,
    on_input: Callable[[list[dict[str, Any]], Event], Any] | None = None,
    observe: Collection[str] = OBSERVED,
    rewriter: Rewriter | AsyncRewriter | None = None,
    limits: ConnectionLimits | None = None,
    binary: Literal["refuse", "forward"] = "refuse",
    subprotocol: str | None = None,
) -> Outcome:
    """Forward between a client and an upstream until either leaves; both are closed when it returns.

    Args:
        client: the client's connection; see `channels` for what is known.
        upstream: the upstream's, or an async function that opens it: it is called with the `Opening` once
            the client has been let in, and never for one that has not.
        allowed_origins: of browsers; see `Origins`. There is no default: None must be meant.
        authenticate: judges the client by its first message.
        on_event: called with each event of the upstream whose type is one of `observe`.
        on_input: called with the input items of each `response.create`, and with the request itself.
        observe: types of events.
        rewriter: changes texts both ways; its methods may be async.
        limits: of the connection.
        binary: whether binary messages are passed on, or end the connection with 1003; the Responses API
            has none.
        subprotocol: for the handshake with the client.

    Observers may be async. They run beside the stream, one call at a time, and what they raise is logged.

    Raises:
        TypeError, ValueError: an argument is none of those allowed.
    """
    if binary not in ("refuse", "forward"):
        raise ValueError(f'binary is "refuse" or "forward", not {binary!r}')
    forwarding = Forwarding(
        open_channel(client),
        limits=limits or ConnectionLimits(),
        rewriter=rewriter,
        forwards_binary=binary == "forward",
        on_event=on_event,
        on_input=on_input,
        observed=frozenset(observe) if on_event is not None else frozenset(),
    )
    return await forwarding.run(
        upstream, origins=Origins(allowed_origins), authenticate=authenticate, subprotocol=subprotocol
    )
