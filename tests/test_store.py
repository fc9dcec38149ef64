"""What every store promises, asked of each of them."""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock import DecodeError, LimitExceeded, PenstockError, PreviousResponseNotFound, TurnConflict
from penstock.store import Bounds, ConnectionStore, ConversationStore, Items, MemoryStore, SQLiteStore
from penstock.store.redis import RedisStore

ME, OTHER = "alice", "bob"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


Open = Callable[..., AbstractAsyncContextManager[ConversationStore]]


@asynccontextmanager
async def memory(bounds: Bounds | None, clock: Clock) -> AsyncIterator[ConversationStore]:
    async with MemoryStore(bounds=bounds, clock=clock) as store:
        yield store


@asynccontextmanager
async def connection(bounds: Bounds | None, clock: Clock) -> AsyncIterator[ConversationStore]:
    """Turns that are stored; what the others do is in `test_store_connection.py`."""
    async with MemoryStore(bounds=bounds, clock=clock) as shared, ConnectionStore(shared) as store:
        yield store


@asynccontextmanager
async def sqlite(bounds: Bounds | None, clock: Clock) -> AsyncIterator[ConversationStore]:
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteStore(Path(folder) / "store.db", bounds=bounds, clock=clock) as store:
            yield store


@asynccontextmanager
async def redis(url: str, bounds: Bounds | None, clock: Clock) -> AsyncIterator[ConversationStore]:
    """On one server for all tests; a prefix of its own keeps each store apart."""
    prefix = f"test{next(PREFIXES)}"
    async with RedisStore.from_url(url, bounds=bounds, clock=clock, prefix=prefix) as store:
        yield store


STORES: dict[str, Open] = {"memory": memory, "connection": connection, "sqlite": sqlite, "redis": redis}
PREFIXES = itertools.count()


@pytest.fixture(params=sorted(STORES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(kind: str, clock: Clock, request: pytest.FixtureRequest) -> Open:
    """Opens a store of the kind that is tested."""
    open_it = STORES[kind]
    if kind == "redis":
        open_it = partial(open_it, request.getfixturevalue("redis_server").url)
    return lambda bounds=None: open_it(bounds, clock)


@pytest.fixture
async def store(opened: Open) -> AsyncIterator[ConversationStore]:
    async with opened() as store:
        yield store


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": text}


async def say(store: ConversationStore, name: str, parent: str | None = None, tenant: str = ME) -> bool:
    """A turn whose question and answer name it."""
    response = {"id": name, "output": [assistant(f"A {name}")]}
    return await store.append(tenant, response, input=f"Q {name}", parent=parent)


async def history(
    store: ConversationStore, name: str, tenant: str = ME, bounds: dict[str, int] | None = None
) -> list[str]:
    items = await store.load_history(tenant, name, **(bounds or {}))
    return [item["content"] for item in items]


async def names(store: ConversationStore, *candidates: str, tenant: str = ME) -> str:
    """Those of the turns that are there."""
    return " ".join([name for name in candidates if await store.load_turn(tenant, name) is not None])


async def test_a_history_is_everything_up_to_the_output(store: ConversationStore) -> None:
    assert isinstance(store, ConversationStore)
    assert await say(store, "r1") is True
    assert await say(store, "r2", "r1") is True
    assert await history(store, "r1") == ["Q r1", "A r1"]
    assert await history(store, "r2") == ["Q r1", "A r1", "Q r2", "A r2"]


async def test_branches_know_nothing_of_each_other(store: ConversationStore) -> None:
    await say(store, "r1")
    await say(store, "left", "r1")
    await say(store, "right", "r1")
    await say(store, "deeper", "left")
    assert await history(store, "r1") == ["Q r1", "A r1"]
    assert await history(store, "right") == ["Q r1", "A r1", "Q right", "A right"]
    assert await history(store, "deeper") == ["Q r1", "A r1", "Q left", "A left", "Q deeper", "A deeper"]


async def test_a_turn_is_what_was_stored(store: ConversationStore) -> None:
    response = (
        b'{"id" : "r2","output":[ {"n":1.50} ,{"\\u0061":"\\ud83d"}],"usage":{"n":123456789012345678901}}'
    )
    await say(store, "r1")
    await store.append(ME, response, input=[{"n": 1}, b'{"k": "v"}'], parent="r1")
    turn = await store.load_turn(ME, "r2")
    assert turn is not None
    assert (turn.id, turn.parent, turn.response) == ("r2", "r1", response)
    assert turn.input.data == b'[{"n":1},{"k": "v"}]'
    assert turn.output.data == b'[{"n":1.50},{"\\u0061":"\\ud83d"}]'
    assert turn.json()["usage"] == {"n": 123456789012345678901}
    first = await store.load_turn(ME, "r1")
    assert first is not None
    assert first.parent is None


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ((), b"[]"),
        ([], b"[]"),
        (b"", b"[]"),
        (b"[]", b"[]"),
        ("Hi", b'[{"type":"message","role":"user","content":"Hi"}]'),
        (b'"H\\u0069"', b'[{"type":"message","role":"user","content":"H\\u0069"}]'),
        ('a "b"\n', b'[{"type":"message","role":"user","content":"a \\"b\\"\\n"}]'),
        (b' [{"a": 1} , {}] ', b'[{"a": 1},{}]'),
        (({"a": 1}, b"{}"), b'[{"a":1},{}]'),
        ({"only": {"a": "\u00e9\U0001f600"}}.values(), '[{"a":"\u00e9\U0001f600"}]'.encode()),
        ([{"a": "\ud83d"}], b'[{"a":"\\ud83d"}]'),
        (Items([{"a": 1}]), b'[{"a":1}]'),
        (bytearray(b"[{}]"), b"[{}]"),
    ],
    ids=repr,
)
async def test_input_and_output_as_callers_have_them(
    store: ConversationStore, given: Any, stored: bytes
) -> None:
    await store.append(ME, {"id": "in"}, input=given)
    assert (await store.load_history(ME, "in")).data == stored
    if isinstance(given, str) or given == b'"H\\u0069"':
        with pytest.raises(DecodeError):  # the model's items are never a user's message
            await store.append(ME, {"id": "out"}, output=given)
        return
    await store.append(ME, {"id": "out", "output": [{"not": "this"}]}, output=given)
    assert (await store.load_history(ME, "out")).data == stored


