"""Sources that fail on demand, and both faces behind one function that tells all they made of one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from upstream import chat_stream, delta, responses_stream

from penstock._penstock import Event
from penstock.stream import AsyncStream, Stream

RESPONSE = responses_stream()


CHAT = chat_stream()


LETTER = delta("a")


class Chunks:
    """A source for both faces: its chunks, and the error at their end if there is one."""

    def __init__(self, *chunks: Any, error: Exception | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.chunks
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[Any]:
        for chunk in self:
            await asyncio.sleep(0)
            yield chunk

    def close(self) -> None:
        self.closed += 1


class Response(Chunks):
    """The same as an HTTP response."""

    def __init__(
        self,
        *chunks: Any,
        status: int = 200,
        media_type: str = "text/event-stream",
        error: Exception | None = None,
    ) -> None:
        super().__init__(*chunks, error=error)
        self.status_code = status
        self.headers = {"content-type": media_type, "x-request-id": "req_1"}

    def iter_bytes(self) -> Iterator[bytes]:
        return iter(self)

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        return self.__aiter__()


def silent_after(*chunks: bytes) -> tuple[Iterator[bytes], threading.Event]:
    """An iterable that blocks after its chunks, until the event is set."""
    leave = threading.Event()

    def iterate() -> Iterator[bytes]:
        yield from chunks
        leave.wait(10)

    return iterate(), leave


@dataclass
class Outcome:
    """What a face made of a source."""

    events: list[Event]
    error: BaseException | None  # of the iteration
    final: dict[str, Any] | None
    final_error: BaseException | None
    stream: Stream | AsyncStream


def read_blocking(source: Any, **options: Any) -> Outcome:
    with Stream(source, **options) as stream:
        outcome = Outcome([], None, None, None, stream)
        try:
            outcome.events.extend(stream)
        except Exception as error:
            outcome.error = error
        try:
            outcome.final = stream.final()
        except Exception as error:
            outcome.final_error = error
    return outcome


def read_awaiting(source: Any, **options: Any) -> Outcome:
    async def read() -> Outcome:
        async with AsyncStream(source, **options) as stream:
            outcome = Outcome([], None, None, None, stream)
            try:
                async for one in stream:
                    outcome.events.append(one)
            except Exception as error:
                outcome.error = error
            try:
                outcome.final = await stream.final()
            except Exception as error:
                outcome.final_error = error
        return outcome

    return asyncio.run(read())


Read = Callable[..., Outcome]


each_face = pytest.mark.parametrize("read", [read_blocking, read_awaiting], ids=["Stream", "AsyncStream"])


def text_of(final: dict[str, Any] | None) -> str:
    """The text of a Response or a ChatCompletion."""
    assert final is not None
    if "choices" in final:
        text = final["choices"][0]["message"]["content"]
    else:
        text = final["output"][0]["content"][0]["text"]
    assert isinstance(text, str)
    return text
