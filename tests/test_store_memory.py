"""Memory that stays where it is, threads, and `Items`. What every store promises is in `test_store.py`."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from penstock import PreviousResponseNotFound
from penstock.store import Bounds, Items, MemoryStore

SESSIONS = {"memory": 100_000, "sqlite": 3_000, "redis": 3_000}
"""Sessions that are opened, half of them closed and half abandoned; as many as take some seconds."""

GROWTH = """
import asyncio, resource, sys
from penstock.store import Bounds, MemoryStore, SQLiteStore

KIND, PLACE, SESSIONS = sys.argv[1], sys.argv[2], int(sys.argv[3])
BOUNDS = Bounds(max_tenant_turns=500, max_turns=500, ttl=3600)

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()

def opened():
    if KIND == "memory":
        return MemoryStore(bounds=BOUNDS)
    if KIND == "sqlite":
        return SQLiteStore(PLACE, bounds=BOUNDS)
    from penstock.store.redis import RedisStore
    return RedisStore.from_url(PLACE, bounds=BOUNDS)

async def session(store, number):
    first, second = f"r{number}-1", f"r{number}-2"
    answer = [{"role": "assistant", "content": "A" * 300}]
    await store.append("t", {"id": first, "output": answer}, input="Q" * 300)
    await store.append("t", {"id": second, "output": answer}, input="Q" * 300, parent=first)
    assert len(await store.load_history("t", second)) == 4
    if number % 2:  # closed; the others are abandoned
        await store.delete("t", first)
        await store.delete("t", second)

async def sessions(store, numbers):
    for start in range(numbers.start, numbers.stop, 16):
        await asyncio.gather(*(session(store, number) for number in range(start, start + 16)))

async def main():
    async with opened() as store:
        await sessions(store, range(0, SESSIONS // 5))
        before = resident()
        await sessions(store, range(SESSIONS, 2 * SESSIONS))
        print(resident() - before)

asyncio.run(main())
"""


def growth(kind: str, place: str) -> int:
    """Bytes that a process grew by over its sessions, once it was warm."""
    command = [sys.executable, "-c", GROWTH, kind, place, str(SESSIONS[kind])]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", sorted(SESSIONS))
def test_sessions_without_end_leave_nothing_behind(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """Reliability of gateways: sessions that were never deregistered filled many a server."""
    place = str(tmp_path_factory.mktemp("growth") / "store.db")
    if kind == "redis":
        place = request.getfixturevalue("redis_server").url
    # A page or an arena more is no leak; a KiB a session would be.
    assert growth(kind, place) < max(SESSIONS[kind] * 128, 2 << 20)


def test_threads_share_a_store() -> None:
    store = MemoryStore()
    failures: list[BaseException] = []

    def work(who: str) -> None:
        async def chain() -> None:
            parent = "root"
            for number in range(300):
                await store.append("t", {"id": f"{who}{number}"}, input=f"{who}{number}", parent=parent)
                await store.append("t", {"id": f"both{number}"}, input=f"both{number}", parent="root")
                parent = f"{who}{number}"
            said = [item["content"] for item in await store.load_history("t", parent)]
            assert said == ["root", *(f"{who}{number}" for number in range(300))]

        try:
            asyncio.run(chain())
        except BaseException as error:  # told by the test's own thread
            failures.append(error)

    asyncio.run(store.append("t", {"id": "root"}, input="root"))
    threads = [threading.Thread(target=work, args=(who,)) for who in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.turns == 1 + 9 * 300


async def test_bounds_of_the_whole_store() -> None:
    async with MemoryStore(bounds=Bounds(max_turns=3)) as store:
        for number in range(5):
            await store.append(f"tenant {number}", {"id": "r"})
        assert store.turns == 3
        assert [await store.load_turn(f"tenant {number}", "r") is not None for number in range(5)] == [
            *(False, False),
            *(True, True, True),
        ]
    async with MemoryStore(bounds=Bounds(max_bytes=2_000)) as store:
        for number in range(9):
            await store.append(f"tenant {number}", {"id": "r"}, input="x" * 400)
            assert store.size <= 2_000
        assert store.turns == 2


async def test_closing_forgets() -> None:
    store = MemoryStore()
    await store.append("t", {"id": "r"}, input="x")
    assert repr(store) == f"<MemoryStore turns=1 size={store.size}>"
    await store.close()
    assert (store.turns, store.size) == (0, 0)
    with pytest.raises(PreviousResponseNotFound):
        await store.load_history("t", "r")


async def test_a_history_outlives_its_store() -> None:
    async with MemoryStore() as store:
        await store.append("t", {"id": "r1"}, input="one")
        await store.append("t", {"id": "r2"}, input="two", parent="r1")
        items = await store.load_history("t", "r2")
    assert [item["content"] for item in items] == ["one", "two"]


def test_items_are_a_frozen_sequence() -> None:
    items = Items([{"n": number} for number in range(5)])
    assert (len(items), items.size, items.data[:9]) == (5, 35, b'[{"n":0},')
    assert [items[index]["n"] for index in (0, 4, -1, -5)] == [0, 4, 4, 0]
    for index in (5, -6, 1 << 40):
        with pytest.raises(IndexError):
            items[index]
    iterator: Iterator[dict[str, int]] = iter(items)
    assert next(iterator) == {"n": 0}
    assert items == Items(items.data) == Items(items) == pickle.loads(pickle.dumps(items))
    assert items != Items()
    assert items != items.json()
    assert items.trim(max_items=2).json() == [{"n": 3}, {"n": 4}]
    assert items.trim(max_bytes=14).json() == [{"n": 3}, {"n": 4}]
    assert items.trim() == items
    assert repr(items) == "<Items count=5 size=35>"
    assert not Items()
    with pytest.raises(TypeError):
        hash(items)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0}, ValueError),
        ({"ttl": -1}, ValueError),
        ({"ttl": float("nan")}, ValueError),
        ({"ttl": 1e300}, ValueError),
        ({"max_turns": 0}, ValueError),
        ({"max_turns": -1}, OverflowError),
        ({"max_bytes": 1.5}, TypeError),
        ({"most": 1}, TypeError),
    ],
    ids=str,
)
def test_bounds_that_are_none_are_refused(options: dict[str, float], error: type[Exception]) -> None:
    with pytest.raises(error):
        Bounds(**options)  # type: ignore[arg-type]


def test_bounds_are_a_frozen_value() -> None:
    bounds = Bounds(max_turns=5, ttl=0.25, max_bytes=None)
    with pytest.raises(AttributeError):
        bounds.max_turns = 6  # type: ignore[misc]
    assert bounds == Bounds(max_turns=5, ttl=0.25, max_bytes=None) != Bounds()
    assert pickle.loads(pickle.dumps(bounds)) == bounds
    assert repr(Bounds(ttl=None)).endswith("ttl=None)")