async def test_nothing_that_is_returned_or_given_is_shared(store: ConversationStore) -> None:
    given = [user("mine")]
    response = {"id": "r1", "output": [assistant("too")]}
    await store.append(ME, response, input=given)
    given[0]["content"] = "changed"
    given.append(user("more"))
    response["output"].clear()  # type: ignore[attr-defined]
    for _ in range(2):
        items = await store.load_history(ME, "r1")
        as_list = items.json()
        assert [item["content"] for item in as_list] == ["mine", "too"]
        as_list[0]["content"] = "changed"
        as_list.clear()
        items[0]["content"] = "changed"
        turn = await store.load_turn(ME, "r1")
        assert turn is not None
        turn.json()["output"].clear()
        turn.input.json().clear()


async def test_turns_without_items_do_not_share_a_list(store: ConversationStore) -> None:
    """TensorRT-LLM stored one default list for all of them."""
    await store.append(ME, {"id": "a"})
    await store.append(OTHER, {"id": "b"})
    await store.append(OTHER, {"id": "b2"}, input="secret", parent="b")
    assert await history(store, "a") == []
    assert (await store.load_history(ME, "a")).json() == []


@pytest.mark.parametrize(
    "missing", ["never", "", "r1 ", "R1", "r1\0", "x" * 5_000, "r\u00e9", "r1\ud800"], ids=ascii
)
async def test_an_unknown_id_is_an_error_and_never_an_empty_history(
    store: ConversationStore, missing: str
) -> None:
    await say(store, "r1")
    with pytest.raises(PreviousResponseNotFound) as raised:
        await store.load_history(ME, missing)
    error = raised.value
    assert (error.status, error.code, error.param) == (
        400,
        "previous_response_not_found",
        "previous_response_id",
    )
    with pytest.raises(PreviousResponseNotFound):
        await say(store, "r2", missing)
    assert await store.load_turn(ME, missing) is None
    assert await store.delete(ME, missing) is False
    assert await names(store, "r1", "r2") == "r1"


