"""The gateway over HTTP: both APIs from upstreams of either, history, keys, limits, routes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateways import Running, running, settings
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families as families

from penstock import Decoder, lint
from penstock.gateway import read

KEY = "sk-0123456789abcdefghij"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: Running) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


MODELS = ("replay", "chat", "responses")
"""The upstream that speaks both, the one behind Chat Completions alone, the one behind Responses alone."""


def body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "input": "Hello", **more}


def chat_body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}


@pytest.mark.parametrize("model", MODELS)
def test_responses_whole_and_streamed_say_the_same(client: httpx.Client, model: str) -> None:
    whole = client.post("/responses", json=body(f"{model}-text")).raise_for_status().json()
    answer = client.post("/responses", json=body(f"{model}-text", stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-request-id"].startswith("req_")
    assert 0 < int(answer.headers["x-penstock-overhead-us"]) < 1_000_000
    assert lint(answer.content) == []
    last = Decoder().feed(answer.content)[-1]
    assert last.type == "response.completed"
    assert text(last["response"]) == text(whole)
    assert last["response"]["usage"] == whole["usage"]


@pytest.mark.parametrize("model", MODELS)
def test_chat_whole_and_streamed_say_the_same(client: httpx.Client, model: str) -> None:
    whole = client.post("/chat/completions", json=chat_body(f"{model}-text")).raise_for_status().json()
    answer = client.post("/chat/completions", json=chat_body(f"{model}-text", stream=True))
    assert answer.content.endswith(b"data: [DONE]\n\n")
    chunks = [event.json() for event in Decoder().feed(answer.content)]
    said = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
    assert "".join(said) == whole["choices"][0]["message"]["content"]


def test_what_needs_no_change_passes_untouched(gateway: Running, client: httpx.Client) -> None:
    """The request's bytes go up as they came, the stream's bytes come down as they were sent."""
    raw = b'{ "model":"replay-text" ,"input":"Hello","stream":true, "x_unknown": 1.50 }'
    through = client.post("/responses", content=raw, headers={"content-type": "application/json"}).content
    assert gateway.upstream.seen[-1].body == raw
    direct = httpx.post(f"{gateway.upstream.base_url}/responses", content=raw, trust_env=False).content
    assert without_ids(through) == without_ids(direct)


def without_ids(stream: bytes) -> list[Any]:
    """The events but for what counts the upstream's requests."""
    events = [(event.name, event.json()) for event in Decoder().feed(stream)]
    for _, event in events:
        event.pop("item_id", None)
        for holder in (event.get("response"), event.get("item")):
            if holder:
                holder.update(id="", created_at=0, completed_at=0)
                for item in holder.get("output", ()):
                    item["id"] = ""
    return events


def test_a_model_s_alias_is_sent_by_its_name(gateway: Running, client: httpx.Client) -> None:
    client.post("/chat/completions", json=chat_body("chat-text")).raise_for_status()
    assert gateway.upstream.seen[-1].json()["model"] == "replay-text"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_by_previous_response_id(
    gateway: Running, client: httpx.Client, model: str, stream: bool
) -> None:
    first = ask(client, body(f"{model}-echo", input="one", stream=stream))
    second = ask(client, body(f"{model}-echo", input="two", stream=stream, previous_response_id=first["id"]))
    third = ask(
        client, body(f"{model}-echo", input="three", stream=stream, previous_response_id=second["id"])
    )
    assert text(third) == "three"
    sent = gateway.upstream.seen[-1].json()
    said = [words(item) for item in sent.get("input") or sent["messages"]]
    assert said == ["one", "one", "two", "two", "three"]
    for response, previous in ((first, None), (second, first["id"]), (third, second["id"])):
        assert response["previous_response_id"] == previous, "though the upstream was not told"
    assert "previous_response_id" not in sent
    shown = client.get(f"/responses/{second['id']}").json()
    assert (shown["id"], shown["previous_response_id"]) == (second["id"], first["id"])


@pytest.mark.parametrize("model", MODELS)
def test_every_event_and_an_unstored_answer_name_what_they_continue(client: httpx.Client, model: str) -> None:
    first = ask(client, body(f"{model}-echo", input="one"))["id"]
    request = body(f"{model}-echo", input="two", previous_response_id=first, store=False)
    assert ask(client, request)["previous_response_id"] == first
    events = Decoder().feed(client.post("/responses", json={**request, "stream": True}).content)
    responses = [event["response"] for event in events if "response" in event]
    assert len(responses) == 3
    assert {response["previous_response_id"] for response in responses} == {first}


