"""The stream classes over canned bytes: every kind of stream, every split, every cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai._models import FinalRequestOptions
from openai.types import Completion
from openai.types.audio import TranscriptionStreamEvent
from openai.types.beta import AssistantStreamEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from openai_streams import chat_stream, responses_stream, sse

import penstock
from penstock.integrations.openai import OpenAI, Stream, _with_stream

OURS = OpenAI(api_key="k", base_url="http://localhost:9")
LENIENT = OURS.with_options(strict_end=False)
THEIRS = openai.OpenAI(api_key="k", base_url="http://localhost:9")


class Canned:
    """As much of an HTTP response as a stream needs."""

    request: Any = None
    http_version = "HTTP/1.1"

    def __init__(self, body: bytes, piece: int) -> None:
        self._body = body
        self._piece = piece
        self.closed = 0

    def iter_bytes(self) -> Iterator[bytes]:
        for start in range(0, len(self._body), self._piece):
            yield self._body[start : start + self._piece]

    def close(self) -> None:
        self.closed += 1


def stream(client: Any, cast_to: Any, body: bytes, *, piece: int = 1400, options: Any = None) -> Any:
    kind: Any = openai.Stream if client is THEIRS else Stream
    return kind(cast_to=cast_to, response=Canned(body, piece), client=client, options=options)


COMPLETION = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
OTHER_STREAMS: dict[str, tuple[Any, bytes]] = {
    "transcription": (
        TranscriptionStreamEvent,
        sse(
            [
                {
                    "type": "transcript.text.delta",
                    "delta": "Hi",
                    "logprobs": [{"token": "Hi", "logprob": -1}],
                },
                {"type": "transcript.text.done", "text": "Hi", "usage": None},
            ],
            named=False,
        ),
    ),
    "completion": (
        Completion,
        sse(
            [
                {**COMPLETION, "choices": [{"index": 0, "text": "Hi", "finish_reason": None}]},
                {**COMPLETION, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": None},
            ],
            done=True,
        ),
    ),
    "assistant": (
        AssistantStreamEvent,
        b'event: thread.created\ndata: {"id":"t1","object":"thread","created_at":1,"metadata":{}}\n\n'
        b"event: thread.message.delta\n"
        b'data: {"id":"m","object":"thread.message.delta","delta":{"content":[]}}\n\n'
        b"event: done\ndata: [DONE]\n\n",
    ),
    "null": (ChatCompletionChunk, b"data: null\n\ndata: [DONE]\n\n"),
    "object": (object, b'data: {"a":1}\n\ndata: [2]\n\ndata: [DONE]\n\n'),
}


@pytest.mark.parametrize("name", OTHER_STREAMS)
def test_other_streams_equal_the_sdks(name: str) -> None:
    ours, theirs = (list(stream(client, *OTHER_STREAMS[name])) for client in (OURS, THEIRS))
    assert len(ours) == len(theirs) > 0
    assert ours == theirs
    assert [one.__class__ for one in ours] == [one.__class__ for one in theirs]


def options_of(**options: Any) -> FinalRequestOptions:
    """The SDK's own options of a request, with those that only its resources set."""
    return FinalRequestOptions.construct(method="post", url="/", **options)


def test_streams_that_keep_the_events_name() -> None:
    options = options_of(synthesize_event_and_data=True)
    body = sse(responses_stream()[:2])
    ours, theirs = (list(stream(client, object, body, options=options)) for client in (OURS, THEIRS))
    assert ours == theirs
    assert ours[0]["event"] == "response.created"


@pytest.mark.skipif(
    "stream_mode" not in FinalRequestOptions.model_fields, reason="the SDK learned it in 3.52"
)
@pytest.mark.parametrize("named", [False, True])
def test_streams_whose_errors_are_data(named: bool) -> None:
    options = options_of(synthesize_event_and_data=named, stream_mode="events")
    body = b'event: thread.x\ndata: {"error":{"message":"no"}}\n\nevent: error\ndata: {"error":"text"}\n\n'
    ours, theirs = (list(stream(client, object, body, options=options)) for client in (OURS, THEIRS))
    assert ours == theirs
    assert len(ours) == 2


APIS = {
    "responses": (ResponseStreamEvent, sse(responses_stream("One two", "{}"))),
    "chat": (ChatCompletionChunk, sse(chat_stream())),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("piece", [1, 2, 3, 64, 10**6])
def test_any_split_gives_the_same_events(api: str, piece: int) -> None:
    cast_to, body = APIS[api]
    assert list(stream(OURS, cast_to, body, piece=piece)) == list(stream(THEIRS, cast_to, body))


@pytest.mark.parametrize("api", APIS)
def test_any_cut_is_told_from_an_end(api: str) -> None:
    cast_to, body = APIS[api]
    last = {"responses": b"event: response.completed", "chat": b'"finish_reason": "tool_calls"'}[api]
    ended = body.index(
        b"\n", body.index(b"data: ", body.index(last)) if api == "responses" else body.index(last)
    )
    whole = list(stream(THEIRS, cast_to, body))
    for cut in range(0, len(body) + 1, 29):
        events, failure = [], None
        try:
            for event in stream(OURS, cast_to, body[:cut]):
                events.append(event)
        except penstock.IncompleteStream as error:
            failure = error
        assert (failure is None) == (cut > ended), cut
        theirs = list(stream(THEIRS, cast_to, body[:cut]))
        assert list(stream(LENIENT, cast_to, body[:cut])) == theirs == whole[: len(theirs)]
        assert events[: len(theirs)] == theirs
        assert len(events) - len(theirs) in {0, 1}  # the last event may be whole without its blank line


def test_an_event_cut_behind_a_line_is_no_event() -> None:
    for cast_to, body in APIS.values():
        events = stream(OURS, cast_to, body[: body.index(b"\n\n") + 2] + b'data: {"type":"response.in_prog\n')
        next(events)
        with pytest.raises(penstock.IncompleteStream):
            next(events)
        with pytest.raises(StopIteration):
            next(events)
        assert events.response.closed == 1


def test_a_limit_lets_the_events_before_it_through() -> None:
    events = stream(
        OURS, ChatCompletionChunk, sse(chat_stream()[:2]) + b"data: " + b"x" * (17 << 20), piece=1 << 25
    )
    assert [next(events).choices[0].index for _ in range(2)] == [0, 0]
    with pytest.raises(penstock.LimitExceeded):
        next(events)


def test_events_without_data_are_none() -> None:
    body = b": hello\n\nid: 1\n\nevent: ping\n\ndata:\n\n" + sse(chat_stream(), done=True)
    assert len(list(stream(OURS, ChatCompletionChunk, body))) == len(chat_stream())


def test_a_users_own_stream_class_stays() -> None:
    class Own(openai.Stream[ChatCompletionChunk]):
        """Whatever a user does with streams."""

    assert _with_stream({"stream_cls": Own}, openai.Stream, Stream) == {"stream_cls": Own}
    assert _with_stream({}, openai.Stream, Stream) == {}


def test_a_client_of_the_sdk_can_use_the_stream_class() -> None:
    kind: Any = Stream
    body = json.dumps({"error": {"message": "no stream"}}).encode()
    with pytest.raises(openai.APIError, match="no stream"):
        next(kind(cast_to=ChatCompletionChunk, response=Canned(body, 9), client=THEIRS))