async def test_tenants_never_meet(store: ConversationStore) -> None:
    await say(store, "r1")
    await say(store, "r2", "r1")
    with pytest.raises(PreviousResponseNotFound):
        await store.load_history(OTHER, "r1")
    with pytest.raises(PreviousResponseNotFound):
        await say(store, "stolen", "r1", OTHER)
    assert await store.load_turn(OTHER, "r1") is None
    assert await store.delete(OTHER, "r1") is False
    await store.append(OTHER, {"id": "r1"}, input="other")
    assert await history(store, "r1", OTHER) == ["other"]
    assert await history(store, "r2") == ["Q r1", "A r1", "Q r2", "A r2"]
    assert await store.delete(OTHER, "r1") is True
    assert await history(store, "r1") == ["Q r1", "A r1"]


@pytest.mark.parametrize(
    ("mine", "mine_id", "yours", "yours_id"),
    [("a", "b:c", "a:b", "c"), ("a", "{b}", "a{b}", ""), ("a/b", "c", "a", "b/c"), ("A", "r", "a", "r")],
)
async def test_no_spelling_leads_to_another_tenant(
    store: ConversationStore, mine: str, mine_id: str, yours: str, yours_id: str
) -> None:
    await store.append(mine, {"id": mine_id}, input="mine")
    assert await store.load_turn(yours, yours_id) is None
    assert await store.load_turn(yours, mine_id) is None


@pytest.mark.parametrize("name", [5, b"r1", None])
async def test_an_id_is_a_str(store: ConversationStore, name: Any) -> None:
    await say(store, "r1")
    calls: list[Awaitable[object]] = [
        store.load_history(ME, name),
        store.load_turn(ME, name),
        store.delete(ME, name),
    ]
    if name is not None:
        calls.append(say(store, "r2", name))
    for call in calls:
        with pytest.raises(TypeError, match="a response id must be a str"):
            await call
    assert await names(store, "r1", "r2") == "r1"


@pytest.mark.parametrize(("tenant", "error"), [("", ValueError), (None, TypeError), (b"a", TypeError)])
async def test_there_is_no_call_without_a_tenant(
    store: ConversationStore, tenant: Any, error: type[Exception]
) -> None:
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.append(tenant, {"id": "r"}),
        lambda: store.load_history(tenant, "r"),
        lambda: store.load_turn(tenant, "r"),
        lambda: store.delete(tenant, "r"),
    ]
    for call in calls:
        with pytest.raises(error, match="tenant"):
            await call()


async def test_the_same_turn_again_is_the_same_turn(store: ConversationStore) -> None:
    await say(store, "r1")
    assert await say(store, "r2", "r1") is True
    for _ in range(3):
        assert await say(store, "r2", "r1") is False
    assert await history(store, "r2") == ["Q r1", "A r1", "Q r2", "A r2"]


@pytest.mark.parametrize(
    "changed",
    [
        {"response": {"id": "r2", "output": [assistant("other")]}},
        {"response": {"id": "r2", "output": [assistant("A")], "status": "completed"}},
        {"input": "other"},
        {"input": []},
        {"output": [assistant("other")]},
        {"parent": None},
        {"parent": "r0"},
    ],
    ids=str,
)
async def test_another_turn_of_the_same_id_is_refused(
    store: ConversationStore, changed: dict[str, Any]
) -> None:
    await say(store, "r0")
    await say(store, "r1")
    turn: dict[str, Any] = {"input": "Q", "parent": "r1"}
    response = {"id": "r2", "output": [assistant("A")]}
    await store.append(ME, response, **turn)
    turn |= changed
    with pytest.raises(TurnConflict):
        await store.append(ME, turn.pop("response", response), **turn)
    assert await history(store, "r2") == ["Q r1", "A r1", "Q", "A"]


