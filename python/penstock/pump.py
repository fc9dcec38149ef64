"""Readers that run beside the stream, for sources that cannot be read in the consumer's own place.

A cancelled `__anext__` kills an async generator, and most HTTP clients hand out async generators; a
blocking iterable offers no way to end a read at all. So a task (`TaskPump`) or a thread (`ThreadPump`)
reads the source into a pipe and the consumer waits at the pipe, where waiting can be given up at any moment
and nothing is lost. The pipe is bounded: above `HIGH_WATER` the pump pauses, so a slow consumer slows its
upstream down and memory stays flat. The consumer wakes once for all that has come meanwhile.

The pump knows the pipe and the source, never the stream: an abandoned stream is collected, and its pump
then ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from penstock.sources import AsyncChunks, AsyncReader, Chunk, Source
    from penstock.timeouts import Timeouts

HIGH_WATER: Final = 256 * 1024
"""Bytes in a pipe at which its pump pauses."""

LOW_WATER: Final = HIGH_WATER // 4
"""Bytes in a pipe at which a paused pump reads on, and up to which chunks are joined for the consumer."""

CLOSE_SECONDS: Final = 5.0
"""How long closing waits for an upstream that does not let go."""

_closing: Final[set[asyncio.Task[None]]] = set()
"""Closings under way: the event loop itself holds its tasks weakly."""


class _Pipe:
    """Chunks between one pump and one consumer."""

    __slots__ = ("chunks", "ended", "error", "size")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.ended = False
        self.error: BaseException | None = None

    def push(self, chunk: Chunk) -> None:
        # A copy of anything but bytes: its owner may fill the buffer anew before the consumer looks.
        data = chunk if type(chunk) is bytes else bytes(memoryview(chunk))
        if data:
            self.chunks.append(data)
            self.size += len(data)

    def end(self, error: BaseException | None = None) -> None:
        """No chunk comes any more: the source is at its end, or failed. The first call counts."""
        if not self.ended:
            self.ended = True
            self.error = error

    def pull(self) -> bytes:
        """The next chunk, small ones joined; when there is none: the error, or empty for the end."""
        chunks = self.chunks
        if not chunks:
            if self.error is not None:
                raise self.error
            return b""
        data = chunks.popleft()
        if chunks and len(data) + len(chunks[0]) <= LOW_WATER:
            parts, joined = [data], len(data)
            while chunks and joined + len(chunks[0]) <= LOW_WATER:
                parts.append(chunks.popleft())
                joined += len(parts[-1])
            data = b"".join(parts)
        self.size -= len(data)
        return data


class TaskPump:
    """Reads an async iterable in a task of its own, for one `AsyncStream`."""

    __slots__ = ("_closer", "_consumer", "_pipe", "_read_out", "_room", "_source", "_task")

    def __init__(self, source: AsyncChunks) -> None:
        self._source = source
        self._pipe = _Pipe()
        self._read_out = False
        self._task: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._consumer: asyncio.Future[None] | None = None  # waits for chunks
        self._room: asyncio.Future[None] | None = None  # the pump waits for an empty pipe

    async def take(self) -> bytes:
        """Wait for bytes and take all there are; empty at the end. Cancelling it loses nothing."""
        pipe = self._pipe
        loop = asyncio.get_running_loop()
        if self._task is None and not pipe.ended:
            self._task = loop.create_task(self._run())
        while not pipe.chunks and not pipe.ended:
            self._consumer = loop.create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None
        data = pipe.pull()
        if pipe.size <= LOW_WATER:
            _wake(self._room)
        return data

    async def _run(self) -> None:
        pipe = self._pipe
        # Only a cancellation leaves it as it is; that must not look like the source's end.
        error: BaseException | None = ConnectionAbortedError("the task that reads the upstream was cancelled")
        try:
            async for chunk in self._source.chunks:
                pipe.push(chunk)
                _wake(self._consumer)
                if pipe.size >= HIGH_WATER:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
            error = None
        except Exception as failure:
            error = failure
        finally:
            self._read_out = True
            self._end(error)
            await self._release()

    def _end(self, error: BaseException | None) -> None:
        self._pipe.end(error)
        _wake(self._consumer)

    async def _release(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._source.aclose()

    def fail(self, error: BaseException) -> None:
        """Make `take` raise once the pipe is empty, and let go of the source."""
        self._end(error)
        self._close_soon()

    def salvage(self) -> bytes:
        """Nothing: the pipe is emptied before its error is raised."""
        return b""

    @property
    def running(self) -> bool:
        """Whether the task is there and has not read the source to its end."""
        return self._task is not None and not self._read_out

    def stop(self) -> None:
        """Let go without waiting, from the loop's thread: for a stream that is over."""
        if not self._read_out:
            self._close_soon()

    def drop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Let go without waiting, from any thread: for a stream that was abandoned."""
        _call_soon(loop, self.stop)

    async def aclose(self) -> None:
        """Stop the task and let go of the source; when it returns or raises, that is done.

        A cancellation waits for it: a connection that is closed half belongs to nobody and blocks its
        pool's slot."""
        if self._read_out and self._task is not None and self._task.done():
            return
        closer = self._close_soon()
        cancelled: asyncio.CancelledError | None = None
        while not closer.done():
            try:
                await asyncio.wait([closer])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _close_soon(self) -> asyncio.Task[None]:
        if self._closer is None:
            self._closer = asyncio.get_running_loop().create_task(self._close())
            _closing.add(self._closer)
            self._closer.add_done_callback(_closing.discard)
        return self._closer

    async def _close(self) -> None:
        task = self._task
        if task is not None:
            # A client that lets go of its connection by itself, at the end of the body, must be let: cut
            # short in that, it never frees the connection's place in its pool.
            if not (self._read_out or self._source.closing()):
                task.cancel()
            await asyncio.wait([task], timeout=CLOSE_SECONDS)
        self._end(None)
        # Once more: a task cancelled before its first step has released nothing.
        await self._release()


