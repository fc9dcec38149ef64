"""When waiting has been long enough, and the watchdog that ends a blocked read.

`Timeouts` is the arithmetic, free of clocks and threads, shared by all faces. `Watchdog` is for blocking
reads: a thread cannot be woken from `recv`, but the socket under it can be shut down. One daemon thread
watches every stream of the process; a read costs a stream one stored float, and the thread sleeps until the
first deadline."""

from __future__ import annotations

import os
import threading
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

from penstock.errors import StreamTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["idle", "duration", "first_event"]

LINGER_SECONDS: Final = 10.0
"""How long the watchdog's thread outlives the last stream it watched."""

_WORDS: Final[dict[Kind, str]] = {
    "idle": "the upstream sent nothing for {seconds:g} s",
    "duration": "the stream took longer than {seconds:g} s",
    "first_event": "no event came within {seconds:g} s",
}


class Timeouts:
    """The time-outs of one stream, in seconds or None for none, and since when it waits for its upstream.

    `idle` runs while the stream waits for bytes, so a slow consumer never trips it. `duration` and
    `first_event` run from the first read on. Moments are given by `time.monotonic()`.

    Raises:
        ValueError: a time-out that is not a positive number.
    """

    __slots__ = ("began", "duration", "first_event", "had_event", "idle", "waiting_since")

    def __init__(self, *, idle: float | None, duration: float | None, first_event: float | None) -> None:
        for name, seconds in (("idle", idle), ("duration", duration), ("first_event", first_event)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"the {name} time-out must be a positive number of seconds or None")
        self.idle = idle
        self.duration = duration
        self.first_event = first_event
        self.began = 0.0
        self.had_event = False
        self.waiting_since = 0.0

    def __bool__(self) -> bool:
        """Whether there is anything to watch."""
        return not (self.idle is None and self.duration is None and self.first_event is None)

    def next(self, now: float) -> tuple[float, Kind]:
        """The moment to look again, and what has expired if it is not after `now`; infinity for never."""
        kind: Kind = "idle"
        when = inf
        if self.idle is not None:
            when = (self.waiting_since or now) + self.idle
        if self.duration is not None and self.began + self.duration < when:
            when, kind = self.began + self.duration, "duration"
        if self.first_event is not None and not self.had_event and self.began + self.first_event < when:
            when, kind = self.began + self.first_event, "first_event"
        return when, kind

    def error(self, kind: Kind) -> StreamTimeout:
        """The error that says what expired."""
        seconds = getattr(self, kind)
        return StreamTimeout(_WORDS[kind].format(seconds=seconds), kind=kind, seconds=seconds)


class Watch:
    """One blocking stream in the watchdog's care. It knows nothing of the stream, so it keeps none alive."""

    __slots__ = ("_abort", "expired", "timeouts")

    def __init__(self, timeouts: Timeouts, abort: Callable[[], None]) -> None:
        self.timeouts = timeouts
        self.expired: Kind | None = None
        self._abort = abort

    def expire(self, kind: Kind) -> None:
        """Wake the blocked reader, which finds `expired` set and raises."""
        self.expired = kind
        self._abort()


class Watchdog:
    """The watches of this process and the thread that looks after them, started with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._next_look = inf

    def add(self, watch: Watch) -> None:
        """Watch from now on; call it again after a change that brings the deadline forward."""
        when, _kind = watch.timeouts.next(monotonic())
        with self._changed:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-watchdog", daemon=True)
                self._thread.start()
            elif when < self._next_look:
                self._changed.notify()

    def remove(self, watch: Watch) -> None:
        """Forget the watch. It may still expire if its moment has just come."""
        with self._changed:
            self._watches.discard(watch)

    def _run(self) -> None:
        while True:
            late: list[tuple[Watch, Kind]] = []
            with self._changed:
                now = monotonic()
                self._next_look = now + LINGER_SECONDS
                for watch in self._watches:
                    when, kind = watch.timeouts.next(now)
                    if when <= now:
                        late.append((watch, kind))
                    else:
                        self._next_look = min(self._next_look, when)
                self._watches.difference_update(watch for watch, _kind in late)
                if not late:
                    lingered = not self._changed.wait(self._next_look - now) and not self._watches
                    if lingered:
                        self._thread = None
                        return
            for watch, kind in late:
                watch.expire(kind)


_watchdog = Watchdog()


def watchdog() -> Watchdog:
    """The watchdog of this process."""
    return _watchdog


def _forget_after_fork() -> None:
    """Start afresh in a child: it has no thread, and shutting down a socket would cut the parent's stream."""
    global _watchdog  # noqa: PLW0603 - one per process is the point
    _watchdog = Watchdog()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_forget_after_fork)