async def test_a_turn_does_not_continue_itself(store: ConversationStore) -> None:
    with pytest.raises(PreviousResponseNotFound):
        await say(store, "r1", "r1")
    await say(store, "r1")
    with pytest.raises(TurnConflict):
        await say(store, "r1", "r1")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (({},), DecodeError),
        (({"id": 1},), DecodeError),
        (({"id": ""},), DecodeError),
        ((b"[]",), DecodeError),
        ((b'{"id":"r"',), DecodeError),
        (({"id": "x" * 1_025},), LimitExceeded),
        ((None,), TypeError),
        (({"id": "r", "x": float("nan")},), ValueError),
        (({"id": "r"}, b"[1]"), DecodeError),
        (({"id": "r"}, b"{}"), DecodeError),
        (({"id": "r"}, b"[{}"), DecodeError),
        (({"id": "r"}, {"role": "user"}), TypeError),
        (({"id": "r"}, ["text"]), TypeError),
        (({"id": "r"}, [{1, 2}]), TypeError),
        (({"id": "r"}, 7), TypeError),
        (({"id": "r"}, b'[{"a":' + b"[" * 200 + b"]" * 200 + b"}]"), LimitExceeded),
    ],
    ids=ascii,
)
async def test_what_is_no_turn_is_refused(
    store: ConversationStore, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    response, *rest = arguments
    with pytest.raises(error) as raised:
        await store.append(ME, response, **({"input": rest[0]} if rest else {}))
    assert "secret" not in str(raised.value)
    assert await store.load_turn(ME, "r") is None


async def test_a_deleted_turn_is_gone_and_its_children_are_not(store: ConversationStore) -> None:
    await say(store, "r1")
    await say(store, "r2", "r1")
    assert await store.delete(ME, "r1") is True
    assert await store.delete(ME, "r1") is False
    assert await names(store, "r1", "r2") == "r2"
    assert await history(store, "r2") == ["Q r1", "A r1", "Q r2", "A r2"]
    with pytest.raises(PreviousResponseNotFound):
        await say(store, "r3", "r1")
    # Its name is free; who built on the old turn still does.
    await store.append(ME, {"id": "r1"}, input="new", parent="r2")
    assert await history(store, "r1") == ["Q r1", "A r1", "Q r2", "A r2", "new"]
    assert await history(store, "r2") == ["Q r1", "A r1", "Q r2", "A r2"]


async def test_the_turns_used_longest_ago_go_first(opened: Open) -> None:
    async with opened(Bounds(max_tenant_turns=3)) as store:
        for name in ("r1", "r2", "r3"):
            await say(store, name)
        await history(store, "r1")  # a read is a use
        await say(store, "r4")
        assert await names(store, "r1", "r2", "r3", "r4") == "r1 r3 r4"
        await say(store, "r3")  # so is the same append again
        await say(store, "r5", "r1")  # and to be continued
        assert await names(store, "r1", "r3", "r4", "r5") == "r1 r3 r5"


async def test_a_new_turn_is_used_later_than_the_one_it_continues(opened: Open) -> None:
    async with opened(Bounds(max_tenant_turns=1)) as store:
        for parent, name in (None, "r1"), ("r1", "r2"), ("r2", "r3"):
            await say(store, name, parent)
            assert await names(store, "r1", "r2", "r3") == name
        assert await history(store, "r3") == [f"{who} r{number}" for number in (1, 2, 3) for who in "QA"]
    async with opened(Bounds(max_tenant_turns=3)) as store:
        for parent, name in (None, "r1"), ("r1", "r2"), (None, "r3"), (None, "r4"):
            await say(store, name, parent)
        assert await names(store, "r1", "r2", "r3", "r4") == "r2 r3 r4"


async def test_a_call_that_fails_takes_no_other_s_use_with_it(opened: Open) -> None:
    async with opened(Bounds(max_tenant_turns=2)) as store:
        await say(store, "r1")
        await say(store, "r2")
        read, failed = await asyncio.gather(
            history(store, "r1"), say(store, "r3", "unknown"), return_exceptions=True
        )
        assert read == ["Q r1", "A r1"]
        assert isinstance(failed, PreviousResponseNotFound)
        await say(store, "r4")
        assert await names(store, "r1", "r2", "r4") == "r1 r4"


async def test_one_tenant_does_not_push_out_another(opened: Open) -> None:
    async with opened(Bounds(max_tenant_turns=2)) as store:
        await say(store, "r1", None, OTHER)
        for number in range(10):
            await say(store, f"r{number}")
        assert await names(store, "r7", "r8", "r9") == "r8 r9"
        assert await names(store, "r1", tenant=OTHER) == "r1"


async def test_an_evicted_parent_leaves_its_children_their_history(opened: Open) -> None:
    async with opened(Bounds(max_tenant_turns=2)) as store:
        await say(store, "r1")
        for number in range(2, 8):
            await say(store, f"r{number}", f"r{number - 1}")
        expected = [f"{who} r{number}" for number in range(1, 8) for who in "QA"]
        assert await history(store, "r7") == expected
        for evicted in ("r1", "r5"):
            with pytest.raises(PreviousResponseNotFound):
                await history(store, evicted)
            with pytest.raises(PreviousResponseNotFound):
                await say(store, "new", evicted)


async def test_bytes_are_bounded(opened: Open) -> None:
    async with opened(Bounds(max_tenant_bytes=4_000)) as store:
        with pytest.raises(LimitExceeded) as raised:
            await store.append(ME, {"id": "big"}, input="x" * 4_000)
        assert (raised.value.limit, raised.value.maximum) == ("max_tenant_bytes", 4_000)
        assert raised.value.value > 4_500
        for number in range(10):
            await store.append(ME, {"id": f"r{number}"}, input="x" * 500)
        assert await names(store, *(f"r{number}" for number in range(10))) == "r7 r8 r9"


async def test_what_is_not_used_expires(opened: Open, clock: Clock) -> None:
    async with opened(Bounds(ttl=100)) as store:
        await say(store, "r1")
        await say(store, "r2", "r1")
        clock.now += 60
        await history(store, "r2")
        clock.now += 60
        with pytest.raises(PreviousResponseNotFound):
            await history(store, "r1")
        with pytest.raises(PreviousResponseNotFound):
            await say(store, "r3", "r1")
        assert await history(store, "r2") == ["Q r1", "A r1", "Q r2", "A r2"]
        clock.now += 99.9
        assert await names(store, "r1", "r2") == "r2"
        clock.now += 100
        assert await store.load_turn(ME, "r2") is None
        assert await say(store, "r2") is True


async def test_expire_says_how_many_went(opened: Open, clock: Clock) -> None:
    async with opened(Bounds(ttl=10)) as store:
        for number in range(5):
            await say(store, f"r{number}", None, f"tenant {number % 2}")
            clock.now += 1
        assert await store.expire() == 0
        clock.now += 7
        assert await store.expire() == 3
        assert await store.expire() == 0
        clock.now += 100
        assert await store.expire() == 2


CALLS = [
    {"type": "message", "role": "system", "content": "s"},
    user("u"),
    {"type": "reasoning", "content": "r"},
    {"type": "function_call", "call_id": "1", "content": "c1"},
    {"type": "function_call", "call_id": "2", "content": "c2"},
    {"type": "function_call_output", "call_id": "1", "content": "o1"},
    {"type": "function_call_output", "call_id": "2", "content": "o2"},
    assistant("a"),
]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, "s u r c1 c2 o1 o2 a"),
        ({"max_items": 8}, "s u r c1 c2 o1 o2 a"),
        ({"max_items": 7}, "s r c1 c2 o1 o2 a"),
        ({"max_items": 6}, "s a"),
        ({"max_items": 1}, "s"),
        ({"max_items": 0}, "s"),
        ({"max_bytes": 120}, "s a"),
        ({"max_bytes": 1_000, "max_items": 2}, "s a"),
    ],
    ids=str,
)
async def test_a_load_is_cut_where_it_parts_nothing(
    store: ConversationStore, bounds: dict[str, int], expected: str
) -> None:
    await store.append(ME, {"id": "r1"}, input=CALLS[:2], output=CALLS[2:5])
    await store.append(ME, {"id": "r2"}, input=CALLS[5:7], output=CALLS[7:], parent="r1")
    assert " ".join(await history(store, "r2", bounds=bounds)) == expected


