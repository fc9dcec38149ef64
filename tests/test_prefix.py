"""`penstock.prefix`: the digests that `json.dumps` and `hashlib` give, chains of them, and what has none."""

from __future__ import annotations

import copy
import enum
import gc
import hashlib
import json
import math
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DecodeError, LimitExceeded, Limits, UnhashableItem
from penstock.prefix import PrefixChain, PrefixIndex, hash_items, hash_json

VECTORS: list[tuple[Any, str]] = [
    ([], "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"),
    ([{"role": "user", "content": "hi"}], "5aced9397fc4a6ba78e47d642ce4949bc9ba17f05868fe28454432d93889f6e6"),
    (
        [{"content": 'hé \U0001f600 \u2028 \x7f "\\ / \t', "role": "user"}],
        "e9b219997726644f5b4daf0fa24f85610bd49d5917692c4fa8c7eacd93da4ed0",
    ),
    (
        [{"a": 1.0, "b": 1e16, "c": 1e-7, "d": -0.0, "e": 10**30, "f": True, "g": None, "h": 0.1}],
        "b0fa0f67a03e83bcddf44e5f0c76d7818b57a787e7547263205d51b755bff998",
    ),
    ([{"b": 1, "a": {"d": [], "c": {}}}], "e6a863112d096004e7a0e8a13b6ad7f50f72e0d8105810ae1dd998206ecc537f"),
    (
        [{"x": math.nan, "y": math.inf, "z": -math.inf}],
        "2018c8f59c69132e03e85d4adaab76c04fb73dc3dde2b720bdeda2016e017a14",
    ),
    (
        [{"\ue000": 1, "\U00010000": 2, "Z": 3, "a": 4}],
        "35432c99e654ee9a45c8c6bb4038e446e4259159d1c9ab1eeb3f805153d92784",
    ),
    (
        [{"s": "\x00\x1f\x7f\x80/\ud83d"}],
        "6148827b66240566dafe70a1c4e02cb2979ec82d6f472f261051cb2d2c545e0d",
    ),
    (
        [
            {
                "f": 123456789012345680.0,
                "g": 1e15,
                "h": 1e16,
                "i": 1e-4,
                "j": 1e-5,
                "k": 5e-324,
                "l": 1.7976931348623157e308,
                "m": -1.5,
            }
        ],
        "e098bcca723011000b6afb12a72698f4d433bbefcda311e3ce902e806fc1e300",
    ),
    ([{"i": 2**64, "j": -(2**63) - 1}], "8b38f0c187a30d55640de2751aa22647a6233b0158f551776d8ab8ed6582cc97"),
]
"""What pipecat's hash of these items is."""


def pipecat(items: Any) -> str:
    """The hash as pipecat takes it."""
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize(("items", "expected"), VECTORS)
def test_the_known_hashes(items: Any, expected: str) -> None:
    assert hash_items(items) == pipecat(items) == expected


class Text(str):
    """A string with a mind of its own, which is not asked."""

    def __str__(self) -> str:
        return "other"

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


class Number(enum.IntEnum):
    """Its `str` is no number."""

    ONE = 1


class Half(float):
    """A float with another repr."""

    def __repr__(self) -> str:
        return "half"


class Upside(dict[Any, Any]):
    """Gives other items than it holds."""

    def items(self) -> Any:
        return [(value, key) for key, value in super().items()]


class Row(list[Any]):
    """A list that iterates over nothing."""

    def __iter__(self) -> Any:
        return iter(())


ODD: list[Any] = [
    None,
    True,
    "text",
    0,
    -0.0,
    (),
    (1, (2, [3])),
    {1: "a", 2.5: "b", 0: "c"},
    {True: 1, False: 2, 7: 3},
    {None: 1},
    {math.nan: 1},
    {1.0: "x", -math.inf: "y"},
    {10**30: 1, -(10**30): 2},
    {Text("b"): 1, Text("a"): 2},
    {"b": Text("é"), Text("c"): 1},
    {Number.ONE: Number.ONE},
    [Half(0.5), {Half(0.5): 1}],
    Upside(a="y", b="x"),
    Upside(),
    Row([1, 2]),
    OrderedDict(b=1, a=2),
    defaultdict(list, {"z": [], "": {}}),
    {chr(0xD800): 1, chr(0xDC00): 2},
    {"\uffff": 3, "\U00010000": 4, "é": 5, "z": 6},
    ["\ud83d\ude00", "\U0001f600"],
    2**63 - 1,
    -(2**63),
    2**63,
    10**4299,
    [[[[["deep"]]]]],
    {f"k{number:03}": number for number in range(100, 0, -1)},
    "x" * 10_000 + "\n" + "é" * 5_000 + "\u20ac" * 5_000 + "\U0001f600" * 5_000,
]
"""What the encoder of `json` has rules for."""


