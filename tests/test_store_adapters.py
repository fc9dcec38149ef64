"""The calls of TensorRT-LLM and LiteLLM over penstock's stores, and the faults theirs had, each a test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from penstock import PreviousResponseNotFound, TurnConflict
from penstock.store import Bounds, ConnectionStore, MemoryStore, SQLiteStore
from penstock.store.adapters import ConversationHistoryStore, SessionHistory


def message(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def texts(messages: list[dict[str, Any]]) -> str:
    return " ".join(item["content"] for item in messages)


def history_store(**bounds: Any) -> ConversationHistoryStore:
    return ConversationHistoryStore(MemoryStore(bounds=Bounds(**bounds)), tenant="t")


async def turn(
    store: ConversationHistoryStore, name: str, previous: str | None = None, asks: str | None = None
) -> None:
    """As the server calls it: first what was asked, then what was answered."""
    await store.store_messages(name, [message(asks or f"Q{name}")], previous)
    await store.store_response({"id": name}, [message(f"A{name}", "assistant")], previous)


async def said(store: ConversationHistoryStore, name: str) -> str:
    return texts(await store.get_conversation_history(name))


async def test_a_conversation_goes_on() -> None:
    store = ConversationHistoryStore(tenant="t")
    await turn(store, "1")
    await turn(store, "2", "1")
    assert await said(store, "2") == "Q1 A1 Q2 A2"
    assert await store.load_response("2") == {"id": "2"}
    assert await store.load_response("3") is None
    assert await store.pop_response("2") is True
    assert await store.pop_response("2") is False
    assert await said(store, "1") == "Q1 A1"


async def test_messages_can_be_read_and_added_to_before_the_response() -> None:
    store = history_store()
    await turn(store, "1")
    await store.store_messages("2", [message("Q2")], "1")
    assert await said(store, "2") == "Q1 A1 Q2"
    await store.append_messages("2", [message("tool", "tool"), message("more")])
    assert await said(store, "2") == "Q1 A1 Q2 tool more"
    await store.store_response({"id": "2"}, [message("A2", "assistant")], "1")
    assert await said(store, "2") == "Q1 A1 Q2 tool more A2"
    for gone in ("2", "never"):
        with pytest.raises(PreviousResponseNotFound):
            await store.append_messages(gone, [message("late")])


async def test_messages_that_are_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """Those that come to the same words, too; and none is lost with a call that is given up."""
    async with SQLiteStore(tmp_path / "store.db") as database:
        store = ConversationHistoryStore(database, tenant="t")
        await turn(store, "1")
        await store.store_messages("2", [message("Q2")], "1")
        words = ["a", "b", "b", "c", "d"]
        await asyncio.gather(*(store.append_messages("2", [message(word)]) for word in words))
        kept = (await said(store, "2")).split()
        assert (kept[:3], sorted(kept[3:])) == (["Q1", "A1", "Q2"], words)
        for moments in range(12):
            adding = asyncio.create_task(store.append_messages("2", [message(f"n{moments}")]))
            for _ in range(moments):
                await asyncio.sleep(0)
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
            assert (await said(store, "2")).split()[: len(kept)] == kept
        await store.store_response({"id": "2"}, [message("A2", "assistant")], "1")
        assert (await said(store, "2")).split()[: len(kept)] == kept
        assert (await said(store, "2")).endswith(" A2")


async def test_a_response_may_be_stored_again() -> None:
    """By who does not know whether it was; but another response of the same id is none of it."""
    store = history_store()
    await turn(store, "1")
    for _ in range(2):
        await store.store_messages("2", [message("Q2")], "1")
        for _ in range(2):
            await store.store_response({"id": "2"}, [message("A2", "assistant")], "1")
    assert await said(store, "2") == "Q1 A1 Q2 A2"
    with pytest.raises(TurnConflict):
        await store.store_response({"id": "2"}, [message("another")], "1")


async def test_s1_a_load_is_a_use() -> None:
    store = history_store(max_tenant_turns=2)
    await store.store_response({"id": "1"})
    await store.store_response({"id": "2"})
    await store.load_response("1")
    await store.store_response({"id": "3"})
    assert await store.load_response("1") is not None
    assert await store.load_response("2") is None


async def test_s2_nothing_is_shared() -> None:
    store = history_store()
    await store.store_response({"id": "mine"})
    await store.store_response({"id": "yours"})
    given = [message("secret")]
    await store.store_messages("2", given, "yours")
    given.append(message("later"))
    (await store.get_conversation_history("yours")).append(message("returned"))
    assert await said(store, "mine") == await said(store, "yours") == ""
    assert await said(store, "2") == "secret"


@pytest.mark.parametrize("unknown", ["never", "evicted"])
async def test_s3_an_unknown_parent_is_told_as_such(unknown: str) -> None:
    store = history_store(max_tenant_turns=2)
    for name in ("evicted", "1", "2"):
        await store.store_response({"id": name})
    with pytest.raises(PreviousResponseNotFound):
        await store.store_messages("3", [message("x")], unknown)
    with pytest.raises(PreviousResponseNotFound):
        await store.store_response({"id": "3"}, [message("x")], unknown)


async def test_s4_and_s5_an_evicted_response_is_unknown_and_never_an_empty_history() -> None:
    store = history_store(max_tenant_turns=2)
    for previous, name in ((None, "1"), ("1", "2"), ("2", "3")):
        await turn(store, name, previous)
    assert await said(store, "3") == "Q1 A1 Q2 A2 Q3 A3"
    with pytest.raises(PreviousResponseNotFound):
        await store.get_conversation_history("1")
    with pytest.raises(PreviousResponseNotFound):
        await turn(store, "4", "1")


async def test_s6_branches_overwrite_neither_each_other_nor_their_parent() -> None:
    store = history_store()
    await turn(store, "1")
    await turn(store, "2", "1")
    await turn(store, "3", "1")
    assert await said(store, "1") == "Q1 A1"
    assert await said(store, "2") == "Q1 A1 Q2 A2"
    assert await said(store, "3") == "Q1 A1 Q3 A3"


async def test_s7_and_s9_capacity_holds_on_every_path() -> None:
    """Theirs kept 21 messages where 4 were allowed."""
    store = history_store(max_history_items=4)
    await store.store_response({"id": "0"}, [message("s", "system"), message("A0", "assistant")])
    for number in range(1, 22):
        await turn(store, str(number), str(number - 1))
        history = await store.get_conversation_history(str(number))
        assert len(history) <= 4
        assert texts(history).startswith("s ")
        assert texts(history).endswith(f"Q{number} A{number}")


async def test_s8_storing_a_response_alone_ends() -> None:
    """Theirs looped for ever, holding its lock."""
    store = history_store(max_history_items=2)
    previous = None
    for number in range(10):
        answer = [message(f"A{number}", "assistant")]
        async with asyncio.timeout(10):
            await store.store_response({"id": str(number)}, answer, previous)
        previous = str(number)
    assert (await said(store, "9")).endswith("A9")


async def test_s10_users_may_speak_twice_and_answers_do_not_outlive_their_questions() -> None:
    store = history_store(max_history_items=5)
    calls = [{"type": "function_call", "call_id": "c", "content": "call"}]
    done = [{"type": "function_call_output", "call_id": "c", "content": "done"}, message("Q2")]
    await store.store_messages("1", [message("s", "system"), message("Q1"), message("Q1b")])
    await store.store_response({"id": "1"}, calls)
    await store.store_messages("2", done, "1")
    await store.store_response({"id": "2"}, [message("A2", "assistant")], "1")
    # The call went with its output, the instructions stayed.
    assert await said(store, "2") == "s call done Q2 A2"


async def test_s12_bytes_count_too() -> None:
    store = history_store(max_history_bytes=400)
    previous = None
    for number in range(10):
        await store.store_response({"id": str(number)}, [message(str(number) * 100)], previous)
        previous = str(number)
        assert len(await said(store, previous)) <= 400


async def test_s13_what_is_not_stored_can_be_continued_on_its_connection() -> None:
    class Unstored(ConnectionStore):
        async def append(self, *arguments: Any, **options: Any) -> bool:
            return await super().append(*arguments, **options, store=False)

    shared = MemoryStore()
    store = ConversationHistoryStore(Unstored(shared), tenant="t")
    await turn(store, "1")
    await turn(store, "2", "1")
    assert await said(store, "2") == "Q1 A1 Q2 A2"
    assert shared.turns == 0


async def test_s14_one_tenant_s_id_is_nothing_to_another() -> None:
    shared = MemoryStore()
    mine = ConversationHistoryStore(shared, tenant="me")
    yours = ConversationHistoryStore(shared, tenant="you")
    await turn(mine, "1")
    assert await yours.load_response("1") is None
    with pytest.raises(PreviousResponseNotFound):
        await yours.get_conversation_history("1")
    with pytest.raises(ValueError, match="tenant"):
        ConversationHistoryStore(shared, tenant="")


async def test_s11_racing_writers_lose_nothing() -> None:
    store = history_store()
    await turn(store, "root")
    await asyncio.gather(*(turn(store, str(number), "root") for number in range(50)))
    for number in range(50):
        assert await said(store, str(number)) == f"Qroot Aroot Q{number} A{number}"


EVERYTHING = [
    {"type": "reasoning", "id": "rs", "summary": []},
    {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    {"type": "custom_tool_call", "call_id": "c", "name": "t", "input": "x"},
    {"type": "function_call", "call_id": "f", "name": "t", "arguments": "{}"},
]


async def test_litellm_every_item_of_a_turn_is_kept() -> None:
    """Theirs kept the text of messages and function calls alone."""
    session = SessionHistory(ConnectionStore(MemoryStore()), tenant="t")
    asked = [{"type": "message", "role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]
    assert await session.extend(None, asked) == asked
    assert await session.record(None, asked, {"id": "r1", "status": "completed", "output": EVERYTHING})
    more = await session.extend("r1", "Go on")
    assert more == [*asked, *EVERYTHING, {"type": "message", "role": "user", "content": "Go on"}]


async def test_litellm_turns_that_failed_are_no_part_of_the_chain() -> None:
    session = SessionHistory(MemoryStore(), tenant="t")
    for status, kept in (("failed", False), ("cancelled", False), ("incomplete", True), ("completed", True)):
        assert await session.record(None, "Q", {"id": status, "status": status, "output": []}) is kept
        if kept:
            assert texts(await session.extend(status, [])) == "Q"
        else:
            with pytest.raises(PreviousResponseNotFound):
                await session.extend(status, [])


async def test_litellm_a_turn_costs_what_it_adds() -> None:
    """Theirs copied the whole list at every turn: a thousand turns took 500 times the memory of one list."""
    store = MemoryStore(bounds=Bounds(max_history_items=None))
    session = SessionHistory(store, tenant="t")
    previous = None
    sizes = []
    for number in range(300):
        await session.record(previous, "x" * 1_000, {"id": f"r{number}", "output": []})
        previous = f"r{number}"
        sizes.append(store.size)
    assert sizes[-1] < 300 * 2 * (sizes[1] - sizes[0])
    assert len(await session.extend(previous, [])) == 300


async def test_litellm_an_unknown_response_is_not_passed_on() -> None:
    session = SessionHistory(MemoryStore(), tenant="t")
    with pytest.raises(PreviousResponseNotFound):
        await session.extend("resp_warmup_0", "Q")


async def test_returned_items_are_the_caller_s() -> None:
    session = SessionHistory(MemoryStore(), tenant="t")
    asked = [message("Q")]
    (await session.extend(None, asked))[0]["content"] = "changed"
    await session.record(None, asked, {"id": "r1", "output": []})
    (await session.extend("r1", []))[0]["content"] = "changed"
    assert asked == await session.extend("r1", []) == [message("Q")]
