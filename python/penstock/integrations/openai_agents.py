"""Typed Responses events of the openai package from a Chat Completions stream, in the order of openai-agents.

    chunks = await client.chat.completions.create(..., stream=True)
    async for event in handle_stream(response, chunks):
        ...

`handle_stream` can stand where openai-agents has its `ChatCmplStreamHandler.handle_stream`: it takes the same
arguments and yields the same types of events in the same order (0.20) wherever that library's stream is
legal, and besides them the events that it leaves out: `response.in_progress` and each missing `done` event.
A text part that a refusal follows ends before that begins. Ids are real, a stream that was cut fails, and one
that was cut short by a limit is incomplete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Any, Self, cast

from openai._models import construct_type
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from penstock import Event, Transcoder

__all__ = ["Chunk", "TypedEvents", "handle_stream"]

Chunk = BaseModel | Event | Mapping[str, Any] | str | bytes
"""A chunk as a model of any package, as an event or payload, or bytes of the event stream in any split."""

FAKE_ID = "__fake_id__"
"""What openai-agents gives its responses for an id."""


class TypedEvents(AsyncIterator[ResponseStreamEvent]):
    """The events that a transcoder makes of chunks, as the openai package's models.

    Args:
        chunks: where the chunks come from; it is closed with the iteration if it can be.
        transcoder: from "chat" to "responses".
    """

    def __init__(self, chunks: AsyncIterable[Chunk], transcoder: Transcoder) -> None:
        self._chunks = aiter(chunks)
        self._transcoder = transcoder
        self._ready: deque[Event] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResponseStreamEvent:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self._ended = True
                self._ready.extend(self._transcoder.finish_events())
            else:
                self._ready.extend(self._transcoder.feed_events(_payload(chunk)))
        event = self._ready.popleft().json()
        return cast("ResponseStreamEvent", construct_type(type_=ResponseStreamEvent, value=event))

    async def aclose(self) -> None:
        """Give up the rest of the stream. May be called again."""
        self._ended = True
        self._ready.clear()
        close: Callable[[], Any] | None = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()


def _payload(chunk: Chunk) -> Any:
    if isinstance(chunk, BaseModel):
        return chunk.model_dump_json(exclude_unset=True)
    return dict(chunk) if isinstance(chunk, Mapping) else chunk


def handle_stream(
    response: Response,
    stream: AsyncIterable[Chunk],
    model: str | None = None,
    strict_feature_validation: bool = False,
    *,
    preserve_raw_usage: bool = False,
    raise_on_length_truncation: bool = False,
    require_finish_reason: bool = False,
    **options: Any,
) -> TypedEvents:
    """The events of a Chat Completions stream.

    Args:
        response: what the response object starts from: model, tools, time and what else repeats the request.
            Its id is replaced if it is openai-agents' placeholder.
        stream: the chunks.
        model: the model's name, if the response is to have another than `response`.
        strict_feature_validation: raise `DecodeError` for several choices and whatever else the API does not
            allow.
        preserve_raw_usage: taken because the handler takes it; usage keeps all its members anyway.
        raise_on_length_truncation: likewise; such a response is incomplete.
        require_finish_reason: likewise; a stream that just ends without one has failed.
        options: further options of `penstock.Transcoder`.
    """
    given = response.model_dump(mode="json", exclude_unset=True)
    created = response.created_at
    options = {
        "compat": "openai-agents",
        "model": model or response.model,
        "id": None if response.id == FAKE_ID else response.id,
        "echo": given,
        "now": lambda: created,
        "strict": strict_feature_validation,
        **options,
    }
    return TypedEvents(stream, Transcoder("chat", "responses", **options))