@pytest.mark.parametrize("value", ODD)
def test_odd_values_are_what_json_makes_of_them(value: Any) -> None:
    assert hash_items(value) == pipecat(value)
    assert hash_items([value]) == pipecat([value])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats()
    | st.text()
    | st.text(st.characters(min_codepoint=0xD700, max_codepoint=0xE010, categories=None))
)
KEYS = st.text(max_size=4) | st.sampled_from(["a", "b", "é", "\u20ac", "\U0001f600", "\ud800", "\x7f"])
OTHER_KEYS = st.integers() | st.floats(allow_nan=False) | st.booleans()


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=5)
    return (
        lists
        | lists.map(tuple)
        | st.dictionaries(KEYS, inner, max_size=6)
        | st.dictionaries(OTHER_KEYS, inner)
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=30)
WIRE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)
"""What comes over the wire as JSON."""


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_any_value_hashes_as_pipecat_hashes_it(value: Any) -> None:
    assert hash_items(value) == pipecat(value)


@given(
    st.floats()
    | st.integers(0, 2**63).map(lambda bits: bits / 4)
    | st.integers(-1074, 1023).map(lambda e: 2.0**e)
)
@settings(max_examples=2_000, deadline=None)
def test_any_float_hashes_as_pipecat_hashes_it(value: float) -> None:
    assert hash_items(value) == pipecat(value)


WORDS = ["user", "assistant", "", "caf\u00e9", '\u2028"', "w" * 32, "x" * 33, Text("user")]
SAME_KEYS = ["role", "type", "content", "id", "\u00e9", 'na"me']


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.permutations(SAME_KEYS).flatmap(lambda keys: st.integers(1, 6).map(lambda size: keys[:size])),
        max_size=4,
    ),
    st.data(),
)
def test_dicts_of_few_shapes_and_the_same_words(shapes: list[list[str]], data: st.DataObject) -> None:
    """The very same keys and words again and again, in shapes of which some begin alike and are as long."""
    values = st.one_of(st.sampled_from(WORDS), st.integers(0, 3), st.text(max_size=300))
    dicts = st.sampled_from(shapes or [["role"]]).flatmap(
        lambda keys: st.fixed_dictionaries(dict.fromkeys(keys, values))
    )
    items = data.draw(
        st.lists(dicts | dicts.map(lambda inner: {"type": "message", "content": [inner]}), max_size=30)
    )
    assert hash_items(items) == pipecat(items)


