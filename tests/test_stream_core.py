"""What both faces promise: every event, the truth about the end, errors with what came before them."""

from __future__ import annotations

import json
from typing import Any

import clients
import httpx
import pytest
from faces import CHAT, RESPONSE, Chunks, Read, Response, each_face, text_of
from upstream import STALL, Upstream, delta, event, head

from penstock import stream_core
from penstock._penstock import ChatAccumulator, Event, Limits, ResponseAccumulator
from penstock.errors import (
    MAX_BODY_BYTES,
    DecodeError,
    IncompleteStream,
    LimitExceeded,
    PenstockError,
    ResponseError,
    StreamTimeout,
)
from penstock.stream import AsyncStream, Stream

PING = event("ping")


# Whole streams


@each_face
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize("dialect", ["auto", "explicit"])
@pytest.mark.parametrize("name", ["responses", "chat"])
def test_whole_stream(read: Read, name: str, dialect: str, size: int) -> None:
    whole = b"".join(RESPONSE if name == "responses" else CHAT)
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    outcome = read(Chunks(*chunks), dialect="auto" if dialect == "auto" else name)
    assert outcome.error is None
    assert text_of(outcome.final) == "Hello, world "
    assert "".join(one.delta or "" for one in outcome.events) == "Hello, world "
    assert len(outcome.events) == (len(RESPONSE) if name == "responses" else len(CHAT) - 1)
    stats = outcome.stream.stats
    assert stats.events == len(outcome.events)
    assert stats.bytes <= len(whole)  # what follows [DONE] need not be read
    assert stats.terminal is not None
    kind = ResponseAccumulator if name == "responses" else ChatAccumulator
    assert isinstance(outcome.stream.accumulator, kind)


@each_face
def test_undecided_events_before_the_dialect_is_clear(read: Read) -> None:
    outcome = read(Chunks(b"data: not json\n\n", PING, *RESPONSE))
    assert text_of(outcome.final) == "Hello, world "
    assert len(outcome.events) == len(RESPONSE) + 2


@each_face
def test_error_object_is_taken_for_chat(read: Read) -> None:
    outcome = read(Chunks(b'data: {"error":{"message":"overloaded"}}\n\n'))
    assert isinstance(outcome.stream.accumulator, ChatAccumulator)
    assert isinstance(outcome.final_error, IncompleteStream)


@each_face
@pytest.mark.parametrize(
    ("chunks", "options", "reason"),
    [
        ([], {}, "eof"),
        ([b": nothing but comments\n\n"], {}, "eof"),
        ([PING] * 20, {}, "dialect"),
        ([PING], {}, "dialect"),
        ([*RESPONSE], {"dialect": None}, "dialect"),
    ],
)
def test_nothing_to_accumulate(read: Read, chunks: list[bytes], options: Any, reason: str) -> None:
    outcome = read(Chunks(*chunks), **options)
    assert outcome.error is None
    assert len(outcome.events) == sum(chunk.startswith(b"event") for chunk in chunks)
    assert isinstance(outcome.final_error, IncompleteStream)
    assert (outcome.final_error.partial, outcome.final_error.reason) == (None, reason)
    assert outcome.stream.accumulator is None
    assert outcome.stream.stats.terminal is None


@each_face
def test_framing(read: Read) -> None:
    lines = [json.dumps({"type": "response.created", "response": {"id": "r"}}).encode() + b"\n"]
    assert len(read(Chunks(*lines), framing="ndjson").events) == 1
    assert len(read(Response(*lines, media_type="application/x-ndjson; charset=utf-8")).events) == 1
    # Said to be NDJSON, asked to be SSE.
    with pytest.raises(ResponseError):
        raise read(Response(*lines, media_type="application/x-ndjson"), framing="sse").error or AssertionError


@each_face
def test_event_without_its_blank_line(read: Read) -> None:
    assert [one.flushed for one in read(Chunks(b"data: {}")).events] == [True]
    assert read(Chunks(b"data: {}"), eof="spec").events == []


def test_decoder_is_at_hand() -> None:
    stream = Stream([b"retry: 7\nid: 3\ndata: {}\n\n"])
    next(stream)
    assert (stream.decoder.retry, stream.decoder.last_event_id) == (7, "3")


# Ends


@each_face
@pytest.mark.parametrize("count", range(1, len(RESPONSE)))
def test_clean_cut(read: Read, count: int) -> None:
    outcome = read(Chunks(*RESPONSE[:count]))
    assert outcome.error is None
    assert isinstance(outcome.final_error, IncompleteStream)
    assert outcome.final_error.partial is not None
    assert outcome.final_error.partial["status"] != "completed"


@each_face
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Chunks(*RESPONSE[:5], error=ConnectionResetError("peer")), "reset"),
        (Chunks(*RESPONSE[:5], error=httpx.ReadError("peer")), "reset"),
        (Response(*RESPONSE[:5], error=EOFError("peer")), "reset"),
    ],
)
def test_broken_connection(read: Read, source: Chunks, reason: str) -> None:
    outcome = read(source)
    assert len(outcome.events) == 5
    assert isinstance(outcome.error, IncompleteStream)
    assert outcome.error.reason == reason
    assert outcome.error.__cause__ is source.error
    assert text_of(outcome.error.partial) == "Hello, world "
    assert outcome.final_error is outcome.error