class DirectPort:
    """Awaits a cancel-safe reader in the consumer's own task."""

    __slots__ = ("_reader", "salvage", "take")

    def __init__(self, reader: AsyncReader) -> None:
        self._reader = reader
        self.take = reader.take
        self.salvage = reader.salvage

    def fail(self, error: BaseException) -> None:
        """Make the pending `take` raise, and let go of the source."""
        self._reader.fail(error)
        self._reader.close()

    @property
    def running(self) -> bool:
        """Whether anything runs beside the consumer: never."""
        return False

    def stop(self) -> None:
        """Let go without waiting, from the loop's thread."""
        self._reader.close()

    def drop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Let go without waiting, from any thread."""
        _call_soon(loop, self._reader.close)

    async def aclose(self) -> None:
        """Let go of the source; nothing here has to wait."""
        self._reader.close()


class ThreadPump:
    """Reads a blocking source in a thread of its own, for one `Stream` with time-outs and no socket to shut
    down.

    The thread cannot be ended while the source blocks: it is a daemon that lets go at the source's next
    sign of life.
    """

    __slots__ = ("_changed", "_pipe", "_source", "_thread", "_timeouts")

    def __init__(self, source: Source, timeouts: Timeouts) -> None:
        self._source = source
        self._timeouts = timeouts
        self._pipe = _Pipe()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self) -> bytes:
        """Block for bytes and take all there are; `StopIteration` at the end, `StreamTimeout` at a
        deadline."""
        pipe = self._pipe
        with self._changed:
            if self._thread is None and not pipe.ended:
                self._thread = threading.Thread(target=self._run, name="penstock-pump", daemon=True)
                self._thread.start()
            while not pipe.chunks and not pipe.ended:
                now = monotonic()
                when, kind = self._timeouts.next(now)
                if when <= now:
                    pipe.end(self._timeouts.error(kind))
                else:
                    self._changed.wait(min(when - now, threading.TIMEOUT_MAX))
            data = pipe.pull()
            self._changed.notify_all()
        if not data:
            raise StopIteration
        return data

    def _run(self) -> None:
        pipe = self._pipe
        error: BaseException | None = None
        try:
            while not pipe.ended:
                chunk = self._source.take()
                with self._changed:
                    pipe.push(chunk)
                    self._changed.notify_all()
                    if pipe.size >= HIGH_WATER:
                        self._changed.wait_for(lambda: pipe.size <= LOW_WATER or pipe.ended)
        except StopIteration:
            pass
        except BaseException as failure:
            error = failure
        self._source.close()
        with self._changed:
            pipe.end(error)
            self._changed.notify_all()

    def abort(self) -> None:
        """End a `take` that blocks in another thread."""
        with self._changed:
            self._pipe.end()
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of the source, or have the thread do so as soon as it can."""
        self.abort()
        if self._thread is None:
            self._source.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def later(seconds: float, method: weakref.WeakMethod[Callable[[], None]]) -> asyncio.TimerHandle:
    """Call a method after a while, unless its object is gone by then."""
    return asyncio.get_running_loop().call_later(seconds, _call, method)


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    bound = method()
    if bound is not None:
        bound()


def _call_soon(loop: asyncio.AbstractEventLoop | None, call: Callable[[], None]) -> None:
    if loop is not None:
        with suppress(RuntimeError):  # the loop is closed, and with it all its tasks and connections
            loop.call_soon_threadsafe(call)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
