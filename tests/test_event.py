"""What an `Event` says: its attributes equal its `json()`, and it behaves as a Python value."""

import copy
import json
import pickle
import weakref
from collections.abc import Mapping
from typing import Any

import oracles
import pytest
from feeding import CARRIERS
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DecodeError, Decoder, Event, LimitExceeded, Limits, PenstockError

TEXTS = ("stream_id", "item_id")
INDICES = ("sequence_number", "output_index")
FIELDS = ("type", "name", "id", *INDICES, *TEXTS, "delta", "data", "flushed")


def read(text: bytes, name: str | None = None) -> dict[str, Any]:
    """What the attributes must say, from the whole object; a payload that is no object has no fields."""
    try:
        value = oracles.loads(text)
    except ValueError:
        value = None
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
    return {
        "type": _text(fields, "type") or (name or "message" if _text(fields, "type") is None else ""),
        **{key: _text(fields, key) for key in TEXTS},
        **{key: _index(fields, key) for key in INDICES},
        "delta": _text(fields, "delta") if "delta" in fields else _chat_text(fields.get("choices")),
    }


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


def _index(fields: Mapping[str, Any], key: str) -> int | None:
    value = fields.get(key)
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _chat_text(choices: Any) -> str | None:
    for place, choice in enumerate(choices if isinstance(choices, list) else []):
        if (
            isinstance(choice, dict)
            and choice.get("index", place) == 0
            and isinstance(choice.get("delta"), dict)
        ):
            return _text(choice["delta"], "content")
    return None


def attributes(event: Event) -> dict[str, Any]:
    return {key: getattr(event, key) for key in ("type", *TEXTS, *INDICES, "delta")}


PAYLOADS = [
    '{"type":"response.output_text.delta","sequence_number":4,"output_index":0,"item_id":"msg_1","delta":"Hi"}',
    '{"type":"x","stream_id":"lane-a","sequence_number":0,"output_index":17}',
    '{"delta":"top","choices":[{"index":0,"delta":{"content":"chat"}}]}',
    '{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}',
    '{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"}}]}',
    '{"choices":[{"index":1,"delta":{"content":"no"}}]}',
    '{"choices":[{"delta":{"content":"by its place"}}]}',
    '{"choices":[{"index":0,"delta":{"content":null}}]}',
    '{"choices":[{"index":0,"delta":{}}]}',
    '{"choices":[{"index":0,"delta":null}]}',
    '{"choices":[{"index":0}]}',
    '{"choices":[]}',
    '{"choices":null}',
    '{"choices":{"index":0,"delta":{"content":"no list"}}}',
    '{"choices":["text",{"index":0,"delta":{"content":"x"}}]}',
    '{"choices":[{"ind\\u0065x":0,"d\\u0065lta":{"cont\\u0065nt":"x"}}]}',
    '{"choices":[{"index":0,"index":1,"delta":{"content":"x"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a","cont\\u0065nt":"b"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a"},"delta":{"content":"b"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a"}}],"choices":[]}',
    '{"choices":[{"index":0,"delta":{"content":"\\ud83d\\ude00\\n\\ud83d"}}]}',
    '{"delta":{"stdout":"an object"}}',
    '{"delta":5}',
    '{"delta":null}',
    '{"delta":""}',
    '{"delta":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041"}',
    '{"delta":"\\ud83d"}',
    '{"delta":"\\ud83d\\ude00"}',
    '{"delta":"a\u2028b\u00e9\U0001f600"}',
    '{"type":"a","type":"b"}',
    '{"type":"a","type":1}',
    '{"type":1,"type":"a"}',
    '{"type":"a","ty\\u0070e":"b"}',
    '{"ty\\u0070e":"a","type":"b"}',
    '{"\\u0074\\u0079\\u0070\\u0065":"a"}',
    '{"type":""}',
    '{"delta":"a","d\\u0065lta":"b"}',
    '{"delta":"a","delta":null}',
    '{"sequence_number":1,"sequence_number":2}',
    '{"sequence_number":1,"sequence\\u005fnumber":2}',
    '{"sequence_number":1,"sequence_number":"x"}',
    '{"sequence_number":"1"}',
    '{"sequence_number":-1}',
    '{"sequence_number":1.0}',
    '{"sequence_number":1e2}',
    '{"sequence_number":true}',
    '{"sequence_number":null}',
    '{"sequence_number":999999999999999999}',
    '{"sequence_number":1000000000000000000}',
    '{"sequence_number":9223372036854775807}',
    '{"sequence_number":9223372036854775808}',
    '{"sequence_number":9999999999999999999}',
    '{"sequence_number":18446744073709551616}',
    '{"output_index":4294967296}',
    '{"output_index":2147483648}',
    '{"item_id":null,"stream_id":7}',
    '{"item":{"type":"no","delta":"no","output_index":5}}',
    '{"delta":"a","bad":}',
    '{"delta":"a"} trailing',
    '{"delta":"a"',
    '{"delta":"a","deep":' + "[" * 127 + "]" * 127 + "}",
    '{"delta":"a","too":' + "[" * 128 + "]" * 128 + "}",
    '[{"type":"x","delta":"y"}]',
    '"type"',
    "null",
    "12",
    "[DONE]",
    "",
    " ",
    "\ufeff{}",
    ' \n\t{ "type" : "x" , "delta" : "y" } \r\n',
    "{}",
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda text: text[:60])
def test_attributes_equal_the_object(payload: str) -> None:
    for name in (None, "named"):
        event = Event(payload, name=name)
        assert attributes(event) == read(payload.encode(), name)
        assert all(value is None or type(value) in (str, int) for value in attributes(event).values())


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda text: text[:60])
def test_json_and_attributes_agree_in_either_order(payload: str) -> None:
    first, second = Event(payload), Event(payload)
    try:
        before: Any = first.json()
    except PenstockError:
        before = None
    assert attributes(first) == attributes(second)
    if before is not None:
        assert oracles.same(before, second.json())