async def test_a_conversation_may_go_on_for_ever(opened: Open) -> None:
    """TensorRT-LLM's store kept 21 messages where 4 were allowed, or never returned."""
    async with opened(Bounds(max_history_items=6)) as store:
        await store.append(ME, {"id": "r0"}, input=[CALLS[0], user("first")])
        longest = 0
        for number in range(1, 22):
            await say(store, f"r{number}", f"r{number - 1}")
            said = await history(store, f"r{number}")
            assert said[0] == "s"
            assert said[-2:] == [f"Q r{number}", f"A r{number}"]
            longest = max(longest, len(said))
        assert 4 <= longest <= 6
        assert await history(store, "r1") == ["s", "first", "Q r1", "A r1"]


async def test_a_history_that_begins_anew_parts_no_call_from_its_output(opened: Open) -> None:
    async with opened(Bounds(max_history_items=8)) as store:
        parent = None
        for number in range(30):
            call = {"type": "function_call", "call_id": str(number)}
            done = {"type": "function_call_output", "call_id": str(number - 1)}
            name = f"r{number}"
            await store.append(
                ME, {"id": name}, input=[done] if number else "go", output=[call], parent=parent
            )
            items = (await store.load_history(ME, name)).json()
            called = {item["call_id"] for item in items if item["type"] == "function_call"}
            answered = {item["call_id"] for item in items if item["type"] == "function_call_output"}
            assert answered <= called
            assert called - answered == {str(number)}
            parent = name


