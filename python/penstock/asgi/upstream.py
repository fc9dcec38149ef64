"""Opens what a response streams, and reads it in the place of the request's own task.

No task reads ahead here: the next piece is asked for when the last one has been taken, which is all the
back-pressure there is. What is given may be the stream itself or a function that makes it, so that the
upstream is asked only once the response is under way, with keep-alives and time-outs around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from penstock._penstock import Event, write_events
from penstock.sources import AsyncReader, Http, open_async_source
from penstock.stream import AsyncStream, Stream

__all__ = ["Upstream", "open_upstream"]

CLOSE_SECONDS: Final = 5.0
"""How long closing waits for an upstream that does not let go."""

_BYTES_LIKE: Final = (bytes, bytearray, memoryview)
_END: Final = object()


class Upstream:
    """A source being read.

    Attributes:
        take: awaits the next bytes of the event stream; None at the end.
        http: what an HTTP response says before its body; None for other sources.
    """

    __slots__ = ("_closers", "http", "take")

    def __init__(
        self,
        take: Callable[[], Awaitable[bytes | None]],
        http: Http | None,
        closers: Iterable[Callable[[], Any]],
    ) -> None:
        self.take = take
        self.http = http
        self._closers = list(closers)

    async def aclose(self) -> None:
        """Let go of everything, within seconds. Raises nothing but cancellation, and that once it is done."""
        while self._closers:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    closing = self._closers[0]()
                    if hasattr(closing, "__await__"):
                        await closing
            del self._closers[:1]


async def open_upstream(source: Any) -> Upstream:
    """Open a source: an HTTP response, an iterable, a penstock stream, an async context manager of one, or a
    function that returns one of these, now or when awaited.

    Raises:
        TypeError: it is nothing that can be read.
    """
    closers: list[Callable[[], Any]] = []
    if callable(source) and not (_is_readable(source) or hasattr(source, "__aenter__")):
        source = source()
    # What aiohttp's sessions return is awaitable, enterable and, by an accident of coroutines, iterable.
    awaitable = hasattr(source, "__await__")
    if hasattr(source, "__aenter__") and (awaitable or not _is_readable(source)):
        manager = source
        source = await manager.__aenter__()
        closers.append(lambda: manager.__aexit__(None, None, None))
    elif awaitable:
        source = await source
    take, http, close = _reader(source)
    return Upstream(take, http, [*([close] if close is not None else ()), *closers])


def _is_readable(source: Any) -> bool:
    names = ("aiter_bytes", "__aiter__", "__iter__", "content", "feed_eof")
    return isinstance(source, _BYTES_LIKE) or any(hasattr(source, name) for name in names)


def _reader(
    source: Any,
) -> tuple[Callable[[], Awaitable[bytes | None]], Http | None, Callable[[], Any] | None]:
    """How to take from a source, what its head says, and how to let go of it."""
    if isinstance(source, AsyncStream):
        return _Pieces(source.batches().__anext__), None, source.aclose
    if isinstance(source, Stream):
        return _Threaded(source.batches()), None, source.close
    if isinstance(source, str | Mapping | Event):
        raise TypeError(
            f"a response streams bytes or events from an iterable, not one {type(source).__name__}"
        )
    if _is_iterable(source):
        if isinstance(source, _BYTES_LIKE):
            source = (source,)
        iterator = iter(source)
        close = getattr(iterator, "close", None)
        if isinstance(source, list | tuple):
            return _Inline(iterator), None, close
        return _Threaded(iterator), None, close
    opened = open_async_source(source)
    if isinstance(opened, AsyncReader):
        return _Reads(opened.take), opened.http, opened.close
    return _Pieces(opened.chunks.__anext__), opened.http, opened.aclose


def _is_iterable(source: Any) -> bool:
    asynchronous = ("aiter_bytes", "__aiter__", "readany", "feed_eof")
    if any(hasattr(source, name) for name in asynchronous):
        return False
    return isinstance(source, _BYTES_LIKE) or (hasattr(source, "__iter__") and not hasattr(source, "content"))


def as_bytes(piece: Any) -> bytes:
    """The bytes of the event stream that a piece stands for: bytes as they are, events framed.

    Raises:
        TypeError: it is neither.
    """
    if type(piece) is bytes:
        return piece
    if isinstance(piece, _BYTES_LIKE):
        return bytes(piece)
    if isinstance(piece, str):
        raise TypeError("a response streams bytes or events, not str")
    return write_events(piece)


class _Pieces:
    """Takes from an async iterator of chunks, events or lists of events."""

    __slots__ = ("_next",)

    def __init__(self, take: Callable[[], Awaitable[Any]]) -> None:
        self._next = take

    async def __call__(self) -> bytes | None:
        try:
            piece = await self._next()
        except StopAsyncIteration:
            return None
        return piece if type(piece) is bytes else as_bytes(piece)


class _Reads:
    """Takes from a reader that gives nothing at the end."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self._read = read

    async def __call__(self) -> bytes | None:
        chunk = await self._read()
        return as_bytes(chunk) if chunk else None


class _Inline:
    """Takes from an iterator that has all in memory."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    async def __call__(self) -> bytes | None:
        piece = next(self._iterator, _END)
        return None if piece is _END else as_bytes(piece)


class _Threaded:
    """Takes from an iterator that may block, in the event loop's threads."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    async def __call__(self) -> bytes | None:
        piece = await asyncio.to_thread(next, self._iterator, _END)
        return None if piece is _END else as_bytes(piece)
