"""The openai SDK's clients with penstock under their streams; only the import line differs.

    from penstock.integrations.openai import OpenAI, AsyncOpenAI

Requests, retries, errors before the stream and everything that does not stream are the SDK's own (2.54 and
later, 3.x). Streams are read by penstock's decoder, and their events are the SDK's models in every respect
(`isinstance`, `model_dump`, `==`, ...) but one: a field is built when it is read. Until something needs the
whole event, `type(event)` is a subclass of the model; programs that look a model up by `type(event)` ask for
``typed``.

The clients, their `copy` and their `with_options` take two options more than the SDK's:

- ``typed`` (False): build each event completely, by the SDK's own construction and at its cost.
- ``strict_end`` (True): a stream of the Responses or Chat Completions API that ends too early raises
  `penstock.IncompleteStream`, which carries what had come. Too early is before a terminal event, in a chat
  before a finish reason, and without ``[DONE]``. With False, the stream just ends, as the SDK's does.

The streams differ from the SDK's where a fact would get lost:

- An error that comes as ``event: error`` without an ``"error"`` object, or as ``{"object": "error"}``, raises
  `APIError`, where the SDK hands it over as an ordinary chunk. But a Responses stream has an event for it,
  `ResponseErrorEvent`, and hands that over as the SDK does.
- ``{"error": "text"}`` raises `APIError` with that text for its message.
- A JSON or HTML body in place of the event stream raises `APIError`; the SDK takes it for an empty stream,
  and so does penstock without ``strict_end``.
- A whole event that lacks its final blank line at the end of the stream is delivered. Without ``strict_end``
  it is dropped, as the SDK drops it.
- An event without data is no event, as the standard has it; the SDK fails on it.
- What is not JSON raises `penstock.DecodeError`, which is a `ValueError` as the SDK's `JSONDecodeError` is.

Every other name of the SDK can be imported from here as well.
"""

from __future__ import annotations

import json
import typing
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import openai
from openai import APIError
from openai.types.chat import ChatCompletionChunk

from penstock import ChatAccumulator, DecodeError, Decoder, Event, LimitExceeded, ResponseAccumulator
from penstock.integrations._lazy_models import EventModels

try:  # from 3.x on: read the rest of an HTTP/1.1 body, so that its connection can be used again
    from openai._streaming_cleanup import drain_response_async as _drain
except ImportError:
    _drain = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions

__all__ = [
    "AsyncAzureOpenAI",
    "AsyncClient",
    "AsyncOpenAI",
    "AsyncStream",
    "AzureOpenAI",
    "Client",
    "OpenAI",
    "Stream",
]

_T = TypeVar("_T")


def __getattr__(name: str) -> Any:
    return getattr(openai, name)


