"""`Relay`: bytes pass untouched whatever the split, and every stream has exactly one truthful end."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from relay_streams import CHAT, MESSAGES, RESPONSE, RESPONSES, STREAMS, terminals

from penstock import (
    ChatAccumulator,
    ConcurrencyError,
    Decoder,
    Event,
    IllegalEvent,
    IncompleteStream,
    LimitExceeded,
    Limits,
    Relay,
    ResponseAccumulator,
    lint,
    write_events,
)

FAILED = {"responses": ["response.failed"], "chat": ["error", "[DONE]"], "messages": ["error"]}
"""How a stream ends that broke."""

ENDED = {"responses": ["response.completed"], "chat": ["[DONE]"], "messages": ["message_stop"]}


def chunked(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


def passed(relay: Relay, chunks: Any) -> bytes:
    return b"".join([*(relay.feed(chunk) for chunk in chunks), relay.finish()])


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("dialect", STREAMS)
def test_bytes_pass_untouched_in_any_split(dialect: str, newline: bytes) -> None:
    stream = b": hello\n\nretry: 5\n\n" + b"".join(STREAMS[dialect])
    stream = stream.replace(b"\n", newline)
    splits = random.Random(1)  # noqa: S311
    sizes = [1, 2, 3, 7, 64, 1_000, len(stream)]
    for chunks in [*(chunked(stream, size) for size in sizes), random_split(stream, splits)]:
        relay = Relay()
        assert relay.dialect is None
        assert passed(relay, chunks) == stream
        assert relay.dialect == dialect
        assert relay.ended
        assert relay.finish() == relay.fail("too late") == relay.release() == b""


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("dialect", STREAMS)
def test_done_is_when_nothing_can_follow(dialect: str, hold: bool) -> None:
    relay = Relay(dialect=dialect, hold=hold)  # type: ignore[arg-type]
    frames = STREAMS[dialect]
    last = (
        next(number for number, frame in enumerate(frames) if hold and b'"usage":{"prompt' in frame)
        if (hold and dialect == "chat")
        else len(frames) - 1
    )
    for number, frame in enumerate(frames):
        relay.feed(frame)
        assert relay.done is (number >= last), frame
        assert relay.ended or not relay.done


@pytest.mark.parametrize("dialect", [*STREAMS, "auto", None])
def test_a_stream_that_has_failed_is_done(dialect: Any) -> None:
    relay = Relay(dialect=dialect)
    assert not relay.done
    relay.fail("late")
    assert relay.done


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("dialect", STREAMS)
def test_a_beginning_is_recognized_by_its_first_telling_event(dialect: str, newline: bytes) -> None:
    first = STREAMS[dialect][0].replace(b"\n", newline)
    for before in (b"", b": comment\n\n", b'event: ping\ndata: {"type":"ping"}\n\n'):
        begun = before.replace(b"\n", newline)
        assert Relay.recognize(begun) is None
        assert Relay.recognize(begun + first[:-6]) is None
        assert Relay.recognize(begun + first) == dialect
        assert Relay.recognize(bytearray(begun + first) + b"data: {") == dialect


def test_no_dialect_is_recognized_in_what_is_none() -> None:
    for beginning in (b"", b"<html>\n\n", b"data: [DONE]\n\n", b"data: nothing\n\n", b'data: {"a":1}\n\n'):
        assert Relay.recognize(beginning) is None


def random_split(stream: bytes, numbers: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(stream):
        size = numbers.randint(1, 200)
        yield stream[at : at + size]
        at += size


def test_whole_frames_pass_as_the_object_they_came_in() -> None:
    relay = Relay()
    for frame in RESPONSES:
        assert relay.feed(frame) is frame
    whole = b"".join(RESPONSES)
    assert Relay().feed(bytearray(whole)) == whole


@pytest.mark.parametrize("dialect", STREAMS)
def test_every_cut_ends_in_one_truthful_terminal(dialect: str) -> None:
    frames = STREAMS[dialect]
    stream = b"".join(frames)
    logical_end = len(stream) - 2  # the last event needs no blank line
    if dialect == "chat":  # a finish reason is the end; usage and `[DONE]` may be lost
        logical_end = stream.index(b'"finish_reason":"tool_calls"')
    for cut in range(0, len(stream), 13):
        relay = Relay(dialect=dialect)  # type: ignore[arg-type]
        written = relay.feed(stream[:cut]) + relay.finish()
        first = dialect == "responses" and cut < len(frames[0])
        expected = (["error"] if first else FAILED[dialect]) if cut < logical_end else ENDED[dialect]
        if cut >= logical_end and dialect == "chat" and terminals(written, dialect) == FAILED["chat"]:
            assert stream.index(b"\n\n", logical_end) >= cut - 2  # within the frame of the finish reason
            continue
        assert terminals(written, dialect) == expected, cut
        if dialect == "responses":
            assert lint(written) == [], cut
        assert relay.ended
        assert relay.finish() == b""


@pytest.mark.parametrize("cut", range(0, len(RESPONSES) - 1, 3))
def test_a_failed_response_keeps_what_had_come(cut: int) -> None:
    relay = Relay(dialect="responses")
    written = relay.feed(b"".join(RESPONSES[:cut])) + relay.fail("The lock\nis shut.", code="stuck")
    final = relay.final() if cut else None
    read = ResponseAccumulator()
    read.feed(written)
    read.finish()
    assert read.error == {"code": "stuck", "message": "The lock\nis shut."} | ({} if cut else {"param": None})
    if final is None:
        assert relay.terminal == "error"
        return
    assert final == read.final()
    assert relay.terminal == "response.failed"
    assert final["status"] == "failed"
    before = ResponseAccumulator()
    before.feed(b"".join(RESPONSES[:cut]))
    assert read.output_text == before.output_text
    done = sum(b'"response.output_item.done"' in frame for frame in RESPONSES[:cut])
    assert [item.get("status") == "incomplete" for item in final["output"][done:] if "status" in item] == [
        True for item in final["output"][done:] if "status" in item
    ]
    assert [call["complete"] for call in read.function_calls] == [False for _ in read.function_calls]


def test_a_chat_completion_keeps_what_had_come() -> None:
    relay = Relay()
    written = relay.feed(b"".join(CHAT[:5])) + relay.fail("Gone.", code="gone")
    error = {"message": "Gone.", "type": "server_error", "param": None, "code": "gone"}
    assert json.loads(written.split(b"\n\n")[-3][6:]) == {"error": error}
    read = ChatAccumulator()
    read.feed(b"".join(CHAT[:5]))
    assert relay.snapshot()["choices"][0]["message"] == read.snapshot()["choices"][0]["message"]  # type: ignore[index]
    assert relay.terminal == "error"


def test_the_upstream_s_own_error_is_told_once() -> None:
    error = write_events({"type": "error", "code": "busy", "message": "Later.", "sequence_number": 3})
    relay = Relay()
    written = relay.feed(b"".join(RESPONSES[:3]) + error) + relay.finish()
    assert terminals(written, "responses") == ["error", "response.failed"]
    assert relay.final()["error"]["code"] == "busy"
    relay = Relay()
    frame = b'data: {"error":{"message":"Later."}}\n\n'
    assert relay.feed(frame) + relay.finish() == frame + b"data: [DONE]\n\n"


def test_a_last_event_without_its_blank_line_counts() -> None:
    stream = b"".join(RESPONSES)
    for missing in (1, 2):
        relay = Relay()
        written = relay.feed(stream[:-missing])
        assert not relay.ended
        written += relay.finish()
        assert relay.terminal == "response.completed"
        assert terminals(written, "responses") == ["response.completed"]
    relay = Relay(hold=True)
    relay.feed(stream[:-1])
    assert relay.finish() == b""
    assert relay.held
    assert b"response.completed" in relay.release()


def test_nothing_follows_the_sentinel() -> None:
    relay = Relay()
    stream = b"".join(CHAT)
    assert relay.feed(stream + b"data: {}\n\n") == stream
    assert relay.feed(b"data: {}\n\n") == relay.finish() == b""


@pytest.mark.parametrize("size", [1, 50, 10_000])
@pytest.mark.parametrize(("dialect", "held"), [("responses", -1), ("chat", -2)])
def test_the_end_is_held_back(dialect: str, held: int, size: int) -> None:
    frames = STREAMS[dialect]
    relay = Relay(hold=True)
    written = b"".join(relay.feed(chunk) for chunk in chunked(b"".join(frames), size))
    assert written == b"".join(frames[:held])
    assert relay.held
    assert relay.ended
    assert relay.usage
    assert relay.final()["usage"] == relay.usage
    assert relay.finish() == b""
    assert relay.release() == b"".join(frames[held:])
    assert relay.fail("too late") == b""
    assert not relay.held
    assert relay.finish() == b""


@pytest.mark.parametrize("dialect", STREAMS)
def test_an_end_that_is_held_back_can_be_refused(dialect: str) -> None:
    relay = Relay(hold=True)
    written = relay.feed(b"".join(STREAMS[dialect])) + relay.fail("No.", code="refused")
    assert terminals(written, dialect) == FAILED[dialect]
    assert b'"code":"refused"' in written
    assert not relay.held
    assert relay.finish() == relay.release() == relay.fail("again") == b""
    if dialect == "responses":
        assert lint(written) == []


def test_a_chat_without_usage_is_held_at_its_sentinel() -> None:
    frames = [CHAT[0], CHAT[-3], CHAT[-1]]
    relay = Relay(hold=True)
    assert relay.feed(b"".join(frames)) == b"".join(frames[:2])
    assert relay.release(usage={"cost": 1}) == frames[2]


@pytest.mark.parametrize("usage", [{"cost": 0.25}, '{"cost":0.25}', b'{"cost": 0.25}'])
def test_usage_is_stamped_into_the_end_alone(usage: Any) -> None:
    for frames, held in ((RESPONSES, -1), (CHAT, -2)):
        relay = Relay(hold=True)
        relay.feed(re.sub(rb'("total_tokens": ?37)', rb'\1.0,"x":1e400', b"".join(frames)))
        end = relay.release(usage=usage)
        assert end.count(b"1e400") == end.count(b',"cost":0.25}') == 1
        plain = end.replace(b',"cost":0.25', b"").replace(b'.0,"x":1e400', b"")
        assert plain == b"".join(frames[held:])


def test_usage_replaces_what_is_there_and_needs_a_place() -> None:
    last = json.loads(RESPONSES[-1].split(b"data: ")[1])
    last["response"]["usage"]["cost"] = 9
    relay = Relay(hold=True)
    relay.feed(b"".join(RESPONSES[:-1]) + write_events(last))
    assert json.loads(relay.release(usage={"cost": 1}).split(b"data: ")[1])["response"]["usage"] == {
        **RESPONSE["usage"],
        "cost": 1,
    }
    last["response"]["usage"] = None
    relay = Relay(hold=True)
    frame = write_events(last)
    relay.feed(b"".join(RESPONSES[:-1]) + frame)
    assert relay.release(usage={"cost": 1}) == frame
    relay = Relay(hold=True)
    relay.feed(b"".join(MESSAGES))
    assert relay.release(usage={"cost": 1}) == MESSAGES[-1]


def test_the_second_response_of_a_stream_has_an_end_of_its_own() -> None:
    relay = Relay()
    stream = b"".join(RESPONSES)
    assert relay.feed(stream + stream[:500])
    assert not relay.ended
    assert terminals(relay.finish(), "responses") == ["response.failed"]


def test_streams_of_no_known_dialect() -> None:
    relay = Relay()
    stream = b"".join(b'data: {"n":%d}\n\n' % number for number in range(20))
    assert relay.feed(stream) == stream
    assert (relay.dialect, relay.terminal, relay.usage, relay.snapshot()) == (None, None, None, None)
    with pytest.raises(IncompleteStream) as caught:
        relay.final()
    assert caught.value.reason == "dialect"
    assert terminals(relay.finish(), "messages") == ["error"]


def test_framing_alone_knows_no_end() -> None:
    relay = Relay(dialect=None)
    stream = b"".join(RESPONSES)
    assert relay.feed(stream[:-1]) + relay.finish() == stream
    assert Relay(dialect=None).finish() == b""


def test_final_before_the_end() -> None:
    relay = Relay()
    relay.feed(b"".join(RESPONSES[:4]))
    with pytest.raises(IncompleteStream) as caught:
        relay.final()
    assert caught.value.reason == "open"
    assert caught.value.partial == relay.snapshot()
    assert relay.events == 4
    assert repr(relay) == "<Relay open, 4 events>"


@pytest.mark.parametrize(
    ("stream", "limits", "limit"),
    [
        (b"data: " + b"x" * 3_000_000, Limits(max_event_bytes=1_000_000), "max_event_bytes"),
        (b"data: " + b"x" * 2_000 + b"\n\n", Limits(max_line_bytes=1_000), "max_line_bytes"),
        (RESPONSES[0] + b": x\n" * 1_000 + b"\n", Limits(max_idle_bytes=1_000), "max_idle_bytes"),
        (b"".join(RESPONSES), Limits(max_message_bytes=300), "max_message_bytes"),
    ],
)
def test_limits_come_after_the_frames_before_them(stream: bytes, limits: Limits, limit: str) -> None:
    for size in (500, len(stream)):
        relay = Relay(limits=limits)
        written = b""
        with pytest.raises(LimitExceeded) as caught:  # noqa: PT012
            for chunk in [*chunked(RESPONSES[0] + stream, size), b"", b""]:
                written += relay.feed(chunk)
        assert caught.value.limit == limit
        assert written.startswith(RESPONSES[0])
        with pytest.raises(LimitExceeded):
            relay.feed(b"more")
        assert terminals(written + relay.fail("too much"), "responses") == ["response.failed"]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="dialect is"):
        Relay(dialect="morse")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Relay().feed("text")  # type: ignore[arg-type]
    relay = Relay(hold=True)
    relay.feed(b"".join(RESPONSES))
    with pytest.raises(ValueError, match="JSON"):
        relay.release(usage="{")
    assert relay.held
    assert relay.release()


def test_events_are_written_as_they_are() -> None:
    events = Decoder().feed(b"".join(RESPONSES))
    assert write_events(events) == write_events(tuple(events)) == b"".join(RESPONSES)
    [chunk] = Decoder().feed(CHAT[0])
    assert write_events(chunk) == CHAT[0]
    assert write_events({"type": "a", "b": None}) == b'event: a\ndata: {"type": "a", "b": null}\n\n'
    assert write_events('{"n":1e400}') == b'data: {"n":1e400}\n\n'
    assert write_events(b'{"type":"x"}', id="7") == b'event: x\nid: 7\ndata: {"type":"x"}\n\n'
    assert write_events(Event("two\nlines", name="n")) == b"event: n\ndata: two\ndata: lines\n\n"
    assert write_events([]) == b""


@pytest.mark.parametrize("bad", [3, None, {"a": float("nan")}, [[]]])
def test_what_cannot_be_written(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        write_events(bad)
    with pytest.raises(IllegalEvent):
        write_events("{}", id="a\nb")


def test_one_thread_at_a_time() -> None:
    class Usage(dict[str, Any]):
        pass

    assert issubclass(ConcurrencyError, RuntimeError)
    assert Relay(hold=True).release(usage=Usage()) == b""
