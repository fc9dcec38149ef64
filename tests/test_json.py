"""`Event.json()` against the JSON vectors and against `json.loads`, differences written out in the oracle."""

import json
import math
import random
from typing import Any

import oracles
import pytest
from cases import JsonCase, json_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DecodeError, Event, LimitExceeded, PenstockError

CASES = json_cases()


def agree(text: bytes) -> None:
    """Hold `Event.json()` to the oracle on one text: the same decision, the same value."""
    try:
        expected = oracles.loads(text)
    except ValueError:
        with pytest.raises((DecodeError, LimitExceeded)):
            Event(text).json()
        return
    got = Event(text).json()
    assert oracles.same(got, expected), text


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vector(case: JsonCase) -> None:
    if case.accepted:
        assert oracles.same(Event(case.text).json(), oracles.loads(case.text))
    elif case.limit is None:
        with pytest.raises(DecodeError) as refused:
            Event(case.text).json()
        assert refused.value.offset is not None
        assert 0 <= refused.value.offset <= len(case.text)
    else:
        with pytest.raises(LimitExceeded) as exceeded:
            Event(case.text).json()
        maximum = {"max_depth": oracles.MAX_DEPTH, "max_number_digits": 4_300}[case.limit]
        assert (exceeded.value.limit, exceeded.value.maximum) == (case.limit, maximum)
        assert exceeded.value.value > maximum


@pytest.mark.parametrize("case", [case for case in CASES if case.accepted], ids=str)
def test_vector_inside_a_larger_text(case: JsonCase) -> None:
    agree(b'{"before":[1,"x"],"value":' + case.text + b',"after":null}')
    agree(b"[" + case.text + b"," + case.text + b"]")


@pytest.mark.parametrize("case", [case for case in CASES if case.prefixes_refused], ids=str)
def test_text_cut_at_every_byte_is_refused(case: JsonCase) -> None:
    for end in range(len(case.text)):
        with pytest.raises(DecodeError) as refused:
            Event(case.text[:end]).json()
        assert refused.value.offset is not None
        assert refused.value.offset <= end


@pytest.mark.parametrize("case", [case for case in CASES if case.prefixes_refused], ids=str)
def test_text_with_one_byte_replaced_agrees_with_the_oracle(case: JsonCase) -> None:
    for at in range(len(case.text)):
        for byte in b'"\\{}[],:0-.e \n\x00\xff':
            agree(case.text[:at] + bytes([byte]) + case.text[at + 1 :])