@each_face
@pytest.mark.parametrize("error", [TimeoutError(), httpx.ReadTimeout("read")])
def test_time_out_of_the_client_itself(read: Read, error: Exception) -> None:
    outcome = read(Response(*RESPONSE[:5], error=error))
    assert isinstance(outcome.error, PenstockError)
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.error.__cause__ is error
    assert text_of(outcome.error.partial) == "Hello, world "  # type: ignore[attr-defined]


@each_face
def test_broken_before_anything(read: Read) -> None:
    outcome = read(Chunks(error=ConnectionResetError()))
    assert isinstance(outcome.error, IncompleteStream)
    assert outcome.error.partial is None


@each_face
@pytest.mark.parametrize("chunks", [RESPONSE, CHAT, [*CHAT[:-2], b"data: [DONE]\n\n"]])
@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError()])
def test_break_after_the_logical_end_is_no_error(read: Read, chunks: list[bytes], error: Exception) -> None:
    outcome = read(Response(*chunks, error=error))
    assert outcome.error is None
    assert len(outcome.events) == sum(b"[DONE]" not in chunk for chunk in chunks)


@each_face
@pytest.mark.parametrize("error", [ValueError("theirs"), KeyError("theirs")])
def test_callers_own_error_passes_unchanged(read: Read, error: Exception) -> None:
    outcome = read(Chunks(*RESPONSE, error=error))
    assert outcome.error is None or outcome.error is error
    outcome = read(Chunks(*RESPONSE[:5], error=error))
    assert outcome.error is error
    assert len(outcome.events) == 5


@each_face
def test_misuse_of_a_client_is_not_the_upstreams_fault(read: Read) -> None:
    error = httpx.StreamConsumed()
    assert read(Response(*RESPONSE[:5], error=error)).error is error


@each_face
def test_done_ends_a_chat_whose_server_gives_no_finish_reason(read: Read) -> None:
    assert text_of(read(Chunks(*CHAT[:-2], CHAT[-1])).final) == "Hello, world "


def test_final_after_the_terminal_event_and_a_close() -> None:
    stream = Stream(RESPONSE)
    for one in stream:
        if one.type == "response.completed":
            break
    stream.close()
    assert stream.final()["status"] == "completed"


def test_final_after_done_and_a_close() -> None:
    stream = Stream([b"".join([*CHAT[:-2], CHAT[-1]])])
    next(stream)
    stream.close()
    assert text_of(stream.final()) == "Hello, world "


# Errors


@each_face
@pytest.mark.parametrize(
    ("chunks", "options", "kind"),
    [
        (
            [delta("a"), delta("b") + b"data: " + b"x" * 5000],
            {"limits": Limits(max_line_bytes=4000)},
            LimitExceeded,
        ),
        ([delta("a") + delta("b") + b"data: \xff\n\n"], {"errors": "strict"}, DecodeError),
        ([delta("a"), delta("b") + b'data: {"a":"\xff"}'], {"errors": "strict"}, DecodeError),
        ([delta("a"), delta("b"), "text"], {}, TypeError),
        ([delta("a"), delta("b"), 5], {}, TypeError),
    ],
    ids=["limit", "utf8", "utf8-at-the-end", "str", "int"],
)
def test_events_first_then_the_error(
    read: Read, chunks: list[Any], options: Any, kind: type[Exception]
) -> None:
    outcome = read(Chunks(*chunks), **options)
    assert [one.delta for one in outcome.events] == ["a", "b"]
    assert type(outcome.error) is kind
    assert outcome.final_error is outcome.error


@each_face
def test_limit_of_the_accumulator(read: Read) -> None:
    chunks = [*RESPONSE[:3], *(delta("x" * 100) for _ in range(20))]
    outcome = read(Chunks(*chunks), limits=Limits(max_message_bytes=1000))
    assert isinstance(outcome.error, LimitExceeded)
    assert outcome.error.limit == "max_message_bytes"
    assert 6 < len(outcome.events) < 15


@each_face
def test_failure_of_the_accumulators_end(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        terminal = None

        def __init__(self, *, limits: Limits) -> None: ...
        def feed(self, batch: list[Event]) -> None: ...
        def finish(self) -> None:
            raise DecodeError("too late")

        def snapshot(self) -> None: ...

    monkeypatch.setattr(stream_core, "ResponseAccumulator", Failing)
    outcome = read(Chunks(*RESPONSE))
    assert len(outcome.events) == len(RESPONSE)
    assert isinstance(outcome.error, DecodeError)


def test_raised_again_with_its_first_traceback() -> None:
    stream = Stream(Chunks(error=ValueError("theirs")))
    depths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="theirs") as caught:
            next(stream)
        depths.append(len(caught.traceback))
    assert depths[0] == depths[1] == depths[2]


