"""`write_sse`: what is given is what every reader gets, or it is refused; nothing forges an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import decode_event_stream

from penstock import Decoder, IllegalEvent, _penstock, write_sse
from penstock.errors import InternalError

Read = Callable[[bytes], list[tuple[str, str, str]]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"data": "x"}, b"data: x\n\n"),
        ({"data": b"x"}, b"data: x\n\n"),
        ({"data": bytearray(b"\xff")}, b"data: \xff\n\n"),
        ({"data": ""}, b"data: \n\n"),
        ({"data": "a\nb\r\nc\rd\n"}, b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        ({"data": " Grüße\u2028"}, "data:  Grüße\u2028\n\n".encode()),
        ({"data": "x", "event": "e", "id": "1", "retry": 0}, b"event: e\nid: 1\nretry: 0\ndata: x\n\n"),
        ({"id": ""}, b"id: \n\n"),
        ({"retry": 2**64 - 1}, b"retry: 18446744073709551615\n\n"),
        ({"comment": "keep-alive"}, b": keep-alive\n\n"),
        ({"comment": "a\nb", "data": "x"}, b": a\n: b\ndata: x\n\n"),
        ({}, b"\n"),
    ],
)
def test_frames(arguments: dict[str, Any], expected: bytes) -> None:
    assert write_sse(**arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"event": ""}, "unsafe_name"),
        *(({"event": f"a{end}b"}, "unsafe_name") for end in "\r\n\0"),
        *(({"id": f"a{end}b"}, "unsafe_id") for end in "\r\n\0"),
        ({"retry": -1}, "unsafe_retry"),
        ({"retry": 2**64}, "unsafe_retry"),
    ],
)
def test_what_a_frame_cannot_carry_is_refused(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(IllegalEvent) as refused:
        write_sse("x", **arguments)
    assert (refused.value.rule, refused.value.event) == (rule, None)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("name", ["data", "event", "id", "comment"])
def test_a_lone_surrogate_is_refused(name: str) -> None:
    fields: dict[str, Any] = {name: "\ud800"}
    with pytest.raises(UnicodeEncodeError):
        write_sse(**fields)


@pytest.mark.parametrize(
    "arguments", [{"data": 5}, {"event": b"x"}, {"id": 1}, {"retry": 1.5}, {"retry": "5"}, {"comment": b""}]
)
def test_other_types_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        write_sse(**arguments)


def test_a_panic_is_an_internal_error() -> None:
    _penstock._panic_next()
    with pytest.raises(InternalError):
        write_sse("x")
    assert write_sse("x") == b"data: x\n\n"


def ours(stream: bytes) -> list[tuple[str, str, str]]:
    events = Decoder(sentinel=None).feed(stream)
    return [(event.name or "", event.data.decode("utf-8", "replace"), event.id or "") for event in events]


def httpx2_s(stream: bytes) -> list[tuple[str, str, str]]:
    request = httpx2.Request("GET", "https://a.example")
    headers = {"content-type": "text/event-stream"}
    source = httpx2.EventSource(httpx2.Response(200, headers=headers, content=stream, request=request))
    return [("" if event.event == "message" else event.event, event.data, event.id) for event in source]


def naive(stream: bytes) -> list[tuple[str, str, str]]:
    return [(event.name, event.data, event.id) for event in decode_event_stream(stream).events]


ENDS = ["\n", "\r", "\r\n", "\n\r", "\n\n", "\r\r", "\r\n\r\n", "\0", "\u2028", "\u0085", "\v", "\f"]

HOSTILE = [
    *(f"a{end}data: forged{end}{end}" for end in ENDS),
    *(f"{end}{end}event: forged{end}data: forged{end}{end}" for end in ENDS),
    *(f"{end}id: forged\n: forged" for end in ENDS),
    "\ufeffdata: forged\n\n",
    ": forged",
    " leading",
    "data: [DONE]\n\ndata: [DONE]\n\n",
]


@pytest.mark.parametrize("read", [ours, httpx2_s, naive])
@pytest.mark.parametrize("field", ["data", "event", "id", "retry", "comment"])
def test_hostile_values_forge_nothing(field: str, read: Read) -> None:
    """Five fields, forty values, three readers: a frame is one event of what was given, or refused."""
    assert len(set(HOSTILE)) == 40
    written = 0
    for value in HOSTILE:
        fields: dict[str, Any] = {"data": "own", field: value}
        try:
            frame = write_sse(**fields)
        except (IllegalEvent, TypeError):
            assert field == "retry" or set(value) & set("\r\n\0")
            continue
        written += 1
        data = fields["data"].replace("\r\n", "\n").replace("\r", "\n")
        own = (fields.get("event", ""), data, fields.get("id", ""))
        # What comes behind it shows that nothing of it was left open.
        assert read(frame + write_sse("next", event="n")) == [own, ("n", "next", own[2])]
    assert written == {"data": 40, "comment": 40, "event": 10, "id": 10, "retry": 0}[field]


text = st.text(st.characters(exclude_categories=["Cs"]))


@given(text, text, text, text, st.none() | st.integers(0, 2**64 - 1))
def test_any_frame_is_one_event_or_refused(
    data: str, event: str, id: str, comment: str, retry: int | None
) -> None:
    try:
        frame = write_sse(data, event=event, id=id, comment=comment, retry=retry)
    except IllegalEvent:
        assert not event or set(event + id) & set("\r\n\0")
        return
    lines = data.replace("\r\n", "\n").replace("\r", "\n")
    assert ours(frame) == naive(frame) == [(event, lines, id)]
    assert decode_event_stream(frame).retry == retry
