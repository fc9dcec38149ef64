"""An `Event` as a Python value: frozen, lazy, a mapping, comparable, picklable, with a safe repr."""

import copy
import pickle
import weakref
from typing import Any

import oracles
import pytest
from feeding import CARRIERS

from penstock import DecodeError, Decoder, Event, LimitExceeded, Limits

FIELDS = (
    "type",
    "name",
    "id",
    "sequence_number",
    "output_index",
    "stream_id",
    "item_id",
    "delta",
    "data",
    "flushed",
)


def test_json_is_built_once() -> None:
    event = Event('{"a":{"b":[1]}}')
    assert event.json() is event.json()
    assert event["a"] is event.json()["a"]
    assert event.get("a") is event["a"]


def test_it_reads_like_a_mapping() -> None:
    event = Event('{"a":1,"b":null,"":2}')
    assert (event["a"], event["b"], event[""]) == (1, None, 2)
    assert (event.get("a"), event.get("b", 7), event.get("c"), event.get("c", 7)) == (1, None, None, 7)
    assert "a" in event
    assert "c" not in event
    assert 5 not in event
    assert list(event) == list(event.keys()) == ["a", "b", ""]
    assert len(event) == 3
    assert dict(event) == dict(event.items()) == {"a": 1, "b": None, "": 2}
    assert list(event.values()) == [1, None, 2]
    with pytest.raises(KeyError, match="c"):
        event["c"]
    with pytest.raises(KeyError):
        event[5]


@pytest.mark.parametrize("payload", ["{}", "", "null", "0", "[]", '""', "false", "broken"])
def test_it_is_always_true(payload: str) -> None:
    assert Event(payload)


@pytest.mark.parametrize("payload", ["", "{", "broken", "[DONE]", '{"a":1}}', "NaN"])
def test_a_payload_that_is_not_json(payload: str) -> None:
    event = Event(payload, name="n")
    assert (event.type, event.delta, event.data) == ("n", None, payload.encode())
    for ask in (
        event.json,
        lambda: event["a"],
        lambda: event.get("a"),
        lambda: list(event),
        lambda: len(event),
    ):
        with pytest.raises(DecodeError) as refused:
            ask()
        assert refused.value.offset is not None
    with pytest.raises(DecodeError):
        _ = "a" in event


@pytest.mark.parametrize(
    ("payload", "value"), [("null", None), ("[1,2]", [1, 2]), ('"ab"', "ab"), ("5", 5), ("1.5", 1.5)]
)
def test_a_payload_that_is_no_object_is_still_readable(payload: str, value: Any) -> None:
    event = Event(payload)
    assert oracles.same(event.json(), value)
    assert event.type == "message"
    for ask in (lambda: event["a"], event.keys):
        with pytest.raises((TypeError, KeyError, AttributeError, DecodeError)):
            ask()


