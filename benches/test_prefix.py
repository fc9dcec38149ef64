"""Digests of a conversation's items, beside `json.dumps` and `hashlib`, which pipecat takes them with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import PYTHON, Contender, Pass
from benches.rows import PIPECAT
from penstock.prefix import PrefixChain, hash_items, hash_json

pytestmark = pytest.mark.benchmark(timer=process_time)

OURS_IS, THEIRS_IS = (Contender(name, name, lambda _: list).version for name in ("penstock", PYTHON))
"""The versions."""

ITEMS: list[dict[str, Any]] = [
    {
        "type": "message",
        "role": "assistant" if number % 2 else "user",
        "content": [
            {"type": "input_text", "text": f"{number}: what does the valve do when it is shut? " * 12}
        ],
    }
    for number in range(100)
]
"""60 KB of text."""

TEXT = json.dumps(ITEMS, sort_keys=True).encode()
NEW = ITEMS[0]
CALLS = 100
"""Of one pass."""


def pipecat(items: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()


def repeated(call: Callable[[], Any], calls: int = CALLS) -> Pass:
    def run() -> Any:
        for _ in range(calls):
            result = call()
        return result

    return run


def ours() -> str:
    return hash_items(ITEMS)


def test_hash_items(measure: Measure) -> None:
    made = measure(rows.HASH, "", "penstock", OURS_IS, repeated(ours), per=CALLS)
    assert made == pipecat(ITEMS)


def test_hash_items_as_pipecat_does(measure: Measure) -> None:
    theirs = repeated(lambda: pipecat(ITEMS))
    made = measure(rows.HASH, "", PIPECAT, THEIRS_IS, theirs, reference=repeated(ours), per=CALLS)
    assert made == ours()


def test_hash_items_beside_its_hash_alone(measure: Measure) -> None:
    alone = repeated(lambda: hashlib.sha256(TEXT).hexdigest())
    made = measure(rows.HASH_ALONE, "", "penstock", OURS_IS, repeated(ours), reference=alone, per=CALLS)
    assert made == alone()


def test_hash_json(measure: Measure) -> None:
    made = measure(rows.HASH_JSON, "", "penstock", OURS_IS, repeated(lambda: hash_json(TEXT)), per=CALLS)
    assert made == ours()


def growing(length: int) -> Pass:
    """One new item, each time on a copy of the same chain."""
    chain = PrefixChain((ITEMS * (length // len(ITEMS)))[:length])

    def grow() -> bytes:
        longer = chain.copy()
        longer.append(NEW)
        return longer.digest

    return repeated(grow)


@pytest.mark.parametrize(("length", "row"), [(100, rows.CHAIN_SHORT), (10_000, rows.CHAIN_LONG)])
def test_one_new_item(measure: Measure, length: int, row: rows.Row) -> None:
    measure(row, "", "penstock", OURS_IS, growing(length), per=CALLS)


@pytest.mark.parametrize(("length", "row"), [(100, rows.CHAIN_SHORT), (10_000, rows.CHAIN_LONG)])
def test_one_new_item_as_pipecat_does(measure: Measure, length: int, row: rows.Row) -> None:
    items = [*(ITEMS * (length // len(ITEMS)))[:length], NEW]
    theirs = repeated(lambda: pipecat(items), 1)
    measure(row, "", PIPECAT, THEIRS_IS, theirs, reference=growing(length), reference_per=CALLS)
