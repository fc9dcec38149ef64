"""What the upstream gets wrong, and the one truthful terminal that clients read of it.

Each fault at several places, in both APIs, from upstreams of both: whatever happens after the first byte ends
in exactly one terminal, a completed one only where the upstream said so. Before it the status tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateways import Running, running

from penstock import Decoder, Event, lint


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running(limits={"idle": 0.25, "first_event": 2}, retry={"attempts": 1}) as gateway:
        yield gateway


PLACES = (1, 4, 40)
KINDS = ("cut", "close", "reset", "stall", "error-event", "json-error")
BROKEN = [f"{kind}@{place}" for kind in KINDS for place in PLACES]
"""What ends a stream too soon."""

ODD = ["crlf", "cr", "split=7", "split=1,tokens=20", "coalesce=8192", "comment-every=3", "big-event=1000000",
       "drip=512:1", "no-blank-at-eof", "done"]  # fmt: skip
"""What is unusual and whole."""

ROUTES = [(api, model) for api in ("responses", "chat") for model in ("replay", "chat", "responses")]


def stream(gateway: Running, api: str, model: str, fault: str) -> httpx.Response:
    asked: dict[str, Any] = {"model": f"{model}-text", "stream": True}
    asked |= {"input": "Hi"} if api == "responses" else {"messages": [{"role": "user", "content": "Hi"}]}
    path = "/responses" if api == "responses" else "/chat/completions"
    with gateway.client() as client:
        return client.post(path, json=asked, headers={"x-penstock-fault": fault})


def terminals(api: str, content: bytes) -> list[str]:
    """Every event that ends a stream, in order."""
    events = Decoder(sentinel=None).feed(content)
    if api == "responses":
        kinds = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
        return [event.type for event in events if event.type in kinds]
    return [kind for event in events if (kind := _chat_end(event)) is not None]


def _chat_end(event: Event) -> str | None:
    if event.data == b"[DONE]":
        return None
    data = event.json()
    if "error" in data:
        return "error"
    return next((choice["finish_reason"] for choice in data["choices"] if choice["finish_reason"]), None)


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize(("api", "model"), ROUTES)
def test_exactly_one_terminal_which_is_not_completed(
    gateway: Running, api: str, model: str, fault: str
) -> None:
    answer = stream(gateway, api, model, fault)
    assert answer.status_code == 200
    (terminal,) = terminals(api, answer.content)
    assert terminal in ("response.failed", "error")
    if api == "responses":
        own = fault.startswith("error-event") and model != "chat"  # the upstream's own terminal, as it came
        assert own or lint(answer.content) == []
        last = Decoder().feed(answer.content)[-1]["response"]
        assert last["error"]["message"]
        if not fault.endswith("@1"):
            assert len(last["output"]) == 1, "what had come is kept"
    assert gateway.settled()


@pytest.mark.parametrize("fault", ODD)
@pytest.mark.parametrize(("api", "model"), ROUTES)
def test_odd_streams_are_whole(gateway: Running, api: str, model: str, fault: str) -> None:
    answer = stream(gateway, api, model, fault)
    assert answer.status_code == 200
    (terminal,) = terminals(api, answer.content)
    assert terminal in ("response.completed", "stop")


@pytest.mark.parametrize(
    ("fault", "status"),
    [("status=500", 500), ("status=503:7", 503), ("status=429:7", 429), ("status=401", 502),
     ("status=400", 400), ("html", 502), ("json-error", 502), ("reset@0", 502), ("close@0", 502)],
)  # fmt: skip
@pytest.mark.parametrize(("api", "model"), ROUTES)
def test_before_the_first_byte_the_status_tells(
    gateway: Running, api: str, model: str, fault: str, status: int
) -> None:
    answer = stream(gateway, api, model, fault)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    if ":7" in fault:
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_the_wrong_dialect_is_not_taken_for_an_answer(gateway: Running, api: str) -> None:
    assert stream(gateway, api, "replay", "wrong-dialect").status_code == 502
    for model in ("chat", "responses"):
        answer = stream(gateway, api, model, "wrong-dialect")
        if answer.status_code == 200:
            (terminal,) = terminals(api, answer.content)
            assert terminal in ("response.failed", "error")
        else:
            assert answer.status_code == 502


def test_an_upstream_that_recovers_is_asked_again() -> None:
    with running(retry={"attempts": 2}) as gateway:
        for api, model in ROUTES:
            fault = f"status=503,first=1,comment-every={1 + len(api) * 10 + len(model)}"
            assert stream(gateway, api, model, fault).status_code == 200
        assert gateway.gateway.ledger.retries.total() == len(ROUTES)
        before = gateway.upstream.stats.requests
        assert stream(gateway, "responses", "replay", "cut@1").status_code == 200
        assert gateway.upstream.stats.requests == before + 1, "nothing is asked again after the first byte"