class _Feed:
    """One stream's way from bytes to the SDK's objects: what `Stream` and `AsyncStream` have in common.

    It stands where the SDK's SSE decoder stands, so that the SDK's code around it goes on translating
    transport errors, but it yields the events of a chunk as one list.
    """

    def __init__(self, stream: openai.Stream[Any] | openai.AsyncStream[Any]) -> None:
        client: Any = stream._client
        self._cast_to: Any = stream._cast_to
        self._response: Any = stream.response
        self._process = client._process_response_data
        self._with_name = stream._options is not None and bool(stream._options.synthesize_event_and_data)
        # From 3.52 on, some of the SDK's APIs ask for events as they come: an "error" member is data there.
        self._as_it_comes = getattr(stream._options, "stream_mode", "legacy") == "events"

        models = EventModels.of(typing.cast("Any", self._cast_to))
        self._has_error_event = models is not None and "error" in models
        typed = getattr(client, "typed", False) or client._strict_response_validation or self._with_name
        self._models = None if typed else models

        self._strict_end = getattr(client, "strict_end", True)
        self._decoder = Decoder(eof="flush" if self._strict_end else "spec", skip_empty=True)
        self._accumulator: ResponseAccumulator | ChatAccumulator | None = None
        if self._strict_end and models is not None:
            if "response.completed" in models:
                self._accumulator = ResponseAccumulator()
            elif self._cast_to is ChatCompletionChunk:
                self._accumulator = ChatAccumulator()

    @property
    def done(self) -> bool:
        """Whether ``[DONE]`` has been seen: nothing after it is part of the stream."""
        return bool(self._decoder.done)

    def iter_bytes(self, chunks: Iterable[bytes]) -> Iterator[list[Event]]:
        for chunk in chunks:
            yield from self._events(chunk)
            if self.done:
                return
        yield self._last()

    async def aiter_bytes(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[list[Event]]:
        async for chunk in chunks:
            for events in self._events(chunk):
                yield events
            if self.done:
                return
        yield self._last()

    def _events(self, chunk: bytes) -> Iterator[list[Event]]:
        try:
            yield self._decoder.feed(chunk)
        except (DecodeError, LimitExceeded) as error:
            yield error.events
            raise

    def _last(self) -> list[Event]:
        """What the end of input delivers, but not an event cut in its middle: `end` speaks of that."""
        return [event for event in self._decoder.finish() if not event.flushed or _is_whole(event)]

    def objects(self, events: list[Event]) -> Iterator[Any]:
        """The SDK's object for each event, or the error that it carries."""
        known = _nothing if self._models is None else self._models.known
        for event in events:
            item = known(event)
            yield self._checked(event) if item is None else item
        if self._accumulator is not None:
            self._accumulator.feed(events)

    def _checked(self, event: Event) -> object:
        """The object of an event that may be an error, in the SDK's order of decisions."""
        if self._as_it_comes:
            return self._built(event, event.json())
        try:
            data = event.json()
        except DecodeError:
            if event.name == "error":
                text = event.data.decode(errors="replace")
                raise self._error(text, text) from None
            raise
        error = data.get("error") if isinstance(data, dict) else None
        if error:
            raise self._error(error.get("message") if isinstance(error, dict) else error, error)
        if not self._has_error_event and _is_error(event, data):
            raise self._error(data.get("message") if isinstance(data, dict) else data, data)
        return self._built(event, data)

    def _built(self, event: Event, data: object) -> object:
        if self._models is not None and isinstance(data, dict):
            return self._models(event)
        of_assistants = not self._as_it_comes and (event.name or "").startswith("thread.")
        if self._with_name or of_assistants:
            data = {"data": data, "event": event.name}
        return self._process(data=data, cast_to=self._cast_to, response=self._response)

    def _error(self, message: object, body: object) -> APIError:
        if not message or not isinstance(message, str):
            message = "An error occurred during streaming"
        return APIError(message, self._response.request, body=body)

    def end(self) -> None:
        """Tell an end from a cut, once all events are out."""
        if self.done or not self._strict_end:
            return
        body = self._decoder.non_sse_body
        if body is not None:
            raise self._error_of_body(body)
        if self._accumulator is not None and self._accumulator.terminal is None:
            self._accumulator.finish()
            self._accumulator.final()

    def _error_of_body(self, body: bytes) -> APIError:
        text = body.decode(errors="replace")
        try:
            data = json.loads(text)
        except ValueError:
            return self._error("The response is not an event stream", text)
        error = (isinstance(data, dict) and data.get("error")) or data
        return self._error(error.get("message") if isinstance(error, dict) else error, error)


def _nothing(_: Event) -> None:
    return None


def _is_whole(event: Event) -> bool:
    try:
        event.json()
    except DecodeError:
        return False
    return True


def _is_error(event: Event, data: object) -> bool:
    return event.name == "error" or (
        isinstance(data, dict) and (data.get("type") == "error" or data.get("object") == "error")
    )


class Stream(openai.Stream[_T]):
    """The SDK's `Stream`, read by penstock."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._feed = _Feed(self)
        self._decoder: Any = self._feed

    def __iter__(self) -> Iterator[_T]:
        return self._iterator

    def __stream__(self) -> Iterator[_T]:
        batches: Iterator[Any] = self._iter_events()
        try:
            for events in batches:
                yield from self._feed.objects(events)
            self._feed.end()
        finally:
            self.response.close()


class AsyncStream(openai.AsyncStream[_T]):
    """The SDK's `AsyncStream`, read by penstock.

    A cancelled read closes the response, as it does in the SDK; the next read then raises
    `penstock.IncompleteStream` instead of ending in silence.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._feed = _Feed(self)
        self._decoder: Any = self._feed

    def __aiter__(self) -> AsyncIterator[_T]:
        return self._iterator

    def __stream__(self) -> AsyncIterator[_T]:
        return _AsyncObjects(self)


class _AsyncObjects(AsyncIterator[Any]):
    """The objects of an `AsyncStream`; an async generator would take a cancelled read for the end."""

    def __init__(self, stream: AsyncStream[Any]) -> None:
        self._stream = stream
        self._objects: Iterator[Any] = iter(())
        self._batches: Any = None
        self._ended = False

    async def __anext__(self) -> Any:
        try:
            while True:
                for item in self._objects:
                    return item
                if self._ended:
                    break
                await self._advance()
        except BaseException as error:
            # A cancelled read is no end: the next one finds no more chunks, and says that the end is missing.
            self._ended = self._ended or isinstance(error, Exception)
            await self._stream.response.aclose()
            raise
        raise StopAsyncIteration

    async def _advance(self) -> None:
        """Take the next chunk's events, or find the end."""
        feed, response = self._stream._feed, self._stream.response
        if self._batches is None:
            self._batches = self._stream._iter_events()
        try:
            self._objects = feed.objects(await anext(self._batches))
        except StopAsyncIteration:
            self._ended = True
            if feed.done and _drain is not None and response.http_version == "HTTP/1.1":
                await _drain(response)
            await response.aclose()
            feed.end()


class OpenAI(openai.OpenAI):
    """The SDK's `OpenAI`; takes ``typed`` and ``strict_end`` too (see the module)."""

    def __init__(self, *, typed: bool = False, strict_end: bool = True, **arguments: Any) -> None:
        self.typed = typed
        self.strict_end = strict_end
        super().__init__(**arguments)

    def copy(  # `changes`: what the SDK's version at hand takes
        self,
        *,
        typed: bool | None = None,
        strict_end: bool | None = None,
        _extra_kwargs: Mapping[str, Any] = MappingProxyType({}),
        **changes: Any,
    ) -> Self:
        """A client like this one, but for the changes."""
        return super().copy(_extra_kwargs=_options(self, typed, strict_end, _extra_kwargs), **changes)

    with_options = copy

    def request(self, cast_to: Any, options: FinalRequestOptions, **how: Any) -> Any:
        """Send a request, as the SDK does, but read a stream by penstock."""
        return super().request(cast_to, options, **_with_stream(how, openai.Stream, Stream))


class AsyncOpenAI(openai.AsyncOpenAI):
    """The SDK's `AsyncOpenAI`; takes ``typed`` and ``strict_end`` too (see the module)."""

    def __init__(self, *, typed: bool = False, strict_end: bool = True, **arguments: Any) -> None:
        self.typed = typed
        self.strict_end = strict_end
        super().__init__(**arguments)

    def copy(
        self,
        *,
        typed: bool | None = None,
        strict_end: bool | None = None,
        _extra_kwargs: Mapping[str, Any] = MappingProxyType({}),
        **changes: Any,
    ) -> Self:
        """A client like this one, but for the changes."""
        return super().copy(_extra_kwargs=_options(self, typed, strict_end, _extra_kwargs), **changes)

    with_options = copy

    async def request(self, cast_to: Any, options: FinalRequestOptions, **how: Any) -> Any:
        """Send a request, as the SDK does, but read a stream by penstock."""
        return await super().request(cast_to, options, **_with_stream(how, openai.AsyncStream, AsyncStream))


class AzureOpenAI(OpenAI, openai.AzureOpenAI):
    """The SDK's `AzureOpenAI`; takes ``typed`` and ``strict_end`` too (see the module)."""


class AsyncAzureOpenAI(AsyncOpenAI, openai.AsyncAzureOpenAI):
    """The SDK's `AsyncAzureOpenAI`; takes ``typed`` and ``strict_end`` too (see the module)."""


Client = OpenAI
AsyncClient = AsyncOpenAI


def _options(
    client: OpenAI | AsyncOpenAI, typed: bool | None, strict_end: bool | None, others: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "typed": client.typed if typed is None else typed,
        "strict_end": client.strict_end if strict_end is None else strict_end,
        **others,
    }


def _with_stream(how: dict[str, Any], theirs: type, ours: Any) -> dict[str, Any]:
    """The arguments of a request, the SDK's stream class replaced by ours; a user's own class stays."""
    stream_cls = how.get("stream_cls")
    if typing.get_origin(stream_cls) is theirs:
        (item,) = typing.get_args(stream_cls)
        return {**how, "stream_cls": ours[item]}
    return how