def test_it_is_frozen() -> None:
    event = Event('{"type":"x"}', name="n", id="i")
    for name in (*FIELDS, "json", "anything"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(event, name, "changed")
    with pytest.raises(TypeError):
        event["type"] = "y"  # type: ignore[index]
    with pytest.raises(TypeError):
        del event["type"]  # type: ignore[attr-defined]
    assert (event.type, event.name, event.id) == ("x", "n", "i")


def test_equality_and_hash_are_those_of_what_came() -> None:
    event = Event('{"a":1}', name="n", id="i")
    assert event == Event(b'{"a":1}', name="n", id="i")
    assert hash(event) == hash(Event(b'{"a":1}', name="n", id="i"))
    for other in (
        Event('{"a": 1}', name="n", id="i"),
        Event('{"a":1}', id="i"),
        Event('{"a":1}', name="n"),
        Event(""),
    ):
        assert event != other
    assert event != b'{"a":1}'
    assert event != {"a": 1}
    assert event != None  # noqa: E711 - the comparison itself is under test
    assert len({event, Event('{"a":1}', name="n", id="i"), Event("")}) == 2
    with pytest.raises(TypeError):
        _ = event < event  # type: ignore[operator]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(protocol: int) -> None:
    flushing = Decoder(eof="flush")
    flushing.feed(b'event: n\nid: 1\ndata: {"type":"x","delta":"y\xff"}')
    (flushed,) = flushing.finish()
    for event in (Event('{"a":1}', name="n", id="i"), Event(b"\xff\x00"), Event(""), flushed):
        again = pickle.loads(pickle.dumps(event, protocol))
        assert again == event
        assert type(again) is Event
        assert [getattr(again, field) for field in FIELDS] == [getattr(event, field) for field in FIELDS]


def test_pickling_keeps_the_decoder_s_limits_and_strictness() -> None:
    (event,) = Decoder(errors="strict", limits=Limits(max_depth=2)).feed(b'data: ["\\ud800",[[]]]\n\n')
    again = pickle.loads(pickle.dumps(event))
    for either in (event, again):
        with pytest.raises(DecodeError) as refused:
            either.json()
        assert refused.value.reason == "lone_surrogate"
    (event,) = Decoder(limits=Limits(max_depth=2)).feed(b"data: [[[]]]\n\n")
    with pytest.raises(LimitExceeded):
        pickle.loads(pickle.dumps(event)).json()


def test_copies() -> None:
    event = Event('{"a":[1]}', name="n", id="i")
    event.json()
    for again in (copy.copy(event), copy.deepcopy(event)):
        assert again == event
        assert again.json() == {"a": [1]}
    assert copy.deepcopy(event).json() is not event.json() or copy.deepcopy(event) is event


def test_repr_is_short_and_on_one_line() -> None:
    for event in (
        Event("x" * 100_000, name="n" * 250, id="i" * 1_000),
        Event("\n\r\x00\x1b[31m\u2028\u202e", name="\n\x1b", id="\r\x00\u2029"),
        Event(b"\xff\xfe\x80"),
        Event('{"type":"\\u001b[2J\\n","delta":"' + "y" * 5_000 + '"}'),
        Event("[" * 100_000),
    ):
        shown = repr(event)
        assert len(shown) <= 400
        assert shown.isprintable()
        assert shown.startswith(("Event(", "<"))
        assert str(event) == shown


@pytest.mark.parametrize("carrier", CARRIERS)
def test_construction_from_any_bytes_like_type(carrier: str) -> None:
    event = Event(CARRIERS[carrier](b'{"a":1}'))
    assert event.data == b'{"a":1}'
    assert event == Event('{"a":1}')


def test_construction() -> None:
    text = Event('{"d":"\u00e9\U0001f600"}')
    assert text.data == '{"d":"\u00e9\U0001f600"}'.encode()
    assert type(text.data) is bytes
    bare = Event(b"")
    assert (bare.data, bare.name, bare.id, bare.type, bare.flushed) == (b"", None, None, "message", False)
    assert Event("", name="").type == "message"


@pytest.mark.parametrize("data", [None, 5, 1.5, ["x"], {"a": 1}, object()], ids=repr)
def test_data_of_the_wrong_type_is_refused(data: Any) -> None:
    with pytest.raises(TypeError):
        Event(data)


@pytest.mark.parametrize(
    "options", [{"name": 5}, {"id": 5}, {"name": b"n"}, {"type": "x"}, {"flush": True}], ids=str
)
def test_options_of_the_wrong_type_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Event("{}", **options)


def test_name_and_id_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        Event("{}", "name")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Event()  # type: ignore[call-arg]


def test_a_str_that_cannot_be_encoded_is_a_value_error() -> None:
    for options in ({"data": "\ud800"}, {"data": "", "name": "\udc00"}, {"data": "", "id": "\udfff"}):
        with pytest.raises(ValueError, match="surrogate"):
            Event(**options)


def test_every_str_it_gives_out_can_be_encoded() -> None:
    payload = b'{"type":"\\ud800","delta":"\\udfff\xed\xa0\xbd","\\udc00":"\\ud83d"}'
    stream = b"event: \xed\xa0\x80\nid: \xff\ndata: " + payload + b"\n\n"
    (event,) = Decoder().feed(stream)
    value = event.json()
    for text in (event.type, event.name, event.id, event.delta, repr(event), *value, *value.values()):
        assert text is not None
        text.encode()


def test_events_can_be_referred_to_weakly_or_refuse() -> None:
    event = Event("{}")
    try:
        reference = weakref.ref(event)
    except TypeError:
        return
    assert reference() is event