async def test_racing_writers_lose_and_double_nothing(store: ConversationStore, kind: str) -> None:
    """Both write every turn of one conversation, and branches of their own."""
    turns = {"sqlite": 60, "redis": 150}.get(kind, 1_000)
    await say(store, "r0")
    news = 0

    async def writer(who: str) -> None:
        nonlocal news
        for number in range(1, turns):
            new = await say(store, f"r{number}", f"r{number - 1}")
            news += new
            await say(store, f"{who}{number}", f"r{number}")
            await asyncio.sleep(0)

    await asyncio.gather(*(writer(who) for who in ("a", "b")))
    assert news == turns - 1
    trunk = [f"{who} r{number}" for number in range(turns) for who in "QA"]
    assert await history(store, f"r{turns - 1}") == trunk
    for who in ("a", "b"):
        for number in range(1, turns, turns // 10):
            branch = [*trunk[: 2 * number + 2], f"Q {who}{number}", f"A {who}{number}"]
            assert await history(store, f"{who}{number}") == branch


@pytest.mark.parametrize("seed", range(12))
async def test_all_stores_agree(opened: Open, clock: Clock, seed: int) -> None:
    """The same random calls get the same answers; that in memory is held to a naive one, in Rust."""
    chance = random.Random(seed)  # noqa: S311 - reproducible programs
    bounds = Bounds(
        max_tenant_turns=(6, 6, 1, 2, None)[seed % 5],
        max_tenant_bytes=(8_000, 2_000, None)[seed % 3],
        max_history_items=(9, 1, 3, None)[seed % 4],
        ttl=(50, None)[seed % 2],
    )
    async with opened(bounds) as store, MemoryStore(bounds=bounds, clock=clock) as twin:
        for _ in range(150):
            clock.now += chance.choice((0, 0, 1, 20))
            tenant, name = chance.choice((ME, OTHER)), f"r{chance.randrange(9)}"
            kind = chance.choice(("append", "append", "append", "load", "cut", "turn", "delete"))
            parent = chance.choice((None, f"r{chance.randrange(9)}"))
            items = [user("x" * chance.randrange(400)) for _ in range(chance.randrange(3))]
            most = chance.randrange(4)
            answers = [await answer(one, tenant, name, kind, parent, items, most) for one in (store, twin)]
            assert answers[0] == answers[1], (kind, name, parent)


async def answer(
    store: ConversationStore,
    tenant: str,
    name: str,
    kind: str,
    parent: str | None,
    items: list[dict[str, Any]],
    most: int,
) -> object:
    """What a call came to, an error as its type."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "append": lambda: store.append(tenant, {"id": name}, input=items, parent=parent),
        "load": lambda: store.load_history(tenant, name),
        "cut": lambda: store.load_history(tenant, name, max_items=most),
        "turn": lambda: store.load_turn(tenant, name),
        "delete": lambda: store.delete(tenant, name),
    }
    try:
        return await calls[kind]()
    except PenstockError as error:
        return type(error)


async def test_closing_twice_is_fine(opened: Open) -> None:
    async with opened() as store:
        await say(store, "r1")
        await store.close()
        await store.close()


async def test_nothing_of_what_was_said_is_shown(store: ConversationStore) -> None:
    await store.append("secret tenant", {"id": "secret id", "x": "secret"}, input="secret")
    turn = await store.load_turn("secret tenant", "secret id")
    items = await store.load_history("secret tenant", "secret id")
    for shown in (repr(store), repr(turn), repr(items), str(items)):
        assert "secret" not in shown
    with pytest.raises(TurnConflict) as conflict:
        await store.append("secret tenant", {"id": "secret id"}, input="secret")
    with pytest.raises(PreviousResponseNotFound) as missing:
        await store.load_history("secret tenant", "secret other")
    with pytest.raises(DecodeError) as broken:
        await store.append("secret tenant", b'{"id":"secret" secret', input="secret")
    for error in (conflict, missing, broken):
        assert "secret" not in repr(error.value) + str(error.value)
