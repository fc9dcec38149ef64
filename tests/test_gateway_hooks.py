"""Hooks, prices and sealed ids, from the configuration to what clients see."""

from __future__ import annotations

from typing import Any

import gateway_hooks
import pytest
from gateways import running
from test_gateway import KEY, MODELS, ask, body, chat_body, text

from penstock import Decoder
from penstock.gateway import ConfigError, Gateway, read
from penstock.ids import SealedCodec

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105


def use(*names: str) -> list[dict[str, str]]:
    return [{"use": f"gateway_hooks:{name}"} for name in names]


@pytest.fixture(autouse=True)
def seen() -> list[tuple[str, Any]]:
    gateway_hooks.SEEN.clear()
    return gateway_hooks.SEEN


def test_each_stream_is_told_of_once(seen: list[tuple[str, Any]]) -> None:
    with running(hooks=use("Audit", "Broken")) as gateway, gateway.client() as client:
        for model in MODELS:
            for stream in (True, False):
                seen.clear()
                usage = ask(client, body(f"{model}-text", stream=stream))["usage"]
                assert seen == [("request", f"{model}-text"), ("complete", usage)]
                seen.clear()
                client.post("/chat/completions", json=chat_body(f"{model}-text", stream=stream))
                assert [kind for kind, _ in seen] == ["request", "complete"]
        for fault in ("cut@5", "reset@5", "status=500"):
            seen.clear()
            client.post(
                "/responses", json=body("replay-text", stream=True), headers={"x-penstock-fault": fault}
            )
            assert seen[0][0] == "request"
            assert len(seen) <= 2


def test_events_are_edited(seen: list[tuple[str, Any]]) -> None:
    with running(hooks=use("Editor")) as gateway, gateway.client() as client:
        for model in MODELS:
            answer = client.post("/responses", json=body(f"{model}-text", stream=True))
            events = Decoder().feed(answer.content)
            assert "response.in_progress" not in [event.type for event in events]
            said = "".join(event.delta or "" for event in events)
            assert said == said.upper() != ""
            assert events[-1].type == "response.completed"
        chunks = client.post("/chat/completions", json=chat_body("chat-text", stream=True)).content
        assert chunks.endswith(b"data: [DONE]\n\n")


def test_a_guard_ends_the_stream() -> None:
    with running(hooks=use("Guard")) as gateway, gateway.client() as client:
        refused = client.post("/responses", json=body("replay-text", input="forbidden"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "refused")
        for model in MODELS:
            answer = client.post("/responses", json=body(f"{model}-text", stream=True))
            last = Decoder().feed(answer.content)[-1]
            assert last.type == "response.failed"
            assert last["response"]["error"] == {"code": "refused", "message": "This is not said."}
        assert gateway.settled()


def test_prices_are_stamped_on_answers() -> None:
    prices = {"*": {"input": 1_000_000, "output": 2_000_000}}
    with running(prices=prices) as gateway, gateway.client() as client:
        for model in MODELS:
            for stream in (True, False):
                usage = ask(client, body(f"{model}-text", stream=stream))["usage"]
                assert usage["cost"] == usage["input_tokens"] + 2 * usage["output_tokens"]


def test_hooks_that_are_none() -> None:
    upstream = {"name": "a", "url": "http://h/v1"}
    config = read({"upstreams": [upstream], "hooks": [{"use": "nowhere:Hook"}, *use("Audit", "None_")]}, {})
    with pytest.raises(ConfigError) as caught:
        Gateway(config)
    assert caught.value.problems == [
        "hooks[0].use: cannot be loaded: ModuleNotFoundError",
        "hooks[2].use: cannot be loaded: AttributeError",
    ]


def test_sealed_ids_name_the_replica_and_the_tenant() -> None:
    keys = [{"name": "a", "key": KEY}, {"name": "b", "key": KEY[::-1]}]
    with running() as one, running() as two:
        replicas = [
            {"name": name, "url": place.upstream.base_url, "models": ["replay-*"]}
            for name, place in (("one", one), ("two", two))
        ]
        sections = {"upstreams": replicas, "keys": keys, "ids": {"keys": {"k1": SECRET}}}
        made: dict[str, str] = {}
        with running(**sections) as gateway, gateway.client(KEY) as client:
            for number, stream in enumerate((True, False, True, False)):
                first = ask(client, body("replay-echo", input=f"{number}", stream=stream))
                upstream, _, own = SealedCodec({"k1": SECRET}).open(first["id"], tenant="a")
                assert upstream is not None
                assert own.startswith("resp_0000")
                made[upstream] = first["id"]
        # Another process with the same keys knows them as well.
        with (
            running(**sections) as gateway,
            gateway.client(KEY) as client,
            gateway.client(KEY[::-1]) as other,
        ):
            assert set(made) == {"one", "two"}
            for upstream, response_id in made.items():
                for stream in (True, False):
                    request = body("replay-echo", input="on", stream=stream, previous_response_id=response_id)
                    second = ask(client, request)
                    assert text(second) == "on"
                    assert second["previous_response_id"] == response_id
                    assert gateway.gateway.ledger.ended[-1].upstream == upstream
                    answer = other.post("/responses", json=request)
                    assert answer.json()["error"]["code"] == "previous_response_not_found"
                assert other.get(f"/responses/{response_id}").status_code == 404
            raw = body("replay-echo", previous_response_id="resp_00000001")
            assert (
                client.post("/responses", json=raw).json()["error"]["code"] == "previous_response_not_found"
            )