KEYS = st.sampled_from(
    ["type", "delta", "sequence_number", "output_index", "item_id", "stream_id", "choices", "x"]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 1 << 64), st.floats(allow_nan=False), st.text(max_size=5)
)
DELTAS = st.fixed_dictionaries({}, optional={"content": SCALARS})
CHOICES = st.lists(
    st.fixed_dictionaries({}, optional={"index": st.integers(0, 2), "delta": DELTAS}), max_size=3
)
MEMBERS = st.lists(st.tuples(KEYS, st.one_of(SCALARS, CHOICES), st.booleans()), max_size=6)


def spell(members: list[tuple[str, Any, bool]]) -> str:
    """An object whose keys may come twice and may be written in escapes."""
    keys = ["".join(f"\\u{ord(letter):04x}" for letter in key) if odd else key for key, _, odd in members]
    values = [json.dumps(value) for _, value, _ in members]
    return "{" + ",".join(f'"{key}":{value}' for key, value in zip(keys, values, strict=True)) + "}"


@settings(max_examples=1_500, deadline=None, derandomize=True)
@given(MEMBERS)
def test_attributes_equal_the_object_with_duplicates_and_escaped_keys(
    members: list[tuple[str, Any, bool]],
) -> None:
    text = spell(members)
    if "Infinity" in text:
        return
    assert attributes(Event(text)) == read(text.encode())


@pytest.mark.parametrize("field", FIELDS)
def test_projection_of_one_field_equals_the_attribute(field: str) -> None:
    stream = b"".join(
        b"id: %d\nevent: n%d\ndata: %s\n\n" % (number, number, payload.encode())
        for number, payload in enumerate(PAYLOADS)
        if "\n" not in payload and "\r" not in payload
    )
    events = Decoder(sentinel=None).feed(stream)
    rows = Decoder(sentinel=None).feed(stream, fields=(field,))
    assert rows == [(getattr(event, field),) for event in events]
    assert [type(row[0]) for row in rows] == [type(getattr(event, field)) for event in events]


def test_projection_of_all_fields_in_any_order_and_doubled() -> None:
    stream = "".join(f"data: {payload}\n\n" for payload in PAYLOADS if "\n" not in payload).encode()
    events = Decoder().feed(stream)
    for fields in (FIELDS, FIELDS[::-1], ("type", "type"), ("delta", "type", "delta"), ()):
        rows = Decoder().feed(stream, fields=fields)
        assert rows == [tuple(getattr(event, field) for field in fields) for event in events]
        assert all(type(row) is tuple for row in rows)


def test_projection_at_every_split_and_at_the_end_of_input() -> None:
    stream = b'event: n\nid: 1\ndata: {"type":"x","delta":"y"}\n\n: c\ndata: {"sequence_number":2}'
    whole = Decoder(eof="flush")
    expected = [
        tuple(getattr(event, field) for field in FIELDS) for event in whole.feed(stream) + whole.finish()
    ]
    assert [row[-1] for row in expected] == [False, True]
    for at in range(len(stream) + 1):
        decoder = Decoder(eof="flush")
        rows = decoder.feed(stream[:at], fields=FIELDS) + decoder.feed(stream[at:], fields=FIELDS)
        assert rows + decoder.finish(fields=FIELDS) == expected


@pytest.mark.parametrize(
    "fields", [("colour",), ("type", "Type"), ("type ",), ("",), ("json",), ("__class__",)]
)
def test_unknown_fields_are_refused_and_nothing_is_lost(fields: tuple[str, ...]) -> None:
    decoder = Decoder()
    with pytest.raises(ValueError, match="field"):
        decoder.feed(b"data: a\n\n", fields=fields)
    with pytest.raises(ValueError, match="field"):
        decoder.finish(fields=fields)
    assert (decoder.failed, decoder.bytes) == (False, 0)
    assert [event.data for event in decoder.feed(b"data: a\n\n")] == [b"a"]


@pytest.mark.parametrize("fields", ["type", 5, (1,), (None,), ("type", b"delta")], ids=repr)
def test_fields_of_the_wrong_type_are_refused(fields: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Decoder().feed(b"data: a\n\n", fields=fields)


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
    for options in ({"data": "\ud800"}, {"data": "", "name": "\udc00"}):
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
