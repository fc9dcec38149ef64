"""The two faces of an event stream: `Stream` for blocking sources, `AsyncStream` for asyncio.

    with penstock.Stream(response) as stream:           async with penstock.AsyncStream(response) as stream:
        for event in stream:                                async for event in stream:
            ...                                                 ...
        final = stream.final()                              final = await stream.final()

`batches()` yields the events of one read as a list and is the cheap way; iterating events costs a little
more. Both may be mixed and left off at any point: they share one position.

Here stands how the faces wait; what the two share is in `stream_core`. State changes between waits only, so a
cancelled or interrupted call loses no event and may be repeated; all iterators are classes, because a
generator is dead once an exception has passed through it. Nothing is held once the source is at its end or
has failed: `close` is then a formality.
"""

from __future__ import annotations

import warnings
import weakref
from itertools import chain
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from penstock.errors import ConcurrencyError
from penstock.sources import AsyncChunks, open_async_source, open_source
from penstock.stream_core import StreamCore
from penstock.timeouts import Watch, watchdog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Iterator

    from penstock._penstock import Event
    from penstock.pump import DirectPort, TaskPump, ThreadPump
    from penstock.sources import Http, Source

__all__ = ["AsyncStream", "Stream"]


class Stream(StreamCore):
    """Events from a blocking source: an HTTP response, a binary file, an iterable of bytes-like objects.

    Responses of httpx, httpx2, requests, urllib3 and `urllib.request` are known; `sources` says how each is
    read. The stream owns its source and closes it. One thread reads at a time; any may call `close`.

    Args:
        source: what to read; a response opened for streaming, or its body is in memory already.
        dialect: what to accumulate the events as. ``"auto"`` decides by the first events, None accumulates
            nothing.
        framing: of the body; by default NDJSON where the media type says so, else SSE.
        eof: whether an event without its blank line at the end of input is delivered, marked by
            `Event.flushed`, or dropped as WHATWG has it.
        errors: what becomes of invalid UTF-8: U+FFFD or a `DecodeError`.
        limits: of the decoder and the accumulator.
        idle_timeout: the longest wait for bytes, comments included, in seconds. ``"auto"``: 120 s for HTTP
            over a connection, none for other sources. None leaves it to the client's own time-outs.
        max_duration: the longest the stream may take, from the first read on.
        first_event_timeout: the longest wait for the first event, from the first read on.
        started: when the request was sent, by `time.monotonic()`; `stats` count from it. By default now.

    Raises:
        TypeError: the source cannot be read with blocking calls.
        ValueError: an option is none of those allowed.

    Reading raises:
        ResponseError: HTTP status 400 or more, or a body that is no event stream.
        DecodeError, LimitExceeded: from the decoder or the accumulator, after the events before it.
        StreamTimeout: a time-out expired before the terminal event; the connection has been shut down.
        IncompleteStream: the connection broke before the terminal event.
        ConcurrencyError: another thread is reading.
    """

    def _open(self, source: Any) -> Http | None:
        # A lock at a third of the cost: who pops its one element may read.
        self._turn: list[None] = [None]
        self._watch: Watch | None = None
        self._opened = open_source(source)
        return self._opened.http

    def _connect(self) -> None:
        opened = self._opened
        self._reader: Source | ThreadPump = opened
        self._pumped = opened.abort is None and bool(self._timeouts)
        if self._pumped:
            from penstock.pump import ThreadPump  # noqa: PLC0415 - few streams need it

            self._reader = ThreadPump(opened, self._timeouts)
        elif opened.abort is not None:
            self._watch = Watch(self._timeouts, opened.abort)
        self._take = self._reader.take

    def batches(self) -> Iterator[list[Event]]:
        """Iterate the events in lists, one for each read that completed any."""
        return iter(self._read, None)

    def __iter__(self) -> Iterator[Event]:
        # `chain` goes through the batches without a call per event.
        return chain.from_iterable(iter(self._split_up, None))

    def __next__(self) -> Event:
        for event in self._rest:
            return event
        return next(self._split_up())

    def _split_up(self) -> Iterator[Event]:
        """The next batch's events; the stream keeps the iterator, to know its position."""
        self._rest = iter(self._read())
        self._split = True
        return self._rest

    def final(self) -> dict[str, Any]:
        """Read what is left and return the final object: a Response or a ChatCompletion.

        Raises:
            IncompleteStream: no terminal event came; `partial` holds what did.
        """
        self._discard()
        try:
            while True:
                self._read()
        except StopIteration:
            return self._final()

    def close(self) -> None:
        """Let go of the source and end the iteration, also one that blocks in another thread."""
        if self._closed:
            return
        self._closed = True
        self._discard()
        if not self._let_go() and self._reader.abort is not None:
            self._reader.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            if not self._over and (self._http is not None or self._pumped):
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def _read(self) -> list[Event]:
        """Block until events are there; `StopIteration` at the end."""
        try:
            self._turn.pop()
        except IndexError:
            raise ConcurrencyError("another thread is reading this stream") from None
        try:
            if self._split and (rest := [*self._rest]):
                return rest
            while not (self._over or self._closed):
                if self._decoder.done and not self._drains():
                    batch = self._finish()
                else:
                    since = self._begin_wait() if self._attended else 0.0
                    try:
                        chunk = self._take()
                    except Exception as error:
                        batch = self._end(error, since)
                    else:
                        batch = self._absorb(chunk)
                    finally:
                        self._timeouts.waiting_since = 0.0
                if self._over:
                    self._release()
                if batch:
                    return batch
            self._stop()
            raise StopIteration
        finally:
            self._turn.append(None)
            if self._closed:  # meanwhile, by a thread that could not let go of what is being read
                self._let_go()

    def _end(self, error: Exception, since: float) -> list[Event]:
        """The source is at its end, by itself or because it was aborted."""
        if self._closed:
            return []
        if self._watch is not None and self._watch.expired is not None:
            # A socket that was shut down reads as a broken connection, or as the end of the body.
            timeout = self._timeouts.error(self._watch.expired)
            timeout.__cause__ = error
            error = timeout
        return self._finish() if isinstance(error, StopIteration) else self._break(error, since)

    def _drains(self) -> bool:
        # Only where something would end the wait.
        return (self._watch is not None or self._pumped) and super()._drains()

    def _look_after(self) -> None:
        if self._watch is not None and self._timeouts:
            watchdog().add(self._watch)

    def _let_go(self) -> bool:
        """Release the source unless a thread is reading it."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        self._release()
        self._turn.append(None)
        return True

    def _release(self) -> None:
        if self._watch is not None:
            watchdog().remove(self._watch)
        self._reader.close()


class AsyncStream(StreamCore):
    """Events from an asyncio source: an HTTP response, a reader, an async iterable of bytes-like objects.

    Responses of httpx, httpx2 and aiohttp and `asyncio.StreamReader` are known; `sources` says how each is
    read. Options and errors are those of `Stream`, with tasks for threads.

    A call that is cancelled loses no event and may be made again. Sources that are async generators at heart
    are read by one task beside the consumer, up to 256 KiB ahead; the others are awaited in its place.

    Raises:
        TypeError: the source cannot be read with awaits.
        ValueError: an option is none of those allowed.
    """

    def _open(self, source: Any) -> Http | None:
        self._source = open_async_source(source)
        return self._source.http

    def _connect(self) -> None:
        # asyncio takes longer to import than all of penstock, and blocking programs do without it.
        from penstock.pump import DirectPort, TaskPump, running_loop  # noqa: PLC0415

        source = self._source
        self._port: DirectPort | TaskPump
        self._port = TaskPump(source) if isinstance(source, AsyncChunks) else DirectPort(source)
        self._take = self._port.take
        self._loop: asyncio.AbstractEventLoop | None = running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False

    def batches(self) -> AsyncBatches:
        """Iterate the events in lists, one for each read that completed any."""
        return AsyncBatches(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        for event in self._rest:
            return event
        self._rest = rest = iter(await self._read())
        self._split = True
        return next(rest)

    async def final(self) -> dict[str, Any]:
        """Read what is left and return the final object: a Response or a ChatCompletion.

        Raises:
            IncompleteStream: no terminal event came; `partial` holds what did.
        """
        self._discard()
        try:
            while True:
                await self._read()
        except StopAsyncIteration:
            return self._final()

    async def aclose(self) -> None:
        """Let go of the source and end the iteration, also one that another task waits in.

        A cancelled call raises `CancelledError` once the closing is done, within seconds. Never raises
        anything else."""
        if not self._closed:
            self._closed = True
            self._discard()
            self._stop_timer()
            if self._reading:
                self._port.fail(ConnectionAbortedError("the stream was closed"))
        await self._port.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._closed and not self._over:
            if self._http is not None or self._port.running:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._port.drop(self._loop)

    async def _read(self) -> list[Event]:
        """Wait until events are there; `StopAsyncIteration` at the end."""
        if self._reading:
            raise ConcurrencyError("another task is reading this stream")
        if self._split and (rest := [*self._rest]):
            return rest
        self._reading = True
        try:
            while not (self._over or self._closed):
                if self._decoder.done and not self._drains():
                    batch = self._finish()
                else:
                    since = self._begin_wait() if self._attended else 0.0
                    try:
                        chunk = await self._take()
                    except Exception as error:
                        batch = self._end(error, since)
                    else:
                        batch = self._absorb(chunk) if chunk else self._end(None, since)
                    finally:
                        self._timeouts.waiting_since = 0.0
                if self._over:
                    self._stop_timer()
                    self._port.stop()
                if batch:
                    return batch
            self._stop()
            raise StopAsyncIteration
        finally:
            self._reading = False

    def _end(self, error: Exception | None, since: float) -> list[Event]:
        """The source is at its end, by itself or because it was aborted."""
        if self._closed:
            return []
        if error is None:
            return self._finish()
        rest = self._port.salvage()
        batch = self._absorb(rest) if rest else []
        return batch if self._over else batch + self._break(error, since)

    def _look_after(self) -> None:
        self._look_again(monotonic())

    def _look_again(self, now: float) -> None:
        """Fail if a time-out has expired, else set the one timer for when the next could."""
        self._stop_timer()
        when, kind = self._timeouts.next(now)
        if when <= now:
            self._port.fail(self._timeouts.error(kind))
        elif when < inf:
            from penstock.pump import later  # noqa: PLC0415

            self._timer = later(when - now, weakref.WeakMethod(self._timer_rang))

    def _timer_rang(self) -> None:
        self._look_again(monotonic())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class AsyncBatches:
    """Iterates an `AsyncStream` in lists of events."""

    __slots__ = ("_read",)

    def __init__(self, stream: AsyncStream) -> None:
        self._read = stream._read

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[list[Event]]:
        return self._read()
