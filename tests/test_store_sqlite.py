"""`SQLiteStore`: what a file adds to what every store promises. Crashes are real ones."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from penstock import PreviousResponseNotFound, StoreUnavailable
from penstock.store import Bounds, SQLiteStore
from penstock.store.tables import EXPIRED_AT_ONCE, MAX_UNWRITTEN_USES

KILLS = 12

WRITER = """
import asyncio, os, sys
from penstock.store import SQLiteStore

async def chain(store, name):
    parent = None
    for number in range(100_000):
        turn = f"{name}-{number}"
        answer = {"role": "assistant", "content": "A" * 200 + turn}
        await store.append("t", {"id": turn, "output": [answer]}, input="Q " + turn, parent=parent)
        os.write(1, (turn + "\\n").encode())  # acknowledged
        parent = turn

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        await asyncio.gather(*(chain(store, f"{sys.argv[2]}{lane}") for lane in range(3)))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def say(store: SQLiteStore, name: str, parent: str | None = None, tenant: str = "t") -> bool:
    return await store.append(tenant, {"id": name}, input=name, parent=parent)


async def said(store: SQLiteStore, name: str) -> list[str]:
    return [item["content"] for item in await store.load_history("t", name)]


def write_and_die(path: Path, name: str, seconds: float) -> list[bytes]:
    """What a writer was told before it was killed."""
    command = [sys.executable, "-c", WRITER, str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline()]  # it is at work
        time.sleep(seconds)
        writer.kill()
        told += writer.stdout.readlines()
        assert writer.wait() == -9
    return told


async def test_sigkill_at_any_moment_loses_no_acknowledged_turn(path: Path) -> None:
    """Writers are killed while they write; all they were told is there afterwards, and nothing by halves."""
    moments = random.Random(4)  # noqa: S311 - reproducible, no secret
    acknowledged: list[str] = []
    for kill in range(KILLS):
        told = write_and_die(path, f"k{kill}.", moments.random() * 0.15)
        # A last line without its end was not told.
        acknowledged += [line.decode().strip() for line in told if line.endswith(b"\n")]
        async with SQLiteStore(path) as store:
            for turn in acknowledged[-200:]:
                lane, number = turn.rsplit("-", 1)
                expected = [f"{lane}-{before}" for before in range(int(number) + 1)]
                history = (await store.load_history("t", turn)).json()
                assert [item["content"][2:] for item in history[::2]] == expected
                assert [item["content"][200:] for item in history[1::2]] == expected
    assert len(acknowledged) > KILLS
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (turns,) = database.execute("SELECT count(*) FROM turns").fetchone()
    (links,) = database.execute("SELECT count(*) FROM links").fetchone()
    assert turns == links >= len(set(acknowledged)) == len(acknowledged)
    database.close()


