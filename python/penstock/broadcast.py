"""One stream for many subscribers, who may join and come back at any time.

    broadcast = Broadcast()
    asyncio.create_task(broadcast.run(upstream))
    async for chunk in broadcast.subscribe(starting_after=17):
        ...

There is one log, and a subscriber is a place in it: an event is written once, however many read it, and a
slow reader costs no memory of its own. Who joins late gets what has been as a compact stream, neighbouring
deltas merged into one, then the events as they come. The end is kept for a while, so that who was cut off at
the last moment can still ask for it.

Every frame has an `id`: the event's `sequence_number` where the stream has any, else the number of the event.
It is what ``Last-Event-ID`` and ``starting_after`` mean.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from penstock._penstock import Decoder, Event, Limits, Relay, _coalesce, write_events
from penstock.errors import ClientDisconnected, LimitExceeded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from penstock.subscription import Subscription

__all__ = ["Broadcast"]

Policy: TypeAlias = Literal["block", "coalesce", "drop", "disconnect"]

HIGH_WATER: Final = 256 * 1024
"""How many bytes a subscriber may be behind before its policy counts."""

BLOCK_SECONDS: Final = 30.0
"""How long one subscriber may hold up the stream; then it is a peer that has vanished."""


_FINISH_REASON: Final = re.compile(rb'"finish_reason"\s*:\s*"')


class Entry:
    """One event of the log.

    Attributes:
        frame: its bytes, `id` included.
        number: its `id`.
        end: bytes of the log up to its end.
        is_delta: whether it does nothing but add a piece of text.
    """

    __slots__ = ("end", "frame", "is_delta", "number")

    def __init__(self, frame: bytes, number: int, end: int, is_delta: bool) -> None:
        self.frame = frame
        self.number = number
        self.end = end
        self.is_delta = is_delta


class Broadcast:
    """One stream and its log, for any number of subscribers on one event loop.

    The log is bounded by `Limits.max_message_bytes`. Whatever becomes of its source, the stream has exactly
    one truthful end.

    Args:
        dialect: of the events: "auto", "responses", "chat" or "messages".
        limits: of the events and of the log.
    """

    def __init__(
        self,
        *,
        dialect: Literal["auto", "responses", "chat", "messages"] = "auto",
        limits: Limits | None = None,
    ) -> None:
        self._limits = Limits() if limits is None else limits
        self._relay = Relay(dialect=dialect, limits=self._limits)
        self._decoder = Decoder(sentinel=None, limits=self._limits)
        self._log: list[Entry] = []
        self._compact: list[bytes] = []  # the log as a late subscriber gets it, up to ...
        self._compacted = 0  # ... this place
        self._waiting: list[asyncio.Future[None]] = []  # subscribers that have read all
        self._blocking: set[Subscription] = set()  # those that may hold up the publisher
        self._room: asyncio.Future[None] | None = None  # the publisher waits for one of them
        self._ended = False
        self._on_end: Callable[[], None] | None = None  # whoever keeps it, to forget it

    async def publish(self, data: bytes | Event | dict[str, Any] | list[Any]) -> None:
        """Append to the stream: bytes in any split, or events. Waits while a subscriber that blocks is
        behind.

        Raises:
            LimitExceeded: the stream is larger than allowed; its subscribers have been told that it failed.
            RuntimeError: the stream has ended.
        """
        if self._ended:
            raise RuntimeError("the stream has ended")
        chunk = data if isinstance(data, bytes | bytearray | memoryview) else write_events(data)
        try:
            self._append(self._relay.feed(chunk))
        except LimitExceeded as error:
            await self.fail(str(error))
            raise
        if self._blocking:
            await self._wait_for_room()

    async def finish(self) -> None:
        """End the stream: as failed, if its own end has not come. May be called again."""
        if not self._ended:
            self._end(self._relay.finish())

    async def fail(self, message: str, *, code: str = "server_error") -> None:
        """End the stream as failed, unless it has ended in its own way. May be called again."""
        if not self._ended:
            self._end(self._relay.fail(message, code=code))

    async def run(self, source: Any) -> None:
        """Publish a whole source, whatever `EventStreamResponse` streams; every end of it is this stream's.

        Raises:
            Exception: whatever the source raised, once the subscribers have been told that the stream failed.
        """
        from penstock.asgi.upstream import open_upstream  # noqa: PLC0415 - it needs asyncio

        upstream = None
        try:
            upstream = await open_upstream(source)
            while (chunk := await upstream.take()) is not None:
                await self.publish(chunk)
            await self.finish()
        finally:
            await self.fail("the upstream failed")
            if upstream is not None:
                await upstream.aclose()

    @property
    def ended(self) -> bool:
        """Whether the stream has ended: nothing is added any more."""
        return self._ended

    @property
    def events(self) -> int:
        """Events in the log."""
        return len(self._log)

    @property
    def last_id(self) -> int | None:
        """The `id` of the last event; None before the first."""
        return self._log[-1].number if self._log else None

    def snapshot(self) -> dict[str, Any] | None:
        """The `Response` or `ChatCompletion` so far."""
        return self._relay.snapshot()

    def _append(self, frames: bytes) -> None:
        """Write the events of whole frames into the log, and wake who waits for them."""
        events = self._decoder.feed(frames) if frames else []
        log = self._log
        number = log[-1].number if log else -1
        end = log[-1].end if log else 0
        for event in events:
            own = event.sequence_number
            number = own if own is not None and own > number else number + 1
            frame = write_events(event, id=str(number))
            end += len(frame)
            log.append(Entry(frame, number, end, _is_delta(event)))
        self._require_bounds(end)
        if events:
            self._wake()

    def _require_bounds(self, size: int) -> None:
        maximum = self._limits.max_message_bytes
        if maximum is not None and size > maximum and not self._ended:
            raise LimitExceeded(
                f"max_message_bytes is {maximum}, and the stream has {size}",
                limit="max_message_bytes",
                maximum=maximum,
                value=size,
            )

    def _end(self, rest: bytes) -> None:
        self._ended = True
        self._append(rest)
        self._wake()
        if self._on_end is not None:
            self._on_end()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait_for_room(self) -> None:
        import asyncio  # noqa: PLC0415 - longer to import than all of penstock

        while not self._ended and (behind := [each for each in self._blocking if each._is_behind]):
            self._room = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(BLOCK_SECONDS):
                    await self._room
            except TimeoutError:
                for subscription in behind:
                    subscription._drop(
                        ClientDisconnected(f"the subscriber took nothing for {BLOCK_SECONDS:g} s")
                    )
            finally:
                self._room = None

    def subscribe(
        self,
        *,
        starting_after: int | None = None,
        last_event_id: str | None = None,
        policy: Policy = "coalesce",
        max_bytes: int = HIGH_WATER,
    ) -> Subscription:
        """Join the stream: an async iterator of bytes, whole frames each, from wherever the subscriber left
        off.

        Args:
            starting_after: the `id` of the last event that the subscriber has; by default it gets all.
            last_event_id: the same as browsers send it, in the header ``Last-Event-ID``; empty for none.
            policy: what happens when the subscriber is more than `max_bytes` behind: the publisher waits
                ("block"), neighbouring deltas are merged ("coalesce"), deltas are left out ("drop"; the later
                `done` events of a Responses stream make it good), or the subscription ends ("disconnect").
            max_bytes: how far behind it may be.

        Raises:
            ValueError: `last_event_id` is no number, or an option is none of those allowed.
        """
        from penstock.subscription import Subscription  # noqa: PLC0415 - it needs asyncio

        if last_event_id and starting_after is None:
            if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
                raise ValueError("the last event id is not one of this stream's")
            starting_after = int(last_event_id)
        if policy not in {"block", "coalesce", "drop", "disconnect"}:
            raise ValueError(f"policy is 'block', 'coalesce', 'drop' or 'disconnect', not {policy!r}")
        if max_bytes <= 0:
            raise ValueError("max_bytes must be positive")
        return Subscription(self, starting_after, policy, max_bytes)

    def _place_after(self, number: int) -> int:
        """The place of the first entry above a number."""
        return bisect_right(self._log, number, key=_number)

    def _compacted_log(self) -> list[bytes]:
        """The whole log, neighbouring deltas merged; what was merged before is not read again."""
        if self._compacted < len(self._log):
            frames = self._compact[-1:] + [entry.frame for entry in self._log[self._compacted :]]
            self._compact[-1:] = _coalesce(frames)
            self._compacted = len(self._log)
        return self._compact

    def __repr__(self) -> str:
        return f"<Broadcast {'ended' if self._ended else 'open'}, {len(self._log)} events>"


def _number(entry: Entry) -> int:
    return entry.number


def _is_delta(event: Event) -> bool:
    """Whether an event does nothing but add a piece of text."""
    kind = event.type
    if kind == "content_block_delta":
        return True
    # A chunk of Chat Completions has no type, and may bring its finish reason with the last piece.
    return bool(event.delta) and (kind.endswith(".delta") or _FINISH_REASON.search(event.data) is None)
