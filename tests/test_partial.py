"""`PartialJSON` against its vectors and against a naive twin that reads every prefix anew."""

import json
import random
import re
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import DecodeError, InternalError, LimitExceeded, Limits, PartialJSON
from penstock._penstock import _panic_next

ROWS = [
    json.loads(line)
    for path in sorted((Path(__file__).parent / "vectors" / "partial").glob("*.jsonl"))
    for line in path.read_text("ascii").splitlines()
]


def read(*pieces: str | bytes) -> PartialJSON:
    reader = PartialJSON()
    for piece in pieces:
        reader.feed(piece)
    return reader


def naive(prefix: str) -> Any:
    """What `prefix` says if nothing followed: the longest head that closing by hand makes JSON."""
    for end in range(len(prefix), -1, -1):
        head = prefix[:end]
        in_string = escaped = False
        closers: list[str] = []
        for character in head:
            if escaped:
                escaped = False
            elif in_string:
                escaped, in_string = character == "\\", character != '"'
            elif character == '"':
                in_string = True
            elif character in "{[":
                closers.append("}" if character == "{" else "]")
            elif character in "}]" and closers:
                closers.pop()
        if in_string and re.search(r"\\u[dD][89abAB]..$", head):
            continue  # the other half of a surrogate pair may follow
        if not in_string and head[-1:].isdigit() and prefix[end : end + 1] not in set(",]} \n\t\r"):
            return None if head.strip("-.eE+0123456789 ") == "" else naive(head.rstrip("-.eE+0123456789"))
        try:
            return json.loads(head + '"' * in_string + "".join(reversed(closers)))
        except json.JSONDecodeError:
            continue
    return None


def whole(value: Any) -> Any:
    """The value as the reader gives it: surrogate halves that found no other replaced."""
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['name']}: {row['text']!a}")
def test_vectors_in_every_cut(row: dict[str, Any]) -> None:
    text = row["text"]
    data = text.encode()
    cuts: list[list[str] | list[bytes]] = [[text], list(text), [data[at : at + 1] for at in range(len(data))]]
    cuts += [[data[:at], data[at:]] for at in range(len(data) + 1)]
    for pieces in cuts:
        reader = read(*pieces)
        assert (reader.state, reader.value) == (row["state"], row["value"])
        assert reader.complete is (row["state"] == "complete")
        if row["state"] == "invalid":
            assert isinstance(reader.error, DecodeError)
            assert (reader.error.reason, reader.error.offset) == (row["reason"], row["offset"])
        else:
            assert reader.error is None


@given(json_values, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_every_prefix_equals_the_oracle(
    value: Any, ascii_only: bool, wide: bool, chance: random.Random
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if wide else None)
    reader = PartialJSON()
    for end in range(len(text) + 1):
        reader.feed(text[end - 1 : end])
        if chance.random() < 0.3:
            assert reader.value == whole(naive(text[:end])), text[:end]
    reader.finish()
    assert reader.complete
    assert reader.value == json.loads(text)
    data = text.encode() + b" "
    cuts = sorted(chance.choices(range(len(data) + 1), k=3))
    assert (
        read(data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] : cuts[2]], data[cuts[2] :]).value
        == value
    )


@given(st.text(alphabet='[]{}",:01-.eE+truefalsn\\u \n', max_size=20))
def test_verdicts_equal_those_of_json(text: str) -> None:
    reader = read(text)
    reader.finish()
    try:
        value = json.loads(text, parse_constant=pytest.fail)
    except json.JSONDecodeError:
        assert not reader.complete
    else:
        assert reader.complete
        assert reader.value == whole(value)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (['"\ud83d', '\ude00"'], "\U0001f600"),
        (['"\ud83d"'], "\ufffd"),
        (['"\ud83dx\ude00"'], "\ufffdx\ufffd"),
        ([b'"\xed\xa0\xbd', b'\xed\xb8\x80"'], "\U0001f600"),
        ([b'"\xff\xe2\x82"'], "\ufffd\ufffd"),
        ([b'"\xe2', b"\x82", b'\xac"'], "\u20ac"),
    ],
)
def test_surrogates_and_bytes_that_are_no_utf_8(pieces: list[str | bytes], expected: str) -> None:
    value = read(*pieces).value
    assert value == expected
    assert value.encode()


def test_any_carrier_and_nothing_else() -> None:
    data = b'{"a": 1}'
    for carrier in (data, bytearray(data), memoryview(data), array("B", data), data.decode()):
        reader = PartialJSON()
        reader.feed(carrier)
        assert reader.value == {"a": 1}
    for wrong in (None, 5, ["x"], {"a": 1}):
        with pytest.raises(TypeError):
            PartialJSON().feed(wrong)  # type: ignore[arg-type]


def test_what_is_whole_is_made_once_and_what_is_open_is_the_callers() -> None:
    reader = read('{"done": {"x": [1]}, "list": [{"y": 2}, {"z": "op')
    first, second = reader.value, reader.value
    assert first == second == {"done": {"x": [1]}, "list": [{"y": 2}, {"z": "op"}]}
    assert first["done"] is second["done"]
    assert first["list"][0] is second["list"][0]
    first["list"][1]["z"] = first["list"].append("mine")
    first.clear()
    assert reader.value == second
    reader.feed('en"}]}')
    assert reader.value == {"done": {"x": [1]}, "list": [{"y": 2}, {"z": "open"}]}
    assert reader.value["done"] is second["done"]
    assert reader.value is reader.value


def test_each_value_is_made_when_it_comes_and_never_again() -> None:
    """The work of reading on is what came since: the objects of earlier readings stay the same ones."""
    reader = read("[")
    made: list[Any] = []
    for number in range(2000):
        reader.feed(f'{{"n": {number}}},')
        if number % 100 == 0:
            value = reader.value
            assert all(a is b for a, b in zip(made, value, strict=False))
            made = value
    assert len(reader.value) == 2000


def test_errors_stick_and_the_value_stays() -> None:
    reader = read('{"a": [1, 2], "b": tru!')
    assert reader.state == "invalid"
    assert isinstance(reader.error, DecodeError)
    reader.feed('e, "c": 3}')
    reader.finish()
    assert reader.value == {"a": [1, 2]}
    assert reader.error.offset == 22


@pytest.mark.parametrize(
    ("limits", "text", "limit", "offset"),
    [
        (Limits(max_depth=3), "[[[[", "max_depth", 3),
        (Limits(), "[" * 100_000, "max_depth", 128),
        (Limits(max_number_digits=5), "[123456", "max_number_digits", 6),
        (Limits(max_message_bytes=10), '"' + "a" * 20, "max_message_bytes", 10),
    ],
)
def test_limits(limits: Limits, text: str, limit: str, offset: int) -> None:
    for pieces in ([text], list(text)):
        reader = PartialJSON(limits=limits)
        for piece in pieces:
            reader.feed(piece)
        assert isinstance(reader.error, LimitExceeded)
        assert (reader.error.limit, reader.error.offset) == (limit, offset)


def test_integers_of_any_size_are_exact() -> None:
    digits = "9" * 4300
    assert read(f"[-{digits}]").value == [-int(digits)]


def test_repr_shows_no_content() -> None:
    assert repr(read('{"secret": "x')) == "<PartialJSON incomplete bytes=13>"
    assert repr(PartialJSON()) == "<PartialJSON empty bytes=0>"


def test_a_bug_spoils_this_object_alone() -> None:
    reader = read("[1, ")
    _panic_next()
    with pytest.raises(InternalError):
        reader.feed("2")
    assert read("[1]").value == [1]
