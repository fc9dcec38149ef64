"""Background responses: they outlive their client, and their streams can be resumed from any event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gateways import Running, running
from openai import OpenAI
from test_gateway import KEY, MODELS, ask, body, text

from penstock import Decoder, Event, lint


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running(keys=[{"name": "a", "key": KEY}, {"name": "b", "key": KEY[::-1]}]) as gateway:
        yield gateway


def slow(model: str, **more: Any) -> dict[str, Any]:
    fault = {"penstock_fault": "rate=400"}
    return body(f"{model}-text", background=True, metadata=fault, **more)


def resume(gateway: Running, response_id: str, after: int | None = None, key: str = KEY) -> list[Event]:
    with gateway.client(key) as client:
        query = {"stream": "true"} if after is None else {"stream": "true", "starting_after": str(after)}
        return Decoder().feed(client.get(f"/responses/{response_id}", params=query).content)


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_that_its_client_left_is_resumed(gateway: Running, model: str) -> None:
    with gateway.client(KEY) as client:
        decoder, events = Decoder(), []
        with client.stream("POST", "/responses", json=slow(model, stream=True)) as answer:
            for chunk in answer.iter_bytes():
                events += decoder.feed(chunk)
                if len(events) > 20:
                    break
        response_id = events[0]["response"]["id"]
        running = client.get(f"/responses/{response_id}").json()
        assert running["status"] == "in_progress"
        rest = resume(gateway, response_id, events[-1].sequence_number)
        assert [event.type for event in (events + rest)].count("response.completed") == 1
        said = "".join(event.delta or "" for event in events + rest)
        final = rest[-1]["response"]
        assert said == text(final)
        assert text(client.get(f"/responses/{response_id}").json()) == said
        again = ask(client, body(f"{model}-echo", input="on", previous_response_id=response_id))
        assert text(again) == "on"
    assert gateway.settled()
    whole = resume(gateway, response_id)
    assert whole[0].type == "response.created"
    assert "".join(event.delta or "" for event in whole) == said
    assert lint(b"".join(b"data: " + event.data + b"\n\n" for event in whole)) == []


def test_without_a_stream_it_is_polled(gateway: Running) -> None:
    with OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client:
        for model in MODELS:
            response = client.responses.create(
                model=f"{model}-text",
                input="Hello",
                background=True,
                metadata={"penstock_fault": "rate=2000"},
            )
            assert response.status == "in_progress"
            assert response.background is True
            done = lambda made=response.id: client.responses.retrieve(made).status == "completed"  # noqa: E731
            assert gateway.settled(done, 15)


def test_it_can_be_cancelled(gateway: Running) -> None:
    with gateway.client(KEY) as client:
        fault = {"penstock_fault": "stall@9"}
        made = client.post("/responses", json=body("chat-text", background=True, metadata=fault)).json()
        assert client.post(f"/responses/{made['id']}/cancel").json()["status"] == "cancelled"
        assert gateway.settled()
        assert resume(gateway, made["id"])[-1].type in (
            "response.failed",
            "response.cancelled",
            "response.incomplete",
        )


def test_tenants_never_meet(gateway: Running) -> None:
    with gateway.client(KEY) as client, gateway.client(KEY[::-1]) as other:
        made = client.post("/responses", json=slow("replay")).json()
        assert other.get(f"/responses/{made['id']}").status_code == 404
        assert other.get(f"/responses/{made['id']}", params={"stream": "true"}).status_code == 404
        assert other.post(f"/responses/{made['id']}/cancel").status_code == 404
    assert gateway.settled()


def test_what_is_refused(gateway: Running) -> None:
    with gateway.client(KEY) as client:
        answer = client.post("/responses", json=body("replay-text", background=True, store=False))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")
        failing = body("replay-text", background=True, metadata={"penstock_fault": "status=400"})
        assert client.post("/responses", json=failing).status_code == 400
        made = client.post("/responses", json=slow("replay")).json()
        for after in ("x", "-1", "9" * 30):
            query = {"stream": "true", "starting_after": after}
            assert client.get(f"/responses/{made['id']}", params=query).status_code == 400
    assert gateway.settled()