async def test_what_was_stored_is_there_when_the_file_is_opened_again(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await say(store, "r1")
        await say(store, "r2", "r1")
    async with SQLiteStore(path) as store:
        assert await said(store, "r2") == ["r1", "r2"]
        assert await say(store, "r2", "r1") is False
        assert await say(store, "r3", "r2") is True


async def test_the_file_is_its_owner_s_alone(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await say(store, "r1")
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name


async def test_two_stores_share_a_file(path: Path) -> None:
    """As two processes would: neither loses or doubles a turn, both see what the other acknowledged."""
    async with SQLiteStore(path) as one, SQLiteStore(path) as two:
        await say(one, "r0")
        news = 0

        async def writer(store: SQLiteStore) -> None:
            nonlocal news
            for number in range(1, 40):
                new = await say(store, f"r{number}", f"r{number - 1}")
                news += new

        await asyncio.gather(writer(one), writer(two))
        assert news == 39
        for store in (one, two):
            assert await said(store, "r39") == [f"r{number}" for number in range(40)]


async def test_many_callers_are_committed_together(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await say(store, "root")
        assert all(await asyncio.gather(*(say(store, f"r{number}", "root") for number in range(500))))
        turns = await asyncio.gather(*(said(store, f"r{number}") for number in range(500)))
        assert turns == [["root", f"r{number}"] for number in range(500)]


async def test_one_bad_call_of_a_batch_fails_alone(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await say(store, "r0")
        calls = [say(store, f"r{number}", "r0" if number % 2 else "missing") for number in range(1, 41)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for number, outcome in enumerate(outcomes, 1):
            assert outcome is True if number % 2 else isinstance(outcome, PreviousResponseNotFound)


async def test_cancelled_calls_lose_and_mix_nothing(path: Path) -> None:
    """A cancelled append is stored or not; the others' replies are their own."""
    rng = random.Random(1)  # noqa: S311 - reproducible, no secret
    async with SQLiteStore(path) as store:
        for number in range(32):
            await say(store, f"key{number}")
        for round_number in range(150):
            keys = [rng.randrange(32) for _ in range(20)]
            tasks: list[asyncio.Task[Any]] = [asyncio.create_task(said(store, f"key{key}")) for key in keys]
            tasks.append(asyncio.create_task(say(store, f"new{round_number}")))
            await asyncio.sleep(rng.random() * 0.001)
            for task in tasks:
                if rng.random() < 0.5:
                    task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for key, outcome in zip(keys, outcomes, strict=False):
                assert isinstance(outcome, asyncio.CancelledError) or outcome == [f"key{key}"]
            assert await say(store, f"new{round_number}") in (True, False)
            assert await said(store, f"new{round_number}") == [f"new{round_number}"]


async def test_uses_are_written_without_waiting_for_the_disk(path: Path) -> None:
    """Reads note it; the notes are written with an append, in time, or when there are many."""
    clock = [1_000.0]

    def used_at() -> dict[str, int]:
        database = sqlite3.connect(path)
        rows = dict(database.execute("SELECT id, used_at FROM turns ORDER BY use").fetchall())
        database.close()
        return rows

    async with SQLiteStore(path, bounds=Bounds(ttl=10_000), clock=lambda: clock[0]) as store:
        for name in ("r1", "r2"):
            await say(store, name)
        clock[0] += 1
        await said(store, "r1")
        assert list(used_at().items()) == [("r1", 1_000_000), ("r2", 1_000_000)]
        await say(store, "r3")
        assert list(used_at()) == ["r2", "r1", "r3"]
        assert used_at()["r1"] == 1_001_000
        clock[0] += 1
        await said(store, "r2")
        clock[0] += 61  # a minute is the longest
        await said(store, "r3")
        assert used_at()["r2"] == 1_002_000
        for number in range(MAX_UNWRITTEN_USES):
            await say(store, f"many{number}")
        clock[0] += 1
        for number in range(MAX_UNWRITTEN_USES):
            await said(store, f"many{number}")
        await said(store, "r1")
        assert used_at()["many0"] == 1_064_000
        clock[0] += 1
        await said(store, "r1")
    assert used_at()["r1"] == 1_065_000  # closing writes them too


async def test_an_append_removes_what_is_too_old_step_by_step(path: Path) -> None:
    clock = [0.0]
    async with SQLiteStore(path, bounds=Bounds(ttl=10), clock=lambda: clock[0]) as store:
        await asyncio.gather(*(say(store, f"old{number}") for number in range(40)))
        clock[0] = 10.0
        await say(store, "new")
        assert await store.expire() == 40 - EXPIRED_AT_ONCE


async def test_bounds_of_the_whole_store(path: Path) -> None:
    async with SQLiteStore(path, bounds=Bounds(max_turns=3)) as store:
        for number in range(5):
            await say(store, f"r{number}", tenant=f"tenant {number}")
        left = [await store.load_turn(f"tenant {number}", f"r{number}") is not None for number in range(5)]
        assert left == [False, False, True, True, True]
        database = sqlite3.connect(path)
        assert database.execute("SELECT turns FROM totals WHERE tenant = ''").fetchone() == (3,)
        database.close()


async def test_nothing_is_left_of_what_was_deleted(path: Path) -> None:
    async with SQLiteStore(path, bounds=Bounds(max_history_items=6)) as store:
        names = [f"r{number}" for number in range(20)]
        for before, name in zip([None, *names], names, strict=False):
            await say(store, name, before)
        for name in names[::2] + names[1::2]:
            assert await store.delete("t", name)
    database = sqlite3.connect(path)
    counts = "SELECT (SELECT count(*) FROM turns), (SELECT count(*) FROM links)"
    assert database.execute(counts).fetchone() == (0, 0)
    assert database.execute("SELECT * FROM totals").fetchall() == [("", 0, 0)]
    database.close()


async def test_a_file_that_is_none_of_its_own_is_refused(path: Path) -> None:
    path.write_bytes(b"secret, and no database at all" * 100)  # noqa: ASYNC240 - nobody else is waiting
    store = SQLiteStore(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as raised:
            await say(store, "r1")
        assert (raised.value.backend, raised.value.reason) == ("sqlite", "SQLITE_NOTADB")
        assert "secret" not in str(raised.value)
    await store.close()
    newer = path.with_name("newer.db")
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version=99")
    database.close()
    async with SQLiteStore(newer) as store:
        with pytest.raises(StoreUnavailable, match="NotSupportedError"):
            await say(store, "r1")


async def test_a_file_that_cannot_be_made_fails_the_call(path: Path) -> None:
    """And no caller waits for ever, nor for the store to be made anew."""
    folder = path.with_name("missing")
    async with SQLiteStore(folder / "store.db") as store:
        outcomes = await asyncio.gather(*(say(store, f"r{n}") for n in range(9)), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, StoreUnavailable)
            assert outcome.reason == "FileNotFoundError"
        folder.mkdir()
        assert await say(store, "r1") is True


async def test_a_clock_that_fails_fails_the_call(path: Path) -> None:
    broken = [True]

    def clock() -> float:
        if broken[0]:
            raise ZeroDivisionError
        return 1.0

    async with SQLiteStore(path, clock=clock) as store:
        with pytest.raises(StoreUnavailable, match="ZeroDivisionError"):
            await say(store, "r1")
        broken[0] = False
        assert await say(store, "r1") is True


async def test_a_database_that_fails_fails_the_call_and_not_the_store(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await say(store, "r1")
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE turns RENAME TO gone")
        with pytest.raises(StoreUnavailable) as raised:
            await say(store, "r2")
        assert raised.value.reason == "SQLITE_ERROR"
        with pytest.raises(StoreUnavailable):
            await store.load_history("t", "r1")
        database.execute("ALTER TABLE gone RENAME TO turns")
        database.close()
        assert await said(store, "r1") == ["r1"]
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE turns RENAME TO gone")
        database.close()
        await said_or_not(store)
    # Closing could not write when turns were used, and says nothing of it.


async def said_or_not(store: SQLiteStore) -> None:
    with pytest.raises(StoreUnavailable):
        await said(store, "r1")


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SQLiteStore(path)
    assert repr(store) == "<SQLiteStore open>"
    await store.close()  # was never used
    assert list(path.parent.iterdir()) == []
    await store.close()
    assert repr(store) == "<SQLiteStore closed>"
    with pytest.raises(StoreUnavailable) as raised:
        await say(store, "r1")
    assert raised.value.reason == "closed"


async def test_closing_waits_for_what_was_begun(path: Path) -> None:
    store = SQLiteStore(path)
    appends = [asyncio.create_task(say(store, f"r{number}")) for number in range(200)]
    await asyncio.sleep(0)
    await store.close()
    assert all(await asyncio.gather(*appends))
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-sqlite"]


def test_one_store_serves_many_loops(path: Path) -> None:
    """Loops come and go, one of them before its reply; the store stays."""
    store = SQLiteStore(path)
    asyncio.run(say(store, "r1"))

    async def leave() -> None:
        task = asyncio.create_task(say(store, "r2", "r1"))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    failures: list[BaseException] = []

    def work(name: str) -> None:
        async def chain() -> None:
            for number in range(20):
                await say(store, f"{name}{number}", f"{name}{number - 1}" if number else "r1")
            assert await said(store, f"{name}19") == ["r1", *(f"{name}{number}" for number in range(20))]

        try:
            asyncio.run(chain())
        except BaseException as error:  # told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    asyncio.run(store.close())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_a_thread_of_its_own(path: Path) -> None:
    """Servers that fork after they have started take the store along, but not its thread."""
    store = SQLiteStore(path)
    asyncio.run(say(store, "r1"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if asyncio.run(say(store, "r2", "r1")) else 2
            asyncio.run(store.close())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(said(store, "r2")) == ["r1", "r2"]
    asyncio.run(store.close())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_that_never_used_the_store_can_close_it(path: Path) -> None:
    store = SQLiteStore(path)
    asyncio.run(say(store, "r1"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(store.close())
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    asyncio.run(store.close())


async def test_memory_is_a_place_too() -> None:
    async with SQLiteStore(":memory:") as store:
        await say(store, "r1")
        assert await said(store, "r1") == ["r1"]
    assert ":memory:" not in os.listdir()


def test_a_path_is_any_path(path: Path) -> None:
    made: Any = SQLiteStore(os.fsencode(path).decode())
    assert "store.db" not in repr(made)