@given(WIRE, st.booleans(), st.sampled_from([None, 1, "\t"]))
@settings(max_examples=400, deadline=None)
def test_text_hashes_as_the_objects_it_stands_for(
    value: Any, ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        with pytest.raises(DecodeError):
            hash_json(text)
        return
    assert hash_json(text) == hash_items(json.loads(text)) == pipecat(json.loads(text))
    one, other = PrefixChain([value]), PrefixChain()
    other.append_json(text)
    assert one.digest == other.digest
    other.truncate(0)
    other.extend_json(b"[" + text + b" ]")
    assert one == other


def cycle() -> list[Any]:
    items: list[Any] = [1, {"a": []}]
    items[1]["a"].append({"b c": items[1]})
    return items


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


class Upside2(dict[str, int]):
    """Its items are no pairs."""

    def __init__(self) -> None:
        super().__init__(a=1)

    def items(self) -> Any:
        return [(1, 2, 3)]


REFUSED: list[tuple[Callable[[], Any], str, str]] = [
    (object, "type", ""),
    (lambda: [1, {"content": [{"x": {1, 2}}]}], "type", "[1].content[0].x"),
    (lambda: [{"a": b"bytes"}], "type", "[0].a"),
    (lambda: {"a b": {"é": 1j}}, "type", "['a b'].é"),
    (lambda: {1: object()}, "type", "[1]"),
    (lambda: (0, [object()]), "type", "[1][0]"),
    (lambda: [{(1, 2): 3}], "key", "[0]"),
    (lambda: [{b"k": 3}], "key", "[0]"),
    (lambda: [0, {1: 2, "a": 3}], "key_order", "[1]"),
    (lambda: {"a": {None: 2, "a": 3}}, "key_order", ".a"),
    (lambda: [10**4300], "digits", "[0]"),
    (cycle, "cycle", "[1].a[0]['b c']"),
    (lambda: nested(129), "depth", "[0]" * 128),
    (Upside2, "type", ""),
]


@pytest.mark.parametrize(("make", "reason", "path"), REFUSED)
def test_what_cannot_be_hashed_is_named(make: Callable[[], Any], reason: str, path: str) -> None:
    with pytest.raises(UnhashableItem) as caught:
        hash_items(make())
    assert (caught.value.reason, caught.value.path) == (reason, path)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_the_deepest_value_allowed_is_hashed() -> None:
    assert hash_items(nested(128)) == pipecat(nested(128))
    PrefixChain([nested(127)])
    with pytest.raises(UnhashableItem, match="128 levels"):
        PrefixChain([nested(128)])
    with pytest.raises(LimitExceeded):
        PrefixChain().append_json("[" * 128 + "]" * 128)


def test_not_a_number_is_hashed_by_option_alone() -> None:
    for value in (math.nan, math.inf, -math.inf):
        assert hash_items([value]) == pipecat([value])
        with pytest.raises(UnhashableItem) as caught:
            hash_items([0, value], allow_nan=False)
        assert (caught.value.reason, caught.value.path) == ("not_finite", "[1]")
        with pytest.raises(UnhashableItem) as caught:
            PrefixChain([1, {"x": value}])
        assert caught.value.path == "[1].x"


def test_an_object_s_own_error_is_passed_on() -> None:
    class Failing(dict[str, int]):
        def items(self) -> Any:
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        hash_items([Failing(a=1)])


def test_items_that_change_while_they_are_read() -> None:
    items: list[Any] = [1, None, 2, 3]

    class Shrinking(dict[str, int]):
        def items(self) -> Any:
            del items[2:]
            return super().items()

    items[1] = Shrinking(a=1)
    assert hash_items(items) == pipecat([1, {"a": 1}])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", DecodeError),
        (b"[1,]", DecodeError),
        (b"[NaN]", DecodeError),
        (b"[1e400]", DecodeError),
        (b'["\xff"]', DecodeError),
        (b"[" * 200, LimitExceeded),
        (b"9" * 4301, LimitExceeded),
    ],
)
def test_text_that_cannot_be_hashed(text: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        hash_json(text)
    chain = PrefixChain(["kept"])
    before = chain.digest
    with pytest.raises(error):
        chain.append_json(text)
    with pytest.raises(error):
        chain.extend_json(b"[1," + text + b"]")
    assert (len(chain), chain.digest) == (1, before)


def test_limits_bound_text() -> None:
    with pytest.raises(LimitExceeded) as caught:
        hash_json("[[1]]", limits=Limits(max_depth=1))
    assert caught.value.limit == "max_depth"
    with pytest.raises(LimitExceeded):
        PrefixChain().extend_json("[12345]", limits=Limits(max_number_digits=4))


def test_a_chain_knows_every_prefix() -> None:
    items = [{"role": "user", "content": str(number)} for number in range(50)]
    chain = PrefixChain(items)
    assert len(chain) == 50
    assert chain[50] == chain[-1] == chain.digest == bytes.fromhex(chain.hexdigest)
    for length in range(51):
        assert chain[length] == PrefixChain(items[:length]).digest == chain.prefix(length).digest
    assert len({chain[length] for length in range(51)}) == 51
    assert chain[-51] == chain[0] == PrefixChain().digest
    for length in (51, -52):
        with pytest.raises(IndexError):
            chain[length]
    for length in (51, -1):
        with pytest.raises(IndexError):
            chain.prefix(length)
        with pytest.raises(IndexError):
            chain.truncate(length)


def test_copies_share_and_grow_apart() -> None:
    stem = PrefixChain([1, 2])
    branches = [stem.copy(), copy.copy(stem), copy.deepcopy(stem)]
    for number, branch in enumerate(branches):
        branch.extend([3, f"own {number}"])
    assert [len(branch) for branch in branches] == [4, 4, 4]
    assert [branches[0].longest_match(branch) for branch in branches] == [4, 3, 3]
    assert len(stem) == 2
    assert branches[0].longest_match(stem) == stem.longest_match(branches[0]) == 2
    branches[0].truncate(2)
    assert branches[0] == stem
    assert branches[1] != stem
    assert stem != "stem"
    assert repr(stem) == "<PrefixChain len=2>"


def test_seeds_keep_chains_apart() -> None:
    seeds: list[dict[str, Any]] = [
        {},
        {"salt": "ab"},
        {"salt": "a", "model": "b"},
        {"salt": "b", "model": "a"},
        {"model": "ab"},
        {"salt": "a", "context": "b"},
        {"model": ""},
        {"context": {"tools": []}},
    ]
    chains = [PrefixChain(["x"], **seed) for seed in seeds]
    assert len({chain.digest for chain in chains}) == len({chain[0] for chain in chains}) == len(seeds)
    assert chains[1].longest_match(chains[2]) == 0
    assert (
        PrefixChain(salt="é") == PrefixChain(salt="é".encode()) == PrefixChain(salt=bytearray("é".encode()))
    )
    assert PrefixChain(salt=b"") == PrefixChain()
    assert PrefixChain(context={"b": 1, "a": 2}) == PrefixChain(context={"a": 2, "b": 1})


def test_numbers_and_truth_are_told_apart() -> None:
    assert len({PrefixChain([value]).digest for value in (1, 1.0, True, "1", [1])}) == 5


@pytest.mark.parametrize("items", ["text", {"a": 1}, 5])
def test_a_chain_takes_lists_of_items(items: Any) -> None:
    with pytest.raises(TypeError):
        PrefixChain(items)


def test_an_extension_that_fails_adds_nothing() -> None:
    chain = PrefixChain([1])

    def failing() -> Any:
        yield 2
        raise KeyError("own")

    with pytest.raises(UnhashableItem) as caught:
        chain.extend([2, {"a": object()}])
    assert caught.value.path == "[1].a"
    with pytest.raises(KeyError):
        chain.extend(failing())
    assert chain == PrefixChain([1])


def test_an_index_finds_the_longest_prefix() -> None:
    index: PrefixIndex[str] = PrefixIndex(3)
    first = PrefixChain(["a", "b"], salt="one")
    index.put(first, "resp_1")
    second = first.copy()
    second.extend(["c", "d"])
    assert index.longest_match(second) == (2, "resp_1")
    index.put(second, "resp_2", length=3)
    assert index.longest_match(second) == (3, "resp_2")
    assert index.longest_match(first) == (2, "resp_1")
    assert index.longest_match(first.prefix(1)) is None
    assert index.longest_match(PrefixChain(["a", "b"], salt="two")) is None
    assert (index.get(second), index.get(second, length=3)) == (None, "resp_2")
    assert index.remove(second, length=3) is True
    assert index.remove(second, length=3) is False
    assert (len(index), index.capacity) == (1, 3)
    for number in range(3):
        index.put(PrefixChain([number]), str(number))
    assert index.get(first) is None
    index.put(PrefixChain([0]), "new")
    assert (len(index), index.get(PrefixChain([0]))) == (3, "new")
    assert repr(index) == "<PrefixIndex len=3 capacity=3>"
    index.clear()
    assert len(index) == 0


def test_an_index_has_room_for_something() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PrefixIndex(0)
    with pytest.raises(IndexError):
        PrefixIndex[str]().put(PrefixChain(), "x", length=1)


def test_an_index_that_its_values_hold_is_garbage_with_them() -> None:
    class Worker:
        index: PrefixIndex[Worker]

    worker = Worker()
    worker.index = PrefixIndex(5)
    worker.index.put(PrefixChain([1]), worker)
    gone = weakref.ref(worker)
    gc.collect()
    assert worker.index.get(PrefixChain([1])) is worker
    del worker
    gc.collect()
    assert gone() is None


def test_values_may_use_the_index_while_they_go() -> None:
    index: PrefixIndex[Any] = PrefixIndex(1)
    seen: list[int] = []

    class Leaving:
        def __del__(self) -> None:
            seen.append(len(index))

    index.put(PrefixChain([1]), Leaving())
    index.put(PrefixChain([2]), Leaving())
    index.put(PrefixChain([2]), None)
    assert seen == [1, 1]
