"""One more turn of a conversation of a thousand, and its history back, beside the lists that others keep."""

from __future__ import annotations

import asyncio
import copy
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import process_time
from typing import Any

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import PYTHON, Contender, Pass
from benches.rows import COPIED_LIST, DEEP_COPY, DEQUE_COPY
from penstock.store import Bounds, MemoryStore

pytestmark = pytest.mark.benchmark(timer=process_time)

TURNS = 1_000
CALLS = 200
"""Of one pass."""

QUESTION = [
    {"type": "message", "role": "user", "content": "And what does the valve do when the dam is full? " * 3}
]
ANSWER = [
    {
        "type": "message",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "It lets water past the turbines. " * 8, "annotations": []}
        ],
    }
]
QUESTION_TEXT, ANSWER_TEXT = (json.dumps(items).encode() for items in (QUESTION, ANSWER))

ROOMY = Bounds(max_tenant_turns=2 * TURNS, max_tenant_bytes=None, max_bytes=None, max_history_items=None)
"""Old branches of the benchmark go, the conversation stays."""


@contextmanager
def loop() -> Iterator[Callable[[Any], Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def response(number: int) -> bytes:
    return b'{"id":"resp_%d","object":"response","status":"completed","output":%b}' % (number, ANSWER_TEXT)


async def conversation(turns: int) -> MemoryStore:
    store = MemoryStore(bounds=ROOMY)
    for number in range(turns):
        parent = f"resp_{number - 1}" if number else None
        await store.append("t", response(number), input=QUESTION_TEXT, parent=parent)
    return store


def appending(run: Callable[[Any], Any], turns: int = TURNS, *, dicts: bool = False) -> Pass:
    """Appends to the last turn of a conversation, each time a branch of its own."""
    store = run(conversation(turns))
    tip, numbers = f"resp_{turns - 1}", count(turns)

    async def append() -> int:
        for number in numbers:
            await store.append("t", response(number), input=QUESTION_TEXT, parent=tip)
            if number % CALLS == 0:
                break
        return len(await store.load_history("t", f"resp_{number}"))

    async def append_dicts() -> int:
        for number in numbers:
            made = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": ANSWER}
            await store.append("t", made, input=QUESTION, parent=tip)
            if number % CALLS == 0:
                break
        return len(await store.load_history("t", f"resp_{number}"))

    return lambda: run(append_dicts() if dicts else append())


def copied_list(_: Any) -> Pass:
    """A dict of lists, the whole one copied at each turn, as LiteLLM's managed WebSocket keeps them."""
    histories: dict[str, list[Any]] = {"tip": [*QUESTION, *ANSWER] * TURNS}
    numbers = count(1)

    def run() -> int:
        for number in numbers:
            histories[f"resp_{number}"] = histories["tip"] + QUESTION + ANSWER
            histories.pop(f"resp_{number - CALLS}", None)
            if number % CALLS == 0:
                break
        return len(histories[f"resp_{number}"])

    return run


def deque_copy(_: Any) -> Pass:
    """A deque for each conversation in an `OrderedDict`, copied for a branch, as TensorRT-LLM's has to be."""
    histories: OrderedDict[str, deque[Any]] = OrderedDict(tip=deque([*QUESTION, *ANSWER] * TURNS))
    numbers = count(1)

    def run() -> int:
        for number in numbers:
            branch = histories["tip"].copy()
            branch.extend(QUESTION)
            branch.extend(ANSWER)
            histories[f"resp_{number}"] = branch
            histories.move_to_end("tip")
            while len(histories) > CALLS:
                histories.popitem(last=False)
            if number % CALLS == 0:
                break
        return len(histories[f"resp_{number}"])

    return run


def race(measure: Measure, row: rows.Row, who: Contender, ours: Contender, per: int) -> Any:
    with loop() as run:
        prepare: Any = who.prepare
        reference: Any = ours.prepare
        beside = None if who is ours else reference(run)
        return measure(row, "generated", who.name, who.version, prepare(run), reference=beside, per=per)


def contender(name: str, prepare: Any) -> Contender:
    return Contender(name, "penstock" if name == "penstock" else PYTHON, prepare)


APPEND = contender("penstock", appending)
APPENDERS = [APPEND, contender(COPIED_LIST, copied_list), contender(DEQUE_COPY, deque_copy)]


@pytest.mark.parametrize("who", APPENDERS, ids=str)
def test_append(measure: Measure, who: Contender) -> None:
    assert race(measure, rows.STORE_APPEND, who, APPEND, CALLS) == 2 * TURNS + 2


def test_append_of_dicts(measure: Measure) -> None:
    who = contender("penstock", lambda run: appending(run, dicts=True))
    assert race(measure, rows.STORE_APPEND_DICTS, who, who, CALLS) == 2 * TURNS + 2


def test_appending_costs_the_same_for_all_lengths(measure: Measure) -> None:
    with loop() as run:
        long, short = appending(run, 10 * TURNS), appending(run, 10)
        measure(rows.STORE_GROWTH, "", "penstock", APPEND.version, long, reference=short)


def loading(run: Callable[[Any], Any]) -> Pass:
    store = run(conversation(TURNS))
    tip = f"resp_{TURNS - 1}"

    async def load() -> int:
        for _ in range(CALLS):
            items = await store.load_history("t", tip)
        return len(items)

    return lambda: run(load())


def deep_copy(_: Any) -> Pass:
    """What makes a list the caller's own, as penstock's are."""
    history = [*QUESTION, *ANSWER] * TURNS

    def run() -> int:
        return len([copy.deepcopy(item) for item in history])

    return run


def reading(what: str) -> Callable[[Callable[[Any], Any]], Pass]:
    def prepare(run: Callable[[Any], Any]) -> Pass:
        items = run(run_history(run))
        return lambda: items.data.count(b'"role"') if what == "data" else len(items.json())

    async def run_history(_: Any) -> Any:
        return await (await conversation(TURNS)).load_history("t", f"resp_{TURNS - 1}")

    return prepare


def test_load(measure: Measure) -> None:
    who = contender("penstock", loading)
    assert race(measure, rows.STORE_LOAD, who, who, CALLS) == 2 * TURNS


def test_read_as_text(measure: Measure) -> None:
    who = contender("penstock", reading("data"))
    assert race(measure, rows.STORE_DATA, who, who, 1) == 2 * TURNS


OBJECTS = contender("penstock", reading("json"))


@pytest.mark.parametrize("who", [OBJECTS, contender(DEEP_COPY, deep_copy)], ids=str)
def test_read_as_objects(measure: Measure, who: Contender) -> None:
    assert race(measure, rows.STORE_JSON, who, OBJECTS, 1) == 2 * TURNS
