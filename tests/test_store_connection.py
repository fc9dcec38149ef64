"""`ConnectionStore`: what is not to be stored stays on its connection."""

from __future__ import annotations

import pytest

from penstock import PreviousResponseNotFound
from penstock.store import Bounds, ConnectionStore, MemoryStore

ME = "alice"


async def say(store: ConnectionStore, name: str, parent: str | None = None, *, stored: bool = False) -> bool:
    return await store.append(ME, {"id": name}, input=name, parent=parent, store=stored)


async def said(store: ConnectionStore, name: str) -> str:
    return " ".join(item["content"] for item in await store.load_history(ME, name))


async def test_unstored_turns_are_this_connection_s_alone() -> None:
    async with MemoryStore() as shared:
        one, two = ConnectionStore(shared), ConnectionStore(shared)
        await say(one, "stored", stored=True)
        await say(one, "a", "stored")
        await say(one, "b", "a")
        assert await said(one, "b") == "stored a b"
        assert await said(two, "stored") == "stored"
        for name in ("a", "b"):
            with pytest.raises(PreviousResponseNotFound):
                await said(two, name)
            with pytest.raises(PreviousResponseNotFound):
                await say(two, "c", name)
            assert await two.load_turn(ME, name) is None
        assert shared.turns == 1
        with pytest.raises(PreviousResponseNotFound):
            await one.load_history("bob", "a")


async def test_they_are_gone_with_the_connection() -> None:
    async with MemoryStore() as shared:
        async with ConnectionStore(shared) as store:
            await say(store, "kept", stored=True)
            await say(store, "a", "kept")
        for again in (store, ConnectionStore(shared)):
            assert await said(again, "kept") == "kept"
            with pytest.raises(PreviousResponseNotFound):
                await said(again, "a")


async def test_what_continues_an_unstored_turn_is_not_stored_either() -> None:
    """Whoever loads it elsewhere would get what was not to be kept."""
    async with MemoryStore() as shared:
        store = ConnectionStore(shared)
        await say(store, "a")
        assert await say(store, "b", "a", stored=True) is True
        assert await say(store, "b", "a", stored=True) is False
        assert shared.turns == 0
        assert store.is_local(ME, "b")
        assert await said(store, "b") == "a b"


async def test_an_unstored_turn_outlives_the_stored_one_it_continues() -> None:
    async with MemoryStore(bounds=Bounds(max_tenant_turns=1)) as shared:
        store = ConnectionStore(shared)
        await say(store, "first", stored=True)
        await say(store, "a", "first")
        await say(store, "second", stored=True)  # evicts the first
        assert await said(store, "a") == "first a"
        with pytest.raises(PreviousResponseNotFound):
            await say(store, "b", "first")


async def test_a_failed_continuation_forgets_what_it_continued() -> None:
    async with MemoryStore() as shared:
        store = ConnectionStore(shared)
        await say(store, "kept", stored=True)
        await say(store, "a")
        assert store.forget(ME, "a") is True
        assert store.forget(ME, "a") is False
        assert store.forget(ME, "kept") is False
        assert store.forget(ME, "\ud800") is False
        with pytest.raises(PreviousResponseNotFound):
            await say(store, "b", "a")
        assert await said(store, "kept") == "kept"


async def test_warm_up_input_is_part_of_the_chain() -> None:
    """LiteLLM ignored warm-up ids, and lost what had been said in them."""
    async with MemoryStore() as shared:
        store = ConnectionStore(shared)
        system = {"role": "system", "content": "Be brief."}
        await store.append(ME, {"id": "warm", "output": []}, input=[system], store=False)
        await say(store, "r1", "warm")
        assert await said(store, "r1") == "Be brief. r1"


async def test_a_connection_keeps_little() -> None:
    """There may be thousands of them."""
    store = ConnectionStore(MemoryStore())
    for number in range(100):
        await say(store, f"r{number}", f"r{number - 1}" if number else None)
    assert await said(store, "r99") == " ".join(f"r{number}" for number in range(100))
    assert [store.is_local(ME, f"r{number}") for number in (0, 35, 36, 99)] == [False, False, True, True]
    assert repr(store).startswith("<ConnectionStore turns=64 over ")


async def test_both_layers_are_asked() -> None:
    clock = [0.0]
    async with MemoryStore(bounds=Bounds(ttl=10), clock=lambda: clock[0]) as shared:
        store = ConnectionStore(shared, bounds=Bounds(ttl=10), clock=lambda: clock[0])
        await say(store, "kept", stored=True)
        await say(store, "a")
        turn = await store.load_turn(ME, "a")
        assert turn is not None
        assert turn.input.json()[0]["content"] == "a"
        assert len(await store.load_history(ME, "a", max_items=0)) == 0
        assert await store.delete(ME, "a") is True
        assert await store.delete(ME, "kept") is True
        assert await store.delete(ME, "kept") is False
        await say(store, "kept", stored=True)
        await say(store, "a")
        clock[0] = 10.0
        assert await store.expire() == 2
        assert repr(store) == "<ConnectionStore turns=0 over <MemoryStore turns=0 size=0>>"