@pytest.mark.parametrize("levels", range(1, 129))
def test_every_depth_up_to_the_limit(levels: int) -> None:
    agree(b"[" * levels + b"]" * levels)
    agree(b'{"a":' * levels + b"1" + b"}" * levels)
    agree(b'[{"a":' * (levels // 2) + b"1" + b"}]" * (levels // 2))


def test_depth_error_stands_at_the_first_level_too_many() -> None:
    for text, offset in ((b"[" * 100_000, 128), (b'{"a":' * 100_000, 128 * 5), (b'[{"a":' * 50_000, 64 * 6)):
        with pytest.raises(LimitExceeded) as exceeded:
            Event(text).json()
        error = exceeded.value
        assert (error.limit, error.maximum, error.value, error.offset) == ("max_depth", 128, 129, offset)


@pytest.mark.parametrize("digits", [*range(1, 45), 100, 307, 308, 309, 1_000, 4_299, 4_300, 4_301, 1_000_000])
def test_integers_are_exact_up_to_the_digit_limit(digits: int) -> None:
    for text in (b"9" * digits, b"-" + b"1234567890" * (digits // 10) + b"7" * (digits % 10)):
        if digits <= 4_300:
            assert str(Event(text).json()) == text.decode()
        else:
            with pytest.raises(LimitExceeded) as exceeded:
                Event(text).json()
            assert (exceeded.value.limit, exceeded.value.maximum) == ("max_number_digits", 4_300)


@pytest.mark.parametrize("power", [7, 8, 15, 16, 31, 32, 52, 53, 62, 63, 64, 65, 127, 128, 256])
def test_integers_around_powers_of_two(power: int) -> None:
    for near in (-2, -1, 0, 1, 2):
        for value in (2**power + near, -(2**power) + near):
            agree(str(value).encode())


def test_floats_are_those_of_python() -> None:
    chance = random.Random(7)  # noqa: S311 - reproducible values, no secret
    for _ in range(20_000):
        value = math.ldexp(chance.random() * chance.choice([-1, 1]), chance.randint(-1_080, 1_024))
        text = chance.choice([repr, "{:.17e}".format, "{:.3e}".format, "{:.25f}".format])(value)
        assert repr(Event(text.encode()).json()) == repr(float(text))
    for _ in range(5_000):
        digits = "".join(chance.choices("0123456789", k=chance.randint(1, 40)))
        text = f"{chance.randint(0, 9)}.{digits}e{chance.randint(-345, 312)}"
        assert repr(Event(text.encode()).json()) == repr(float(text))


def test_every_surrogate_alone_is_replaced() -> None:
    for unit in range(0xD800, 0xE000):
        assert Event(f'"a\\u{unit:04x}b"').json() == "a\ufffdb"


def test_every_escaped_code_unit_below_the_surrogates() -> None:
    for first in range(0, 0xD800, 64):
        units = range(first, first + 64)
        text = '"' + "".join(f"\\u{unit:04x}" for unit in units) + '"'
        assert Event(text).json() == "".join(map(chr, units))


def test_every_pair_at_the_edges() -> None:
    for high in (0xD800, 0xD801, 0xD83D, 0xDBFE, 0xDBFF):
        for low in (0xDC00, 0xDC01, 0xDE00, 0xDFFE, 0xDFFF):
            agree(f'"\\u{high:04x}\\u{low:04x}"'.encode())
            agree(f'"\\u{low:04x}\\u{high:04x}"'.encode())
            agree(f'"\\u{high:04x}x\\u{low:04x}"'.encode())


def test_every_two_byte_sequence_in_a_string() -> None:
    for first in range(0x80, 0x100):
        text = b"[" + b",".join(b'"%c%c"' % (first, second) for second in range(0x80, 0x100)) + b"]"
        agree(text)


@pytest.mark.parametrize("length", range(70))
def test_escapes_quotes_and_controls_at_every_offset(length: int) -> None:
    plain = b"x" * length
    for odd in (
        b"\\n",
        b'\\"',
        b"\\\\",
        b"\\u00e9",
        b"\\ud83d\\ude00",
        b"\n",
        b"\x1f",
        b"\x7f",
        b"\xc3\xa9",
        b"\xff",
    ):
        agree(b'"' + plain + odd + plain + b'"')
        agree(b'{"' + plain + odd + b'":"' + plain + b'"}')


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)
JSON_TEXTS = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(),
    JSON_VALUES,
    st.booleans(),
    st.sampled_from([None, 0, 2]),
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(JSON_TEXTS)
def test_random_values_read_as_json_loads_reads_them(text: bytes) -> None:
    assert oracles.same(Event(text).json(), json.loads(text))


PIECES = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b" ", b"\n"]
PIECES += [b"\\u", b"\\ud800", b"null", b"NaN", b"\xff", b"\xe2\x82"]


@settings(max_examples=1_500, deadline=None, derandomize=True)
@given(JSON_TEXTS, st.data())
def test_mutated_texts_get_the_same_decision_and_value(text: bytes, data: st.DataObject) -> None:
    mutated = bytearray(text)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        kind = data.draw(st.sampled_from(["insert", "delete", "replace", "copy"]))
        piece = data.draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=2)))
        if kind == "insert":
            mutated[at:at] = piece
        elif kind == "delete":
            del mutated[at : at + len(piece)]
        elif kind == "replace":
            mutated[at : at + len(piece)] = piece
        else:
            mutated[at:at] = mutated[at : at + 6]
    agree(bytes(mutated))


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.binary(max_size=30), st.text(alphabet='{}[]",:\\/0123456789.eE+-truefalsn \n\tu', max_size=30)
    )
)
def test_garbage_gets_the_same_decision(garbage: bytes | str) -> None:
    agree(garbage if isinstance(garbage, bytes) else garbage.encode())


def test_values_are_fresh_objects_of_plain_types() -> None:
    text = b'{"a":[1,2.5,"x",true,false,null,{"b":[]}]}'
    value: Any = Event(text).json()
    assert [type(item) for item in value["a"]] == [int, float, str, bool, bool, type(None), dict]
    assert type(value) is dict
    assert type(value["a"]) is list


def test_errors_are_typed_and_say_no_content() -> None:
    with pytest.raises(PenstockError) as refused:
        Event(b'{"secret-canary": nope}').json()
    assert isinstance(refused.value, ValueError)
    assert "canary" not in str(refused.value) + repr(refused.value)
