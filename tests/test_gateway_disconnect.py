"""What becomes of a stream whose client has left: let go, drained, detached, as its upstream is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gateway_hooks
import httpx
import pytest
from gateway_servers import SERVERS, settles
from gateway_servers import serving as serving_on
from gateways import Running, serving, settings
from test_gateway import MODELS, body, chat_body, text
from test_gateway_hooks import use

from penstock import Decoder, Event
from penstock.gateway import read
from penstock.replay import ReplayServer

SLOW = {"penstock_fault": "rate=300"}
STALLED = {"penstock_fault": "stall@20"}


@contextmanager
def policed(on_disconnect: str, linger: float = 60.0) -> Iterator[Running]:
    """A gateway whose upstreams have this policy."""
    gateway_hooks.SEEN.clear()
    with ReplayServer() as upstream:
        config = settings(upstream, hooks=use("Audit"))
        for replica in config["upstreams"]:
            replica |= {"on_disconnect": on_disconnect, "linger": linger}
        with serving(read(config, {}), upstream) as gateway:
            yield gateway


def leave(client: httpx.Client, request: dict[str, Any], path: str = "/responses") -> list[Event]:
    """Read a stream's first events, and go."""
    decoder, events = Decoder(), []
    with client.stream("POST", path, json={**request, "stream": True}) as answer:
        for chunk in answer.iter_bytes():
            events += decoder.feed(chunk)
            if len(events) > 3:
                break
    return events


def told() -> list[str]:
    return [what for what, _ in gateway_hooks.SEEN]


@pytest.mark.parametrize("model", MODELS)
def test_by_default_it_is_let_go(model: str) -> None:
    with policed("cancel") as gateway, gateway.client() as client:
        leave(client, body(f"{model}-text", metadata=SLOW))
        assert gateway.settled()
        assert gateway.upstream.stats.aborted == 1
        assert gateway.gateway.ledger.ended[-1].terminal == "client_disconnected"
        assert told() == ["request", "error"]


@pytest.mark.parametrize("model", MODELS)
def test_drained_it_is_stored_and_counted_whole(model: str) -> None:
    with policed("drain") as gateway, gateway.client() as client:
        made = leave(client, body(f"{model}-text", metadata=SLOW))[0]["response"]["id"]
        assert gateway.settled()
        stored = client.get(f"/responses/{made}").json()
        assert stored["status"] == "completed"
        assert text(stored).startswith("A penstock carries")
        record = gateway.gateway.ledger.ended[-1]
        assert (record.terminal, record.usage) == ("completed", stored["usage"])
        assert told() == ["request", "complete"]
        assert gateway.upstream.stats.aborted == 0


@pytest.mark.parametrize("policy", ["drain", "detach"])
def test_chat_is_drained(policy: str) -> None:
    with policed(policy) as gateway, gateway.client() as client:
        leave(client, {**chat_body("chat-text"), "metadata": SLOW}, "/chat/completions")
        assert gateway.settled()
        assert (gateway.upstream.stats.aborted, told()) == (0, ["request", "complete"])


@pytest.mark.parametrize("policy", ["drain", "detach"])
@pytest.mark.parametrize("model", MODELS)
def test_it_lasts_no_longer_than_it_may(policy: str, model: str) -> None:
    with policed(policy, linger=0.2) as gateway, gateway.client() as client:
        leave(client, body(f"{model}-text", metadata=STALLED))
        assert gateway.settled(lambda: gateway.upstream.stats.aborted == 1)
        assert gateway.settled()
        assert told()[0] == "request"
        assert len(told()) == 2


@pytest.mark.parametrize("model", MODELS)
def test_detached_it_is_resumed(model: str) -> None:
    with policed("detach") as gateway, gateway.client() as client:
        events = leave(client, body(f"{model}-text", metadata=SLOW))
        made = events[0]["response"]["id"]
        query = {"stream": "true", "starting_after": str(events[-1].sequence_number)}
        rest = Decoder().feed(client.get(f"/responses/{made}", params=query).content)
        assert rest[0].sequence_number == (events[-1].sequence_number or 0) + 1
        assert rest[-1].type == "response.completed"
        said = "".join(event.delta or "" for event in events + rest)
        assert said == text(rest[-1]["response"]) == text(client.get(f"/responses/{made}").json())
        assert gateway.settled()
        whole = client.post("/responses", json=body(f"{model}-text", stream=True)).content
        assert Decoder().feed(whole)[-1].type == "response.completed", "who stays notices nothing"


def test_detached_it_can_be_cancelled() -> None:
    with policed("detach") as gateway, gateway.client() as client:
        made = leave(client, body("replay-text", metadata=STALLED))[0]["response"]["id"]
        assert client.post(f"/responses/{made}/cancel").json()["status"] == "cancelled"
        assert gateway.settled()


@pytest.mark.parametrize("kind", SERVERS)
def test_every_server_drains(kind: str) -> None:
    with (
        ReplayServer() as upstream,
        serving_on(kind, upstream.base_url) as served,
        httpx.Client(base_url=f"{served.url}/v1", trust_env=False, timeout=30) as client,
    ):
        made = leave(client, body("drained-text", metadata=SLOW))[0]["response"]["id"]
        assert settles(lambda: served.state()["active"] == 0, 20) is not None
        assert client.get(f"/responses/{made}").json()["status"] == "completed"
        late = body("drained-text", metadata={"penstock_fault": "delay=0.4"})
        with pytest.raises(httpx.ReadTimeout):
            client.post("/responses", json=late, timeout=0.2)
        assert settles(lambda: served.state()["active"] == upstream.stats.active == 0, 20) is not None
