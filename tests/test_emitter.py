"""`ResponseEmitter`: every call in Python, and its output in each format."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import penstock
from penstock import (
    ConcurrencyError,
    DecodeError,
    Decoder,
    Event,
    IllegalEvent,
    LimitExceeded,
    Limits,
    ResponseAccumulator,
    ResponseEmitter,
)

USAGE = {
    "input_tokens": 1,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 3,
}


def counted() -> Callable[[str], str]:
    """Ids that are the same in each run."""
    made: dict[str, int] = {}

    def make(prefix: str) -> str:
        made[prefix] = made.get(prefix, 0) + 1
        return f"{prefix}{made[prefix]}"

    return make


def emitter(**options: Any) -> ResponseEmitter:
    made = ResponseEmitter(**{"model": "m", "ids": counted(), "created_at": 5, **options})
    made.start()
    return made


def play(e: ResponseEmitter) -> None:
    """Some of everything."""
    reasoning = e.open_item("reasoning")
    e.reasoning_summary(reasoning, "think")
    assert e.open_part(reasoning, "summary_text") == 1
    e.reasoning_summary(reasoning, "again")
    e.close_item(reasoning, members={"encrypted_content": "x"})
    raw = e.open_item("reasoning")
    e.reasoning_text(raw, "raw")
    e.close_item(raw)
    message = e.open_item("message", members={"phase": "commentary"})
    e.text(message, "Grüße ")
    e.text(message, "👋", logprobs=[{"token": "👋", "logprob": -0.1, "top_logprobs": [], "bytes": [240]}])
    e.annotation(
        message, {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "t", "url": "u"}
    )
    e.close_part(message)
    e.refusal(message, "no")
    e.close_item(message)
    first = e.open_item("function_call", name="f")
    second = e.open_item("custom_tool_call", name="g", call_id="call_own")
    e.arguments(first, '{"a":')
    e.custom_input(second, "input")
    e.arguments(first, "1}")
    e.close_item(second)
    e.close_item(first)
    search = e.open_item("web_search_call", members={"action": {"type": "search", "query": "q"}})
    e.status(search, "response.web_search_call.searching")
    e.status(search, "response.web_search_call.completed")
    e.close_item(search)
    code = e.open_item("code_interpreter_call", members={"container_id": "c"})
    e.code(code, "1+1")
    e.close_item(code, "failed", members='{"outputs": []}')
    image = e.open_item("image_generation_call")
    e.status(
        image,
        "response.image_generation_call.partial_image",
        {"partial_image_b64": "AA==", "partial_image_index": 0},
    )
    e.close_item(image, members={"result": "AA=="})
    tool = e.open_item("mcp_call", name="t", members={"server_label": "s"})
    e.arguments(tool, "{}")
    e.close_item(tool, members={"output": "o"})
    listed = e.open_item("mcp_list_tools", members={"server_label": "s", "tools": []})
    e.status(listed, "response.mcp_list_tools.completed")
    e.close_item(listed)
    e.add_item({"id": "cmp_1", "type": "compaction", "encrypted_content": "c"})
    e.usage(USAGE)
    e.members({"service_tier": "default"})


def test_what_is_written_is_read_back() -> None:
    e = emitter(echo={"instructions": "Be brief.", "metadata": {"a": "b"}})
    play(e)
    e.complete()
    stream = e.take()
    assert e.take() == b""
    decoder = Decoder()
    events = decoder.feed(stream) + decoder.finish()
    assert [event.sequence_number for event in events] == list(range(e.sequence_number))
    assert all(event.name == event.type for event in events)
    accumulator = ResponseAccumulator(strict=True)
    accumulator.feed(events)
    final = e.final()
    assert final is not None
    assert accumulator.final() == final
    assert accumulator.output_text == "Grüße 👋"
    assert (final["id"], final["created_at"], final["model"]) == ("resp_1", 5, "m")
    assert (final["status"], final["usage"]) == ("completed", USAGE)
    assert (final["instructions"], final["service_tier"]) == ("Be brief.", "default")
    assert [item["id"] for item in final["output"][:5]] == ["rs_1", "rs_2", "msg_1", "fc_1", "ctc_1"]
    assert final["output"][3]["call_id"] == "call_1"
    assert final["output"][2]["phase"] == "commentary"
    assert final["output"][6]["status"] == "failed"
    assert e.finished
    assert e.items == len(final["output"])


def test_formats_say_the_same() -> None:
    bodies = {}
    for format_ in ("sse", "websocket", "events"):
        e = emitter(format=format_)
        play(e)
        e.incomplete("max_output_tokens")
        bodies[format_] = e.take()
    decoded = Decoder().feed(bodies["sse"])
    assert decoded == bodies["events"]
    assert all(type(event) is Event for event in bodies["events"])
    assert [event.json() for event in decoded] == [json.loads(text) for text in bodies["websocket"]]


@pytest.mark.parametrize(
    ("end", "event", "status"),
    [
        (lambda e: e.complete(), "response.completed", "completed"),
        (lambda e: e.incomplete("content_filter"), "response.incomplete", "incomplete"),
        (lambda e: e.fail({"code": "server_error", "message": "x"}), "response.failed", "failed"),
        (lambda e: e.cancel(), "response.cancelled", "cancelled"),
    ],
)
def test_ends(end: Callable[[ResponseEmitter], None], event: str, status: str) -> None:
    e = emitter(format="events")
    message = e.open_item("message")
    e.text(message, "cut")
    if status == "completed":
        e.close_item(message)
    end(e)
    events = e.take()
    assert events[-1].type == event
    final = events[-1]["response"]
    assert final == e.final()
    assert final["status"] == status
    assert final["output"][0]["status"] == ("completed" if status == "completed" else "incomplete")
    assert final["output"][0]["content"][0]["text"] == "cut"
    with pytest.raises(IllegalEvent, match="after_terminal"):
        end(e)


def test_errors_end_the_stream() -> None:
    e = emitter(format="events")
    e.open_item("message")
    e.error({"code": "server_error", "message": "broken"})
    with pytest.raises(IllegalEvent) as caught:
        e.open_item("message")
    assert (caught.value.rule, caught.value.event) == ("error_not_failed", "response.output_item.added")
    e.fail('{"code":"server_error","message":"broken"}')
    types = [event.type for event in e.take()]
    assert types[-3:] == ["response.output_item.done", "error", "response.failed"]


def test_what_clients_expect_is_there() -> None:
    e = emitter(format="events")
    message = e.open_item("message")
    e.text(message, "a", logprobs=[{"token": "a", "logprob": -1}, {"token": "no probability"}, {}])
    e.close_item(message)
    e.usage({"input_tokens": 1, "output_tokens": 2, "cost": 0.5})
    e.complete()
    final = e.final()
    assert final is not None
    assert final["usage"] == {**USAGE, "cost": 0.5}
    assert final["output"][0]["content"][0]["logprobs"] == [
        {"token": "a", "logprob": -1, "bytes": [], "top_logprobs": []}
    ]
    e = emitter(format="events")
    e.error({})
    e.fail({"message": "broken"})
    error, failed = e.take()[-2:]
    assert (error["code"], error["message"], error["param"]) == (None, "", None)
    assert failed["response"]["error"] == {"message": "broken", "code": "server_error"}


def test_a_response_that_begins_has_no_usage_yet() -> None:
    e = ResponseEmitter(model="m", format="events")
    e.usage(USAGE)
    e.queue()
    e.usage(USAGE)
    e.start()
    e.complete()
    events = e.take()
    assert penstock.lint(events, strict=True) == []
    assert [event["response"]["usage"] for event in events] == [None, None, None, USAGE]


def test_items_without_ids_get_them() -> None:
    e = emitter(format="events")
    e.add_item({"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}})
    e.add_item({"type": "vendor:thing"})
    e.complete()
    events = e.take()
    assert [item.get("id") for item in events[-1]["response"]["output"]] == ["ws_1", None]
    assert penstock.lint(events) == []
    fresh = ResponseEmitter(model="m")
    fresh.start()
    other = ResponseEmitter(model="m")
    other.start()
    for made in (fresh, other):
        made.add_item({"type": "web_search_call"})
        made.complete()
    ids = {made.final()["output"][0]["id"] for made in (fresh, other)}  # type: ignore[index]
    assert len(ids) == 2


def test_an_id_that_cannot_be_made_changes_nothing() -> None:
    def fail(prefix: str) -> str:
        raise LookupError(prefix)

    e = ResponseEmitter(model="m", id="resp_1", ids=fail)
    e.start()
    before = e.take()
    with pytest.raises(LookupError, match="ws_"):
        e.add_item({"type": "web_search_call"})
    assert before
    assert e.take() == b""
    e.complete()


def test_calls_cut_short_have_a_status_that_their_type_knows() -> None:
    e = emitter(format="events")
    for kind in ("image_generation_call", "web_search_call", "file_search_call"):
        e.open_item(kind)
    e.incomplete("max_output_tokens")
    final = e.final()
    assert final is not None
    assert [item["status"] for item in final["output"]] == ["failed", "failed", "incomplete"]
    assert penstock.lint(e.take()) == []


def test_queue() -> None:
    e = ResponseEmitter(model="m", format="events")
    e.queue()
    e.start()
    e.complete()
    events = e.take()
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "queued",
        "in_progress",
        "completed",
    ]
    assert [event["response"]["status"] for event in events] == [
        "queued",
        "queued",
        "in_progress",
        "completed",
    ]


ILLEGAL: list[tuple[str, Callable[[ResponseEmitter], object]]] = [
    ("created_again", lambda e: e.start()),
    ("item_not_added", lambda e: e.text(7, "x")),
    ("wrong_item", lambda e: e.arguments(0, "x")),
    ("wrong_part", lambda e: e.open_part(1, "output_text")),
    ("wrong_item", lambda e: e.status(0, "response.completed")),
    ("item_open", lambda e: e.complete()),
    ("item_prefilled", lambda e: e.open_item("function_call", name="f", members={"arguments": "{}"})),
    ("unsafe_id", lambda e: e.open_item("message", id="a\nb")),
    ("duplicate_item_id", lambda e: e.open_item("message", id="msg_1")),
    ("reserved_member", lambda e: e.members({"status": "completed"})),
    ("reserved_member", lambda e: e.members({"usage": {}})),
    ("item_prefilled", lambda e: e.open_item("message", members={"content": "text"})),
    ("item_prefilled", lambda e: e.add_item({"type": "message", "id": "m", "content": "text"})),
    ("missing_field", lambda e: e.status(2, "response.image_generation_call.partial_image")),
    ("call_changed", lambda e: e.close_item(3, members={"name": "g"})),
    ("call_changed", lambda e: e.close_item(3, members={"call_id": "call_other"})),
]


@pytest.mark.parametrize(("rule", "call"), ILLEGAL, ids=[rule for rule, _ in ILLEGAL])
def test_illegal_calls_change_nothing(rule: str, call: Callable[[ResponseEmitter], object]) -> None:
    e = emitter()
    e.open_item("message")
    e.open_item("reasoning")
    e.open_item("image_generation_call")
    e.open_item("function_call", name="f")
    e.take()
    with pytest.raises(IllegalEvent) as caught:
        call(e)
    assert caught.value.rule == rule
    assert isinstance(caught.value, ValueError)
    assert e.take() == b""
    for item in range(4):
        e.close_item(item)
    e.complete()


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ValueError, lambda e: e.open_part(0, "text")),
        (ValueError, lambda e: e.close_item(0, "done")),
        (ValueError, lambda e: e.status(0, "no.such.event")),
        (DecodeError, lambda e: e.usage("{")),
        (DecodeError, lambda e: e.usage([1])),
        (TypeError, lambda e: e.usage({1, 2})),
        (ValueError, lambda e: e.usage({"a": float("nan")})),
        (TypeError, lambda e: e.text(0, b"bytes")),
        (OverflowError, lambda e: e.text(-1, "x")),
        (LimitExceeded, lambda e: e.text(0, "x" * 200)),
        (ValueError, lambda _: ResponseEmitter(model="m", format="xml")),  # type: ignore[arg-type]
        (TypeError, lambda _: ResponseEmitter(model="m", ids="x")),  # type: ignore[arg-type]
        (ValueError, lambda _: ResponseEmitter(model="m", created_at=-1)),
        (ValueError, lambda _: ResponseEmitter(model="m", created_at=float("nan"))),
        (ValueError, lambda _: ResponseEmitter(model="m", pad_to=0)),
        (IllegalEvent, lambda _: ResponseEmitter(model="m", id="")),
        (IllegalEvent, lambda _: ResponseEmitter(model="m", echo={"output": []})),
    ],
)
def test_arguments_are_checked(error: type[Exception], call: Callable[[Any], object]) -> None:
    e = emitter(limits=Limits(max_message_bytes=100))
    e.open_item("message")
    before = e.take()
    with pytest.raises(error):
        call(e)
    assert before
    assert e.take() == b""


def test_ids_and_time_by_default() -> None:
    first, second = ResponseEmitter(model="m"), ResponseEmitter(model="m")
    assert first.id != second.id
    assert first.id.startswith("resp_")
    assert len(first.id) == 53
    first.start()
    first.open_item("function_call", name="f")
    created, _, added = Decoder().feed(first.take())
    assert abs(created["response"]["created_at"] - time.time()) < 60
    assert added["item"]["id"].startswith("fc_")
    assert added["item"]["call_id"].startswith("call_")


def test_a_generator_that_fails_changes_nothing() -> None:
    def fail(prefix: str) -> str:
        raise LookupError(prefix)

    e = ResponseEmitter(model="m", id="resp_1", ids=fail)
    e.start()
    e.take()
    with pytest.raises(LookupError, match="msg_"):
        e.open_item("message")
    assert e.take() == b""
    e.open_item("message", id="msg_own")


def test_options_of_the_wire() -> None:
    e = emitter(format="websocket", stream_id="lane", escape_separators=True, pad_to=128)
    message = e.open_item("message")
    e.take()
    for length in (1, 2, 30, 300):
        e.text(message, "\u2028\u2029\x85" * length)
    texts = e.take()
    assert len(texts) == 5
    for text in texts[1:]:
        assert len(text.encode()) % 128 == 0
        assert not set("\u2028\u2029\x85") & set(text)
        payload = json.loads(text)
        assert payload["stream_id"] == "lane"
        assert "obfuscation" in payload


def test_surrogates_join_over_deltas() -> None:
    e = emitter(format="events")
    message = e.open_item("message")
    e.text(message, "a\ud83d")
    e.text(message, "\ude00")
    e.close_item(message)
    e.complete()
    final = e.final()
    assert final is not None
    assert final["output"][0]["content"][0]["text"] == "a\U0001f600"


def test_one_caller_at_a_time() -> None:
    e = emitter()
    message = e.open_item("message")
    failures: list[BaseException] = []

    def write() -> None:
        for _ in range(2_000):
            try:
                e.text(message, "x" * 100)
            except ConcurrencyError:
                pass
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    e.close_item(message)
    e.complete()
    accumulator = ResponseAccumulator(strict=True)
    accumulator.feed(e.take())
    assert accumulator.final() == e.final()


def test_exported() -> None:
    assert penstock.ResponseEmitter is ResponseEmitter


@pytest.mark.parametrize("content", ["text", [], None, [{"type": "output_text", "text": "b"}]])
def test_the_members_of_a_finished_item_cannot_replace_what_was_streamed(content: object) -> None:
    emitter = ResponseEmitter(model="m")
    emitter.start()
    item = emitter.open_item("message")
    emitter.text(item, "a")
    with pytest.raises(IllegalEvent) as refused:
        emitter.close_item(item, members={"content": content})
    assert refused.value.rule == "item_mismatch"
    emitter.close_item(item)
    emitter.complete()
    final = emitter.final()
    assert final is not None
    assert final["output"][0]["content"][0]["text"] == "a"