@pytest.mark.parametrize("face", [Stream, AsyncStream])
@pytest.mark.parametrize(
    "options",
    [
        {"dialect": "messages"},
        {"framing": "xml"},
        {"idle_timeout": 0},
        {"max_duration": -1},
        {"eof": "maybe"},
    ],
    ids=repr,
)
def test_options_that_are_none(face: Any, options: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        face(b"", **options)


# Answers that are no event streams


ERROR = b'{"error": {"message": "m", "type": "t", "code": "c", "param": "p"}}'


FULL = {"message": "m", "type": "t", "code": "c", "param": "p"}


@each_face
@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        (ERROR, FULL, "c"),
        (b'[{"error": {"code": 429}}]', {"code": 429}, "429"),
        (b'{"error": "m", "code": "c"}', {"error": "m", "message": "m", "code": "c"}, "c"),
        (b'{"object": "error", "message": "m", "code": 40001}', None, "40001"),
        (b'{"detail": "Not Found"}', {"detail": "Not Found"}, None),
        (b'{"id": "resp_1", "error": null}', None, None),
        (b'{"error": {"code": {"odd": 1}}}', {"code": {"odd": 1}}, None),
        (b"[]", None, None),
        (b'"text"', None, None),
        (b"<html>Bad Gateway</html>", None, None),
        (b'{"error": {"mess', None, None),
        (b"", None, None),
    ],
)
@pytest.mark.parametrize("status", [404, 500])
def test_http_error(read: Read, status: int, body: bytes, error: Any, code: str | None) -> None:
    outcome = read(Response(body[:9], body[9:], status=status, media_type="application/json"))
    assert isinstance(outcome.error, ResponseError)
    assert outcome.error.status == status
    assert outcome.error.body == body
    assert outcome.error.request_id == "req_1"
    assert outcome.error.code == code
    if error is not None:
        assert outcome.error.error == error
    assert str(outcome.error) == f"HTTP {status}" + (f": {code}" if code else "") + " (request req_1)"
    assert outcome.final_error is outcome.error


@each_face
def test_words_from_the_wire_are_shown_only_if_harmless(read: Read) -> None:
    response = Response(b'{"error": {"code": "my key is\\nsk-1"}}', status=400)
    response.headers["x-request-id"] = "a b"
    assert str(read(response).error) == "HTTP 400"


@each_face
@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (ERROR, "application/json"),
        (b"\xef\xbb\xbf \n" + ERROR, "application/problem+json"),
        (b"<html></html>", "text/html"),
        (ERROR, "text/event-stream"),
        (ERROR, ""),
    ],
)
def test_document_on_200(read: Read, body: bytes, media_type: str) -> None:
    outcome = read(Response(b"", body[:5], body[5:], media_type=media_type))
    assert isinstance(outcome.error, ResponseError)
    assert outcome.error.status == 200
    assert "document" in str(outcome.error)


@each_face
def test_document_from_elsewhere(read: Read) -> None:
    error = read(Chunks(ERROR)).error
    assert isinstance(error, ResponseError)
    assert (error.status, error.request_id, error.error) == (None, None, FULL)


@each_face
@pytest.mark.parametrize("media_type", ["application/json", "text/html", "text/plain"])
def test_event_stream_under_a_wrong_name(read: Read, media_type: str) -> None:
    outcome = read(Response(b"\n", *RESPONSE, media_type=media_type))
    assert text_of(outcome.final) == "Hello, world "


@each_face
@pytest.mark.parametrize("ending", [None, ConnectionResetError()])
def test_endless_error_body_is_bounded(read: Read, ending: Exception | None) -> None:
    outcome = read(Response(*[b"x" * 1000] * 1000, status=502, error=ending))
    assert isinstance(outcome.error, ResponseError)
    assert len(outcome.error.body) == MAX_BODY_BYTES


@each_face
def test_error_body_that_breaks_off(read: Read) -> None:
    reset = ConnectionResetError()
    outcome = read(Response(ERROR[:20], status=502, error=reset))
    assert isinstance(outcome.error, ResponseError)
    assert outcome.error.body == ERROR[:20]
    assert outcome.error.__cause__ is reset


def test_error_body_is_not_waited_for_long(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_core, "ERROR_BODY_SECONDS", 0.2)
    url = upstream.url(head(500), b"first words", STALL)
    with clients.SYNC["httpx"](url) as response, Stream(response) as stream:
        with pytest.raises(ResponseError) as caught:
            next(stream)
        assert caught.value.body == b"first words"
        assert isinstance(caught.value.__cause__, StreamTimeout)


@each_face
def test_what_follows_done_is_ignored(read: Read) -> None:
    trailing = [b": comment\n\n", b"data: {}\n\n"] * 2
    assert len(read(Response(*CHAT, *trailing)).events) == len(CHAT) - 1


def test_final_of_a_stream_closed_too_early() -> None:
    stream = Stream(RESPONSE)
    assert "open" in repr(stream)
    next(stream)
    stream.close()
    assert stream.closed
    assert "closed" in repr(stream)
    with pytest.raises(IncompleteStream) as caught:
        stream.final()
    assert caught.value.reason == "closed"
    assert caught.value.partial is not None
