"""What events say of themselves: attributes and projections equal `json()`, however spelled."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import oracles
import pytest
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
        "delta": _delta(fields),
    }


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


def _index(fields: Mapping[str, Any], key: str, missing: int | None = None) -> int | None:
    value = fields.get(key, missing)
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _delta(fields: Mapping[str, Any]) -> str | None:
    if "type" in fields or "delta" in fields:  # a chunk of Chat Completions has neither
        return _text(fields, "delta")
    choices, text = fields.get("choices"), None
    for place, choice in enumerate(choices if isinstance(choices, list) else []):
        if isinstance(choice, dict) and _index(choice, "index", place) == 0:
            delta = choice.get("delta")
            text = _text(delta, "content") if isinstance(delta, dict) else None
    return text


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
    '{"choices":[{"index":0,"delta":{"content":"a"}},{"index":0,"delta":{"content":"b"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a"}},{"index":0}]}',
    '{"choices":[{"index":"0","delta":{"content":"x"}},{"index":0.0,"delta":{"content":"y"}}]}',
    '{"choices":[{"index":null,"delta":{"content":"x"}},{"index":false,"delta":{"content":"y"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"not a chunk"}}],"type":"x"}',
    '{"type":null,"choices":[{"index":0,"delta":{"content":"not a chunk"}}]}',
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
    '{"sequence_number":-0}',
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


KEY_NAMES = ["type", "delta", *INDICES, *TEXTS, "choices", "x"]
KEYS = st.sampled_from(KEY_NAMES)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 1 << 64), st.floats(allow_nan=False), st.text(max_size=5)
)
DELTAS = st.fixed_dictionaries({}, optional={"content": SCALARS})
CHOICES = st.lists(
    st.fixed_dictionaries({}, optional={"index": st.integers(0, 2), "delta": DELTAS}), max_size=3
)
MEMBERS = st.lists(st.tuples(KEYS, st.one_of(SCALARS, CHOICES), st.booleans()), max_size=6)


def escaped(key: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in key)


def spell(members: list[tuple[str, Any, bool]]) -> str:
    """An object whose keys may come twice and may be written in escapes."""
    keys = [escaped(key) if odd else key for key, _, odd in members]
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


VALUES: list[Callable[[random.Random], str]] = [
    lambda chance: str(chance.choice([0, 1, 7, 10, 12345, 1 << 40, -1, -0.5, 1e30])),
    lambda chance: json.dumps(
        "".join(chance.choices('ab"\\\u00e9\U0001f600\n]},:', k=chance.randint(0, 40)))
    ),
    lambda chance: json.dumps(chance.choice(["a", "b", "response.output_text.delta", "error"])),
    lambda chance: chance.choice(["null", "true", "false", "[]", "{}"]),
    lambda chance: f'[{chance.randint(0, 99)},"{"x" * chance.randint(0, 9)}",{{"type":"no","delta":"no"}}]',
    lambda chance: (
        f'[{{"index":{chance.choice([0, 0, 0, 1])},"delta":{{"content":"{"y" * chance.randint(0, 9)}"}}}}]'
    ),
]
PIECES = [
    b"",
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"]",
    b"0",
    b"1",
    b".",
    b"-",
    b" ",
    b"\x01",
    b"\xff",
    b"e",
    b"x",
]


def similar_payloads(chance: random.Random, count: int) -> list[bytes]:
    """Payloads as one stream sends them: the same keys, other values; now and then one thing differs."""
    keys = chance.choices([*KEY_NAMES, "item", "logprobs"], k=chance.randint(1, 7))
    kinds = [chance.randrange(len(VALUES)) for _ in keys]
    space = chance.choice(["", "", " "])
    payloads = []
    for _ in range(count):
        spelled = [escaped(key) if chance.random() < 0.02 else key for key in keys]
        drawn = [chance.randrange(len(VALUES)) if chance.random() < 0.03 else kind for kind in kinds]
        members = [f'"{key}":{space}{VALUES[kind](chance)}' for key, kind in zip(spelled, drawn, strict=True)]
        payload = bytearray(("{" + f",{space}".join(members) + "}").encode())
        for _ in range(chance.choice([0, 0, 0, 0, 1, 2])):
            at = chance.randrange(len(payload))
            payload[at : at + chance.randint(0, 2)] = chance.choice(PIECES)
        payloads.append(bytes(payload).replace(b"\n", b"\t").replace(b"\r", b"\t"))
    return payloads


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads)


def test_attributes_do_not_depend_on_the_events_before() -> None:
    chance = random.Random(11)  # noqa: S311 - reproducible payloads
    for _ in range(600):
        payloads = similar_payloads(chance, 14)
        stream = framed(payloads)
        expected = [read(payload) for payload in payloads]
        events = Decoder(sentinel=None).feed(stream)
        assert [attributes(event) for event in events] == expected
        rows = Decoder(sentinel=None).feed(stream, fields=tuple(expected[0]))
        assert rows == [tuple(row.values()) for row in expected]
        cut = Decoder(sentinel=None)
        events = [event for at in range(0, len(stream), 7) for event in cut.feed(stream[at : at + 7])]
        assert [attributes(event) for event in events] == expected


def vandalise(value: Any) -> None:
    """Change every container of a value, as a careless user may."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in list(inner):
        vandalise(item)
    if isinstance(value, dict):
        value.clear()
        value["spoiled"] = True
    elif isinstance(value, list):
        value[:] = ["spoiled"]


def test_objects_do_not_depend_on_the_events_before_nor_on_what_became_of_theirs() -> None:
    chance = random.Random(13)  # noqa: S311 - reproducible payloads
    for _ in range(600):
        payloads = similar_payloads(chance, 14)
        events = Decoder(sentinel=None).feed(framed(payloads))
        order = list(zip(events, payloads, strict=True))
        chance.shuffle(order)
        for event, payload in order:
            try:
                expected = oracles.loads(payload)
            except ValueError:
                with pytest.raises(PenstockError):
                    event.json()
                continue
            value = event.json()
            assert oracles.same(value, expected), payload
            assert event.json() is value
            vandalise(value)


def test_limits_and_strictness_hold_for_the_hundredth_event_as_for_the_first() -> None:
    limits = Limits(max_number_digits=3, max_depth=3)
    good = [b'{"type":"x","n":%d,"l":[{"s":"a"}]}' % number for number in range(100)]
    for bad in (b'{"type":"x","n":1234,"l":[{"s":"a"}]}', b'{"type":"x","n":1,"l":[{"s":[[]]}]}'):
        *events, last = Decoder(limits=limits).feed(framed([*good, bad]))
        assert [event["n"] for event in events] == list(range(100))
        with pytest.raises(LimitExceeded):
            last.json()
    *events, last = Decoder(errors="strict").feed(framed([*good, good[0].replace(b'"a"', b'"\\ud800"')]))
    assert [event["n"] for event in events] == list(range(100))
    with pytest.raises(DecodeError):
        last.json()


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
