"""Responses that run without their client: asked for with `"background": true`, read and resumed at any time.

The stream goes into a broadcast, which keeps it for a while beyond its end. Whoever asked is its first
subscriber; whoever gets `/v1/responses/{id}?stream=true&starting_after=N` is another, and none ends it
by leaving.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penstock._penstock import Decoder
from penstock.broadcasts import Broadcasts

from .http import ApiError, Message, Request, Send, send_json
from .watch import Leaving

if TYPE_CHECKING:
    from penstock.broadcast import Broadcast

    from .client import Headers
    from .config import Config

__all__ = ["EVENT_STREAM", "Publisher", "open_broadcasts", "show", "watch"]

EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def open_broadcasts(config: Config) -> Broadcasts:
    """Where running streams are kept: on Redis where the store is there, so that any worker serves them."""
    if config.store.kind != "redis":
        return Broadcasts(ttl=config.limits.resume)
    from penstock.broadcasts import RedisBroadcasts  # noqa: PLC0415 - its client is another extra

    return RedisBroadcasts.from_url(config.store.url.get_secret_value(), ttl=config.limits.resume)


class Publisher:
    """Stands where the client stands otherwise: takes what is sent, and never leaves."""

    def __init__(self, broadcasts: Broadcasts, tenant: str) -> None:
        self.begun: asyncio.Future[Broadcast] = asyncio.get_running_loop().create_future()
        """The stream, as soon as its response has an id; or why there is none."""
        self.begun.add_done_callback(
            lambda begun: begun.cancelled() or begun.exception()
        )  # the client may be gone
        self._broadcasts = broadcasts
        self._tenant = tenant
        self._broadcast: Broadcast | None = None

    async def receive(self) -> Message:
        """Nothing, for ever."""
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        """Publish a piece of the stream."""
        frames: bytes = message.get("body", b"")
        if frames and self._broadcast is None:
            event = Decoder().feed(frames)[0]
            self._broadcast = await self._broadcasts.open(
                event["response"]["id"], tenant=self._tenant, dialect="responses"
            )
            self.begun.set_result(self._broadcast)
        if self._broadcast is not None:
            if frames:
                await self._broadcast.publish(frames)
            if not message.get("more_body", False) and message["type"] == "http.response.body":
                await self._broadcast.finish()

    async def end(self, error: BaseException | None) -> None:
        """The exchange is over; where it has failed, so have those who wait for it."""
        if not self.begun.done():
            self.begun.set_exception(error or ApiError(502, "The upstream's stream was empty."))
        if self._broadcast is not None and not self._broadcast.ended:
            await self._broadcast.fail("the gateway ended the stream")


async def watch(
    request: Request, send: Send, broadcast: Broadcast, headers: Headers, after: int | None = None
) -> bool:
    """Let a client read a stream from after an event on; whether it stayed to the end."""
    try:
        seen = request.headers.get(b"last-event-id", b"").decode("latin-1") or None
        subscription = broadcast.subscribe(starting_after=after, last_event_id=seen)
    except ValueError as error:
        raise ApiError(400, f"{error}.", param="starting_after") from None
    with Leaving(request.receive) as leaving:
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_STREAM, *headers]})
        async for frames in subscription:
            await request.send({"type": "http.response.body", "body": frames, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})
    return not leaving.gone


async def show(send: Send, broadcast: Broadcast, headers: Headers) -> None:
    """Answer with the response as far as it has come."""
    snapshot: dict[str, Any] = broadcast.snapshot() or {}
    await send_json(send, 200, {**snapshot, "background": True}, headers)