def test_what_is_not_to_be_stored_cannot_be_continued(client: httpx.Client) -> None:
    first = ask(client, body("replay-text", store=False))
    answer = client.post("/responses", json=body("replay-text", previous_response_id=first["id"]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert answer.json()["error"]["param"] == "previous_response_id"
    assert client.get(f"/responses/{first['id']}").status_code == 404


def test_a_stored_response_by_its_routes(client: httpx.Client) -> None:
    made = ask(client, body("replay-text", stream=True, input=[{"role": "user", "content": "a"},
                                                             {"role": "user", "content": "b"}]))  # fmt: skip
    path = f"/responses/{made['id']}"
    assert text(client.get(path).json()) == text(made)
    items = client.get(f"{path}/input_items", params={"order": "asc"}).json()
    assert [item["content"] for item in items["data"]] == ["a", "b"]
    assert items["first_id"] == items["data"][0]["id"]
    page = client.get(f"{path}/input_items", params={"limit": 1}).json()
    assert [item["content"] for item in page["data"]] == ["b"]
    assert page["has_more"] is True
    rest = client.get(f"{path}/input_items", params={"after": page["last_id"]}).json()
    assert [item["content"] for item in rest["data"]] == ["a"]
    assert client.get(f"{path}/input_items", params={"limit": 0}).status_code == 400
    assert client.post(f"{path}/cancel").json()["status"] == "completed"
    assert client.delete(path).json() == {"id": made["id"], "object": "response", "deleted": True}
    assert client.get(path).status_code == client.delete(path).status_code == 404


def test_a_stored_response_as_a_stream(client: httpx.Client) -> None:
    made = ask(client, body("replay-text"))
    whole = client.get(f"/responses/{made['id']}", params={"stream": "true"})
    events = Decoder().feed(whole.content)
    assert events[-1]["response"]["id"] == made["id"]
    assert lint(whole.content) == []
    resumed = client.get(f"/responses/{made['id']}", params={"stream": "true", "starting_after": "5"})
    assert (resumed.status_code, resumed.json()["error"]["code"]) == (400, "stream_not_resumable")
    bad = client.get(f"/responses/{made['id']}", params={"stream": "true", "starting_after": "x"})
    assert bad.status_code == 400


REFUSED: dict[str, tuple[str, bytes, int, str]] = {
    "no JSON": ("/responses", b"{", 400, "not JSON"),
    "no object": ("/responses", b"[]", 400, "must be a JSON object"),
    "no model": ("/responses", b"{}", 400, "model parameter"),
    "a model nobody serves": ("/responses", b'{"model":"gpt-9"}', 404, "No upstream serves"),
    "a stream that is no boolean": (
        "/chat/completions",
        b'{"model":"replay-text","stream":"x"}',
        400,
        "'stream'",
    ),
    "an id that is no text": (
        "/responses",
        b'{"model":"replay-text","previous_response_id":5}',
        400,
        "a string",
    ),
    "what the other API cannot say": (
        "/responses",
        b'{"model":"chat-text","input":"x","tools":[{"type":"web_search"}]}',
        400,
        "tools[0]",
    ),
    "what no API says": ("/responses", b'{"model":"chat-text","input":[5]}', 400, "input[0] is no object"),
    "a route that is none": ("/embeddings", b"{}", 404, "No such route"),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED.keys())
def test_refusals(client: httpx.Client, row: tuple[str, Any, int, str]) -> None:
    path, content, status, words = row
    answer = client.post(path, content=content)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert words in error["message"]
    assert error.keys() == {"message", "type", "param", "code"}


def test_methods(client: httpx.Client, gateway: Running) -> None:
    for method, path in (("GET", "/chat/completions"), ("DELETE", "/models"), ("PUT", "/responses/resp_1")):
        answer = client.request(method, path)
        assert answer.status_code == 405, (method, path)
    assert httpx.post(f"{gateway.url}/health", trust_env=False).headers["allow"] == "GET, HEAD"


def test_a_body_larger_than_allowed() -> None:
    with running(limits={"body_bytes": 2048}) as gateway, gateway.client() as client:
        for content in (b"x" * 3000, iter([b"x" * 1500, b"x" * 1500])):
            assert client.post("/responses", content=content).status_code == 413


def test_models_and_health(client: httpx.Client, gateway: Running) -> None:
    rows = client.get("/models").json()["data"]
    assert {row["id"] for row in rows} >= {"chat-text", "responses-text"}
    assert not any("*" in row["id"] for row in rows)
    assert client.get("/models/chat-text").json()["id"] == "chat-text"
    assert client.get("/models/none").status_code == 404
    for path in ("/health", "/health/liveliness"):
        assert httpx.get(gateway.url + path, trust_env=False).json()["status"] == "ok"


KEYS = [
    {"name": "a", "key": KEY},
    {"name": "b", "key": KEY[::-1], "models": ["replay-*"]},
    {"name": "slow", "key": "sk-slow", "requests_per_minute": 2},
    {"name": "one", "key": "sk-one", "max_streams": 1},
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    with running(keys=KEYS) as gateway:
        yield gateway


def test_keys(guarded: Running) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}):
        answer = httpx.get(f"{guarded.base_url}/models", headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    for headers in ({"authorization": f"bearer {KEY}"}, {"api-key": KEY}, {"x-api-key": KEY}):
        assert httpx.get(f"{guarded.base_url}/models", headers=headers, trust_env=False).status_code == 200
    assert httpx.get(f"{guarded.url}/health", trust_env=False).status_code == 200
    assert httpx.get(f"{guarded.url}/ui/state", trust_env=False).status_code == 401


def test_tenants_never_meet(guarded: Running) -> None:
    with guarded.client(KEY) as a, guarded.client(KEY[::-1]) as b:
        mine = ask(a, body("replay-text"))
        assert b.get(f"/responses/{mine['id']}").status_code == 404
        assert b.delete(f"/responses/{mine['id']}").status_code == 404
        answer = b.post("/responses", json=body("replay-text", previous_response_id=mine["id"]))
        assert answer.json()["error"]["code"] == "previous_response_not_found"
        assert a.get(f"/responses/{mine['id']}").status_code == 200


def test_a_key_s_models(guarded: Running) -> None:
    with guarded.client(KEY[::-1]) as client:
        assert client.post("/responses", json=body("replay-text")).status_code == 200
        assert client.post("/responses", json=body("chat-text")).status_code == 404
        assert {row["id"].partition("-")[0] for row in client.get("/models").json()["data"]} <= {"replay"}


def test_a_key_s_rate(guarded: Running) -> None:
    with guarded.client("sk-slow") as client:
        answers = [client.post("/responses", json=body("replay-text")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 31
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"


def test_a_key_s_streams(guarded: Running) -> None:
    with guarded.client("sk-one") as client:
        slow = body("replay-text", stream=True, metadata={"penstock_fault": "stall@3"})
        with client.stream("POST", "/responses", json=slow) as first:
            chunks = first.iter_bytes()
            next(chunks)
            assert client.post("/responses", json=body("replay-text")).status_code == 429
        assert guarded.settled()
        assert client.post("/responses", json=body("replay-text")).status_code == 200


def test_a_client_that_leaves_stops_the_upstream(gateway: Running, client: httpx.Client) -> None:
    for model in MODELS:
        for stream in (True, False):
            before = gateway.upstream.stats.aborted
            slow = body(
                f"{model}-text",
                stream=stream,
                metadata={"penstock_fault": "stall@3" if stream else "delay=9"},
            )
            with httpx.Client(trust_env=False, timeout=0.3) as leaving, pytest.raises(httpx.ReadTimeout):
                leaving.post(f"{gateway.base_url}/responses", json=slow)
            stats = gateway.upstream.stats
            assert gateway.settled(lambda: stats.aborted > before)  # noqa: B023 - it is called now
            assert gateway.settled()
    assert gateway.gateway.ledger.terminals["client_disconnected", "responses"] >= 6


def test_a_running_response_can_be_cancelled(gateway: Running, client: httpx.Client) -> None:
    for model in MODELS:
        slow = body(f"{model}-text", stream=True, metadata={"penstock_fault": "stall@6"})
        with client.stream("POST", "/responses", json=slow) as answer:
            chunks = answer.iter_bytes()
            decoder = Decoder()
            events = decoder.feed(next(chunks))
            cancelled = (
                client.post(f"/responses/{events[0]['response']['id']}/cancel").raise_for_status().json()
            )
            assert cancelled["status"] == "cancelled"
            for chunk in chunks:
                events += decoder.feed(chunk)
        assert events[-1].type in ("response.failed", "response.incomplete", "response.cancelled")
        assert gateway.settled()


def test_replicas_share_the_work_and_stand_in_for_each_other() -> None:
    with running() as one, running() as two:
        replica = {"dialect": "both", "models": ["replay-*"], "forward_headers": ["x-penstock-fault"]}
        upstreams = [
            {"name": "one", "url": one.upstream.base_url, **replica},
            {"name": "two", "url": two.upstream.base_url, **replica},
            {"name": "gone", "url": "http://127.0.0.1:9/v1", **replica},
        ]
        with (
            running(upstreams=upstreams, retry={"attempts": 3, "cooldown": 60}) as gateway,
            gateway.client() as client,
        ):
            for number in range(12):
                client.post("/responses", json=body("replay-text", input=f"{number}")).raise_for_status()
            assert one.upstream.stats.requests >= 4
            assert two.upstream.stats.requests >= 4
            assert gateway.gateway.ledger.retries["gone"] == 1
            failing = client.post(
                "/responses", json=body("replay-text"), headers={"x-penstock-fault": "status=500"}
            )
            assert failing.status_code in (500, 502)
            assert failing.json()["error"]["type"] == "server_error"


def test_a_conversation_stays_with_the_replica_that_has_read_it() -> None:
    """By the prefix of its input, whatever the turns in between; other conversations go elsewhere."""
    with running() as one, running() as two:
        replicas = [
            {"name": name, "url": place.upstream.base_url, "dialect": "both", "history": "gateway"}
            for name, place in (("one", one), ("two", two))
        ]
        with running(upstreams=replicas) as gateway, gateway.client() as client:
            served: dict[str, set[str]] = {}
            talks: dict[str, list[dict[str, Any]]] = {f"talk {number}": [] for number in range(6)}
            for turn in range(4):
                for name, messages in talks.items():
                    messages.append({"role": "user", "content": f"{name}, {turn}"})
                    client.post(
                        "/chat/completions", json={"model": "replay-text", "messages": messages}
                    ).raise_for_status()
                    served.setdefault(name, set()).add(gateway.gateway.ledger.ended[-1].upstream)
            assert all(len(replica) == 1 for replica in served.values()), served
            assert len(set.union(*served.values())) == 2


def test_a_response_that_an_upstream_keeps_is_continued_there() -> None:
    keys = [{"name": "a", "key": KEY}, {"name": "b", "key": KEY[::-1]}]
    with running() as one, running() as two:
        replicas = [
            {"name": name, "url": place.upstream.base_url, "models": ["replay-*"]}
            for name, place in (("one", one), ("two", two))
        ]
        with running(upstreams=replicas, keys=keys) as gateway, gateway.client(KEY) as client:
            for stream in (True, False, True, False):
                first = ask(client, body("replay-echo", input=f"one {stream}", stream=stream))
                second = ask(client, body("replay-echo", input="x", previous_response_id=first["id"]))
                assert second["previous_response_id"] == first["id"]
                with gateway.client(KEY[::-1]) as other:
                    foreign = body("replay-echo", previous_response_id=first["id"])
                    answer = other.post("/responses", json=foreign)
                    assert answer.json()["error"]["code"] == "previous_response_not_found"
                    assert other.get(f"/responses/{first['id']}").status_code == 404


def test_figures(client: httpx.Client, gateway: Running) -> None:
    ask(client, body("chat-text", stream=True))
    assert gateway.settled()
    figures = httpx.get(f"{gateway.url}/metrics", trust_env=False)
    assert figures.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {family.name: family for family in families(figures.text)}
    assert found.keys() >= {
        "penstock_time_to_first_token_seconds", "penstock_inter_token_latency_seconds",
        "penstock_stream_duration_seconds", "penstock_active_streams", "penstock_stream_terminal",
        "penstock_buffered_bytes", "penstock_overhead_seconds",
    }  # fmt: skip
    ended = {sample.labels["reason"]: sample.value for sample in found["penstock_stream_terminal"].samples}
    assert ended["completed"] >= 1
    counts = {
        sample.name: sample.value
        for sample in found["penstock_overhead_seconds"].samples
        if not sample.labels
    }
    assert 0 < counts["penstock_overhead_seconds_sum"] / counts["penstock_overhead_seconds_count"] < 1
    state = httpx.get(f"{gateway.url}/ui/state", trust_env=False).json()
    stream = httpx.get(f"{gateway.url}/ui/streams/{state['ended'][0]['number']}", trust_env=False).json()
    assert stream["bridge"] is True
    assert stream["terminal"] == "completed"
    assert stream["timeline"][-1][1] == stream["events"]


def test_cors() -> None:
    page = {"origin": "https://app.example"}
    with running(cors={"origins": ["https://app.example"]}) as gateway, gateway.client() as client:
        preflight = client.options(
            "/responses", headers={**page, "access-control-request-method": "POST",
                                   "access-control-request-headers": "authorization"},
        )  # fmt: skip
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == page["origin"]
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        assert client.get("/models", headers=page).headers["access-control-allow-origin"] == page["origin"]
        for origin in ("https://app.example.evil.com", "http://app.example", "null"):
            answer = client.get("/models", headers={"origin": origin})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        assert client.get("/models", headers={"origin": gateway.url}).status_code == 200


def test_time_outs_are_told_truthfully() -> None:
    with (
        running(limits={"idle": 0.2, "first_event": 0.2}, retry={"attempts": 1}) as gateway,
        gateway.client() as client,
    ):
        stalled = client.post("/responses", json=body("replay-text+stall@6", stream=True))
        last = Decoder().feed(stalled.content)[-1]
        assert (last.type, last["response"]["error"]["code"]) == ("response.failed", "upstream_idle_timeout")
        assert last["response"]["output"]
        silent = client.post("/responses", json=body("replay-text+stall@0", stream=True))
        assert (silent.status_code, silent.json()["error"]["code"]) == (504, "upstream_timeout")
        assert gateway.settled()


def test_a_silence_is_bridged_by_comments_where_asked_for() -> None:
    with running(limits={"keep_alive": 0.05}) as gateway, gateway.client() as client:
        answer = client.post("/responses", json=body("replay-text+stall@6:0.3", stream=True))
        decoder = Decoder()
        events = decoder.feed(answer.content)
        assert decoder.comments >= 2
        assert events[-1].type == "response.completed"


def test_a_client_that_never_reads_is_let_go() -> None:
    """Its upstream is paused, not drained, and both are given up after the write time-out."""
    with running(limits={"write": 0.5}) as gateway:
        data = json.dumps(body("replay-text+tokens=200000", stream=True)).encode()
        head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
            sock.sendall(head + data)
            assert gateway.settled(
                lambda: gateway.gateway.ledger.terminals["client_stalled", "responses"] == 1, 10
            )
            assert gateway.settled()
        assert gateway.upstream.stats.body_bytes < 30_000_000


def test_the_overhead_is_without_the_wait_for_the_upstream(client: httpx.Client) -> None:
    for stream in (True, False):
        slow = body("replay-text", stream=stream, metadata={"penstock_fault": "delay=1"})
        assert int(client.post("/responses", json=slow).headers["x-penstock-overhead-us"]) < 900_000


def test_new_keys_and_upstreams_by_reload(guarded: Running) -> None:

    with guarded.client("sk-later") as client, guarded.client("sk-one") as old:
        assert client.get("/models").status_code == 401
        config = read(settings(guarded.upstream, keys=[*KEYS[:3], {"name": "later", "key": "sk-later"}]), {})
        before = guarded.gateway.config
        guarded.gateway.reload(config)
        try:
            assert client.get("/models").status_code == 200
            assert old.get("/models").status_code == 401
        finally:
            guarded.gateway.reload(before)


def test_the_sdk_as_it_is(gateway: Running) -> None:
    with OpenAI(base_url=gateway.base_url, api_key="none", max_retries=0) as sdk:
        for model in MODELS:
            events: list[Any] = list(sdk.responses.create(model=f"{model}-text", input="Hello", stream=True))
            final = events[-1].response
            assert final.status == "completed"
            assert sdk.responses.retrieve(final.id).output_text == final.output_text
            with sdk.responses.stream(model=f"{model}-tools", input="Hello") as stream:
                assert stream.get_final_response().output
            chunks = list(sdk.chat.completions.create(**chat_body(f"{model}-text"), stream=True))
            assert chunks[-1].choices[0].finish_reason == "stop"


def ask(client: httpx.Client, request: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/responses", json=request).raise_for_status()
    if not request.get("stream"):
        whole: dict[str, Any] = answer.json()
        return whole
    last: dict[str, Any] = Decoder().feed(answer.content)[-1]["response"]
    return last


def text(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


def words(item: dict[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
