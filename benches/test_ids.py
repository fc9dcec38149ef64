"""Response ids, beside base64 in Python, which is what LiteLLM's are."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import pytest

from benches import rows
from benches.measure import Measure
from benches.peers import PYTHON, Contender, Pass
from benches.rows import BASE64_IDS
from penstock.ids import IdRewriter, LiteLLMCodec, SealedCodec

pytestmark = pytest.mark.benchmark(timer=process_time)

OURS_IS, THEIRS_IS = (Contender(name, name, lambda _: list).version for name in ("penstock", PYTHON))
"""The versions."""

CALLS = 1_000
"""Of one pass."""

ID = "resp_0ad69c3c5fcb01f60068eba78cacd08193bf9a57724aa55ab8"
SEALED = SealedCodec({"k1": bytes(range(32))})
LITELLM = LiteLLMCodec()
OURS = SEALED.seal(ID, tenant="acme", provider="openai", model="gpt-5.2")
THEIRS = LITELLM.encode(ID, provider="openai", model="gpt-5.2")

CREATED = json.dumps(
    {
        "type": "response.created",
        "sequence_number": 0,
        "response": {
            "id": ID,
            "object": "response",
            "created_at": 1760274316,
            "status": "in_progress",
            "error": None,
            "instructions": "Be brief.",
            "model": "gpt-5.2",
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "metadata": {},
        },
    },
    separators=(",", ":"),
)
DELTA = '{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","delta":" valve"}'


def repeated(call: Callable[[], Any]) -> Pass:
    def run() -> Any:
        for _ in range(CALLS):
            result = call()
        return result

    return run


def seal() -> str:
    return SEALED.seal(ID, tenant="acme", provider="openai", model="gpt-5.2")


def unseal() -> Any:
    return SEALED.open(OURS, tenant="acme")


def encode_in_python() -> str:
    text = f"litellm:custom_llm_provider:openai;model_id:gpt-5.2;response_id:{ID}"
    return "resp_" + base64.b64encode(text.encode()).decode()


def decode_in_python() -> Any:
    parts = base64.b64decode(THEIRS.replace("resp_", "").encode()).decode().split(";")
    return tuple(part.rpartition(":")[2] for part in parts)


def rewriting() -> Callable[[], str]:
    rewriter = IdRewriter(SEALED, "encode", tenant="acme", provider="openai", model="gpt-5.2")
    return partial(rewriter.message, CREATED)


def rewrite_in_python() -> str:
    event = json.loads(CREATED)
    event["response"]["id"] = encode_in_python()
    return json.dumps(event)


WORK: list[tuple[rows.Row, Callable[[], Any], Callable[[], Any]]] = [
    (rows.SEAL, seal, encode_in_python),
    (rows.OPEN, unseal, decode_in_python),
    (rows.ENCODE, lambda: LITELLM.encode(ID, provider="openai", model="gpt-5.2"), encode_in_python),
    (rows.DECODE_ID, lambda: LITELLM.decode(THEIRS), decode_in_python),
    (rows.REWRITE, rewriting(), rewrite_in_python),
]

each_work = pytest.mark.parametrize(("row", "ours", "theirs"), WORK, ids=[row.key for row, _, _ in WORK])


@each_work
def test_penstock(
    measure: Measure, row: rows.Row, ours: Callable[[], Any], theirs: Callable[[], Any]
) -> None:
    made = measure(row, "", "penstock", OURS_IS, repeated(ours), per=CALLS)
    assert len(made) == len(ours())


@each_work
def test_python(measure: Measure, row: rows.Row, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    made = measure(row, "", BASE64_IDS, THEIRS_IS, repeated(theirs), reference=repeated(ours), per=CALLS)
    assert len(made) > 0


def test_an_event_without_a_response(measure: Measure) -> None:
    rewriter = IdRewriter(SEALED, "encode", tenant="acme")
    made = measure(rows.PASS, "", "penstock", OURS_IS, repeated(partial(rewriter.message, DELTA)), per=CALLS)
    assert made is DELTA
