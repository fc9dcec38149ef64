"""A place in the log of a `Broadcast`, and what becomes of who falls behind."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from penstock._penstock import _coalesce
from penstock.errors import ClientDisconnected, ConcurrencyError

if TYPE_CHECKING:
    from penstock.broadcast import Broadcast, Entry, Policy

__all__ = ["Subscription"]

CHUNK_BYTES: Final = 64 * 1024
"""About how much one step gives at most: what a socket buffer commonly holds."""


class Subscription:
    """Iterates the frames of a broadcast, as bytes, from one place on. Made by `Broadcast.subscribe`.

    A cancelled step loses nothing. The iteration ends where the stream does.

    Attributes:
        last_id: the `id` of the last event given; None before the first.
        dropped: deltas that were left out.

    Iterating raises:
        ClientDisconnected: the subscriber is too far behind, by its policy or by holding up the others.
        ConcurrencyError: another task is iterating.
    """

    def __init__(self, broadcast: Broadcast, after: int | None, policy: Policy, max_bytes: int) -> None:
        self.last_id = after
        self.dropped = 0
        self._broadcast = broadcast
        self._log = broadcast._log
        self._policy = policy
        self._max_bytes = max_bytes
        self._ready: deque[bytes] = deque()  # what has been merged and not been given
        self._place = 0
        self._waiter: asyncio.Future[None] | None = None
        self._gone: ClientDisconnected | None = None
        self._closed = False
        self._steady = False  # it takes each event as it comes, and nothing is in the way
        if after is not None:
            self._place = broadcast._place_after(after)
        elif broadcast._log:
            self._ready.extend(broadcast._compacted_log())
            self._place = len(broadcast._log)
        if policy == "block":
            broadcast._blocking.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        log = self._log
        while True:
            if self._steady and self._place == len(log) - 1:
                entry = log[self._place]
                self._place += 1
                self.last_id = entry.number
                return entry.frame
            if self._gone is not None:
                raise self._gone
            if self._closed:
                raise StopAsyncIteration
            if self._ready:
                return self._take_ready()
            if self._place < len(log):
                chunk = self._take()
                if chunk:
                    return chunk
                continue
            if self._broadcast._ended:
                self.close()
                raise StopAsyncIteration
            if self._waiter is not None:
                raise ConcurrencyError("another task is iterating this subscription")
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            self._broadcast._waiting.append(waiter)
            try:
                await waiter
            finally:
                self._waiter = None

    @property
    def behind(self) -> int:
        """Bytes of the log that have not been taken."""
        log, place = self._log, self._place
        if place >= len(log):
            return 0
        return log[-1].end - (log[place - 1].end if place else 0)

    @property
    def _is_behind(self) -> bool:
        return self.behind > self._max_bytes

    def close(self) -> None:
        """Leave. May be called again."""
        self._closed = True
        self._steady = False
        self._ready.clear()
        self._broadcast._blocking.discard(self)
        self._make_room()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def aclose(self) -> None:
        """Leave, for those who close what they iterate with awaits."""
        self.close()

    def _drop(self, error: ClientDisconnected) -> None:
        self._gone = error
        self._steady = False
        self._broadcast._blocking.discard(self)

    def _take(self) -> bytes:
        """The next frames of the log, as the policy has them."""
        log, place = self._log, self._place
        entry = log[place]
        if self.last_id is not None and entry.number <= self.last_id:
            # It has more than the stream: it was promised events that have not come yet.
            self._place = self._broadcast._place_after(self.last_id)
            return b""
        if place == len(log) - 1:
            self._place = place + 1
            self.last_id = entry.number
            self._steady = self._policy != "block"
            self._make_room()
            return entry.frame
        return self._take_many()

    def _take_many(self) -> bytes:
        log, place = self._log, self._place
        if self._policy != "block" and self._is_behind:
            self._steady = False
            return self._catch_up(log[place:])
        start = log[place - 1].end if place else 0
        until = place + 1
        while until < len(log) and log[until].end - start <= CHUNK_BYTES:
            until += 1
        self._place = until
        self.last_id = log[until - 1].number
        self._make_room()
        return b"".join([entry.frame for entry in log[place:until]])

    def _catch_up(self, entries: list[Entry]) -> bytes:
        if self._policy == "disconnect":
            self.close()
            self._drop(ClientDisconnected(f"the subscriber is more than {self._max_bytes} bytes behind"))
            return b""
        self._place = len(self._log)
        if self._policy == "drop":
            kept = [entry.frame for entry in entries if not entry.is_delta]
            self.dropped += len(entries) - len(kept)
        else:
            kept = _coalesce([entry.frame for entry in entries])
        self._ready.extend(kept)
        return b""

    def _take_ready(self) -> bytes:
        """Give merged frames, a chunk at a time."""
        ready = self._ready
        frames, size = [ready.popleft()], 0
        size = len(frames[0])
        while ready and size + len(ready[0]) <= CHUNK_BYTES:
            frames.append(ready.popleft())
            size += len(frames[-1])
        if not ready and self._place:
            self.last_id = self._log[self._place - 1].number
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _make_room(self) -> None:
        room = self._broadcast._room
        if room is not None and not room.done() and (self._closed or not self._is_behind):
            room.set_result(None)
