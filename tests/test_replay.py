"""The replay upstream: its streams are legal and add up, its HTTP is bounded, its statistics are true."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from penstock.replay import SCRIPTS, RecordingError, ReplayServer
from penstock.replay.http import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADERS

JSON = dict[str, Any]

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
TERMINALS = {"response.completed", "response.incomplete", "response.failed"}


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ReplayServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=10) as opened:
        yield opened


def request(path: str, model: str, text: str = "How is the weir?", **more: Any) -> JSON:
    said = {"input": text} if path == RESPONSES else {"messages": [{"role": "user", "content": text}]}
    return {"model": model, **said, **more}


def stream(client: httpx.Client, path: str, model: str, **more: Any) -> bytes:
    answer = client.post(path, json=request(path, model, stream=True, **more))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.content


def events(body: bytes) -> list[JSON]:
    """A naive decoder of the server's own framing, which also holds `event:` to the payload's type."""
    decoded = []
    for block in body.split(b"\n\n")[:-1]:
        *names, data = block.split(b"\n")
        if data == b"data: [DONE]":
            assert block == body.split(b"\n\n")[-2]
            continue
        event = json.loads(data.removeprefix(b"data: "))
        assert names == ([b"event: " + event["type"].encode()] if "type" in event else [])
        decoded.append(event)
    return decoded


def without_ids(value: Any) -> Any:
    """The value without what numbers a request: ids and creation times."""
    if isinstance(value, dict):
        hidden = ("id", "call_id", "created_at", "created", "item_id", "object")
        return {key: without_ids(inner) for key, inner in value.items() if key not in hidden}
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("model", SCRIPTS)
def test_a_responses_stream_is_a_legal_life(client: httpx.Client, model: str) -> None:
    seen = events(stream(client, RESPONSES, model))
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert [event["type"] for event in seen[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] for event in seen if event["type"] in TERMINALS] == [seen[-1]["type"]]
    final = seen[-1]["response"]
    assert seen[-1]["type"] == f"response.{final['status']}"
    assert final["usage"]["output_tokens"] == sum(event["type"].endswith(".delta") for event in seen) or (
        model in {"replay-reasoning", "replay-full"}
    )
    opened: dict[int, JSON] = {}
    for event in seen[2:-1]:
        index = event.get("output_index", -1)
        if event["type"] == "response.output_item.added":
            assert index == len(opened)
            opened[index] = event["item"]
        elif event["type"] == "response.output_item.done":
            assert event["item"] == final["output"][index]
            assert event["item"]["id"] == opened[index]["id"]
        elif event["type"] != "error":
            assert event["item_id"] == opened[index]["id"]
    assert len(opened) == len(final["output"])
    ids = [final["id"], *(item["id"] for item in final["output"])]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("model", SCRIPTS)
def test_the_deltas_of_a_responses_stream_add_up(client: httpx.Client, model: str) -> None:
    seen = events(stream(client, RESPONSES, model))
    built: Counter[tuple[Any, ...]] = Counter()
    text: dict[tuple[Any, ...], str] = {}
    for event in seen:
        family, _, last = event["type"].rpartition(".")
        place = (family, event.get("output_index"), event.get("content_index"), event.get("summary_index"))
        if last == "delta":
            text[place] = text.get(place, "") + event["delta"]
        elif last == "done" and place in text:
            built[place] += 1
            assert text[place] in (event.get("text"), event.get("arguments"), event.get("refusal"))
    assert set(built) == set(text)
    assert set(built.values()) <= {1}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("model", [name for name in SCRIPTS if name != "replay-failed"])
def test_a_stream_and_a_whole_answer_say_the_same(client: httpx.Client, path: str, model: str) -> None:
    whole = client.post(path, json=request(path, model)).json()
    seen = events(stream(client, path, model))
    if path == RESPONSES:
        assert without_ids(seen[-1]["response"]) == without_ids(whole)
        return
    choice = whole["choices"][0]
    for field in ("content", "refusal", "reasoning_content"):
        said = "".join(chunk["choices"][0]["delta"].get(field) or "" for chunk in seen)
        assert said == (choice["message"].get(field) or "")
    assert seen[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    arguments: Counter[int] = Counter()
    for call in (call for chunk in seen for call in chunk["choices"][0]["delta"].get("tool_calls", [])):
        arguments[call["index"]] += len(call["function"]["arguments"])
    called = choice["message"].get("tool_calls", [])
    assert arguments == Counter({i: len(call["function"]["arguments"]) for i, call in enumerate(called)})


def test_what_fails_fails_in_both_apis(client: httpx.Client) -> None:
    seen = events(stream(client, RESPONSES, "replay-failed"))
    assert [event["type"] for event in seen[-2:]] == ["error", "response.failed"]
    assert seen[-1]["response"]["error"]["code"] == "server_error"
    body = stream(client, CHAT, "replay-failed")
    assert "error" in events(body)[-1]
    assert b"[DONE]" not in body
    assert client.post(RESPONSES, json=request(RESPONSES, "replay-failed")).json()["status"] == "failed"
    assert client.post(CHAT, json=request(CHAT, "replay-failed")).status_code == 500


def test_usage_comes_when_asked_for_and_agrees(client: httpx.Client) -> None:
    plain = events(stream(client, CHAT, "replay-text"))
    assert not any("usage" in chunk for chunk in plain)
    asked = events(stream(client, CHAT, "replay-text", stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None for chunk in asked[:-1])
    assert asked[-1]["choices"] == []
    usage = asked[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    final = client.post(RESPONSES, json=request(RESPONSES, "replay-text")).json()
    assert final["usage"]["output_tokens"] == usage["completion_tokens"]


def test_several_choices_take_turns(client: httpx.Client) -> None:
    seen = events(stream(client, CHAT, "replay-echo", text="one two three", n=3))
    said = dict.fromkeys(range(3), "")
    for choice in (choice for chunk in seen for choice in chunk["choices"]):
        said[choice["index"]] += choice["delta"].get("content") or ""
    assert said == dict.fromkeys(range(3), "one two three")
    assert [chunk["choices"][0]["index"] for chunk in seen[:4]] == [0, 1, 2, 0]


def test_the_request_shapes_the_script(client: httpx.Client) -> None:
    schema = {
        "type": "object",
        "required": ["city", "days", "mode", "wet"],
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "array", "items": {"type": "integer"}},
            "mode": {"enum": ["fast", "slow"]},
            "wet": {"type": ["boolean", "null"]},
            "optional": {"type": "number"},
        },
    }
    expected = {"city": "upper-weir", "days": [2], "mode": "fast", "wet": True}
    tool = {"type": "function", "name": "forecast", "parameters": schema}
    call = client.post(RESPONSES, json=request(RESPONSES, "replay-tools", tools=[tool])).json()["output"][0]
    assert (call["name"], json.loads(call["arguments"])) == ("forecast", expected)
    answered = [{"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}]
    body = {"model": "replay-tools", "input": answered, "tools": [tool]}
    assert client.post(RESPONSES, json=body).json()["output"][0]["type"] == "message"
    nested = {"type": "function", "function": {"name": "forecast", "parameters": schema}}
    message = client.post(CHAT, json=request(CHAT, "replay-tools", tools=[nested])).json()["choices"][0]
    assert json.loads(message["message"]["tool_calls"][0]["function"]["arguments"]) == expected
    shape = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
    structured = client.post(RESPONSES, json=request(RESPONSES, "replay-json", text_=0) | {"text": shape})
    assert json.loads(structured.json()["output"][0]["content"][0]["text"]) == expected


def test_an_echo_is_exact_down_to_lone_surrogates(client: httpx.Client) -> None:
    text = 'Tabs\t"quotes" \u2028 水 🌊 \\ud83d'
    whole = client.post(RESPONSES, json=request(RESPONSES, "replay-echo", text)).json()
    assert whole["output"][0]["content"][0]["text"] == text
    body = b'{"model":"replay-echo","input":"lone \\ud83d here"}'
    answer = client.post(RESPONSES, content=body, headers={"content-type": "application/json"})
    assert b"lone \\ud83d here" in answer.content


def test_any_other_model_gets_text_and_a_false_script_does_not(client: httpx.Client) -> None:
    assert client.post(RESPONSES, json=request(RESPONSES, "gpt-5")).json()["model"] == "gpt-5"
    answer = client.post(RESPONSES, json=request(RESPONSES, "replay-nonsense"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", RESPONSES, b"", 400, "parse"),
        ("POST", RESPONSES, b"{", 400, "parse"),
        ("POST", RESPONSES, b"[1]", 400, "object"),
        ("POST", RESPONSES, b'{"model": NaN}', 400, "NaN"),
        ("POST", RESPONSES, b"[" * 100_000, 400, "parse"),
        ("POST", RESPONSES, b"\xff\xfe\xfd", 400, "parse"),
        ("POST", RESPONSES, b"{}", 400, "model"),
        ("POST", RESPONSES, b'{"model": 7}', 400, "model"),
        ("POST", RESPONSES, b'{"model": "m", "input": 7}', 400, "input"),
        ("POST", CHAT, b'{"model": "m"}', 400, "messages"),
        ("POST", CHAT, b'{"model": "m", "messages": ["x"]}', 400, "messages"),
        ("POST", CHAT, b'{"model": "m", "messages": [], "n": 99}', 400, "'n'"),
        ("POST", RESPONSES, b'{"model": "m+nonsense"}', 400, "known is status="),
        ("POST", RESPONSES, b'{"model": "m+cut"}', 400, "known is cut@N"),
        ("POST", RESPONSES, b'{"model": "m+cut@x"}', 400, "whole number"),
        ("GET", RESPONSES, b"", 405, "GET"),
        ("POST", "/health", b"", 405, "POST"),
        ("POST", "/v2/responses", b"{}", 404, "/v2/responses"),
    ],
)
def test_bad_requests_get_an_error_object(
    client: httpx.Client, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    answer = client.request(method, path, content=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert answer.headers["x-request-id"].startswith("req_")


def exchange(server: ReplayServer, data: bytes) -> bytes:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(data)
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk
    return answer


HEAD = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
BODY = b'{"model":"replay-echo","input":"ok"}'


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health SPDY/3\r\n\r\n", 505),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\x00y\r\n\r\n", 400),
        (b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /health?" + b"a=b&" * 999 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * MAX_HEADERS + b"\r\n", 431),
        (b"GET /" + b"x" * MAX_HEAD_BYTES, 431),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1_0\r\n\r\n", 400),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"t: x\r\n" * MAX_HEADERS, 400),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x;ext\r\n%b\r\n0\r\nt: x\r\n\r\n" % (len(BODY), BODY),
            200,
        ),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY), 100),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_http_is_bounded_and_strict(server: ReplayServer, data: bytes, status: int) -> None:
    answer = exchange(server, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status == 100:
        assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in answer


def test_a_body_for_http_1_0_has_no_chunks(server: ReplayServer) -> None:
    body = b'{"model":"replay-echo","input":"ok","stream":true}'
    answer = exchange(
        server, b"POST /v1/responses HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert events(content)[-1]["type"] == "response.completed"


def test_a_request_one_byte_at_a_time(server: ReplayServer) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    data = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            raw.sendall(data[at : at + 1])
        assert raw.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_refused_body_still_gets_its_answer(client: httpx.Client) -> None:
    answer = client.post(RESPONSES, content=bytes(MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize(
    ("limit", "data", "status"),
    [
        ("HEAD_TIMEOUT", b"GET /health HTT", b"HTTP/1.1 408 "),
        ("HEAD_TIMEOUT", b"", b""),
        ("BODY_TIMEOUT", HEAD + b"Content-Length: 9\r\n\r\n{", b"HTTP/1.1 408 "),
    ],
)
def test_a_client_that_dawdles_is_let_go(
    server: ReplayServer, monkeypatch: pytest.MonkeyPatch, limit: str, data: bytes, status: bytes
) -> None:
    monkeypatch.setattr(f"penstock.replay.http.{limit}", 0.05)
    monkeypatch.setattr("penstock.replay.http.LINGER_SECONDS", 0.05)
    assert exchange(server, data)[:13] == status


def test_a_slow_reader_gets_everything(server: ReplayServer, client: httpx.Client) -> None:
    body = request(RESPONSES, "replay-text+big-event=20000000", stream=True)
    with client.stream("POST", RESPONSES, json=body) as answer:
        time.sleep(0.1)
        assert server.stats.active == 1
        seen = events(answer.read())
    assert max(len(event.get("delta", "")) for event in seen) == 20_000_000
    assert seen[-1]["type"] == "response.completed"


def test_a_mistake_of_the_server_is_a_500(
    server: ReplayServer,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "_models", broken)
    with caplog.at_level(logging.ERROR):
        assert client.get("/v1/models").status_code == 500
    assert "GET /v1/models" in caplog.text


async def test_connections_are_kept_and_small_writes_not_delayed() -> None:
    async with ReplayServer() as server, aiohttp.ClientSession() as session:
        for _ in range(3):
            body = request(RESPONSES, "replay-text", stream=True)
            async with session.post(server.base_url + "/responses", json=body) as answer:
                assert events(await answer.read())[-1]["type"] == "response.completed"
        assert server.stats.connections == 1
        assert (server.stats.streams, server.stats.completed) == (3, 3)
        (connection,) = server._open
        peer = connection.transport.get_extra_info("socket")
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def hold_open(server: ReplayServer, model: str) -> None:
    """Start a stream, take its beginning if it has one, and read no further."""
    async with aiohttp.ClientSession() as session:
        body = request(RESPONSES, model, stream=True)
        async with session.post(server.base_url + "/responses", json=body):
            await asyncio.sleep(60)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 — the server has no event for what a test waits for
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("fault", ["stall@3", "rate=5", "delay=60", "big-event=60000000"])
async def test_a_client_that_leaves_is_noticed(fault: str) -> None:
    """While the server is silent, and while its writes are stuck because the client does not read."""
    async with ReplayServer(faults=fault) as server:
        client = asyncio.create_task(hold_open(server, "replay-text"))
        await until(lambda: server.stats.active == 1)
        await asyncio.sleep(0.05)
        client.cancel()
        await until(lambda: server.stats.aborted == 1)
        assert (server.stats.active, server.stats.completed) == (0, 0)
        await until(lambda: not server._open)


async def test_ids_belong_to_their_request() -> None:
    """However many answers are under way, an answer's ids and its request id share their number."""
    async with ReplayServer(faults="delay=0.05") as server, aiohttp.ClientSession() as session:

        async def ids() -> tuple[str, str]:
            async with session.post(server.base_url + "/responses", json=request(RESPONSES, "m")) as answer:
                return answer.headers["x-request-id"][-8:], (await answer.json())["id"][5:13]

        pairs = await asyncio.gather(*(ids() for _ in range(20)))
    assert len(set(pairs)) == 20
    assert all(of_request == of_response for of_request, of_response in pairs)


async def test_stopping_ends_what_is_open() -> None:
    server = ReplayServer(faults="stall@1")
    await server.start()
    async with aiohttp.ClientSession() as session:
        body = request(RESPONSES, "replay-text", stream=True)
        async with session.post(server.base_url + "/responses", json=body) as answer:
            await answer.content.readany()
            await asyncio.wait_for(server.stop(), 2)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
    await server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


def test_a_taken_port_is_an_error_in_the_caller_s_thread(server: ReplayServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), ReplayServer(port=port):
        pass


def test_requests_are_remembered_without_credentials(server: ReplayServer, client: httpx.Client) -> None:
    client.post(
        RESPONSES, json=request(RESPONSES, "m"), headers={"authorization": "Bearer secret", "x-a": "b"}
    )
    seen = server.seen[-1]
    assert (seen.path, seen.json()["model"], seen.headers["x-a"]) == (RESPONSES, "m", "b")
    assert "secret" not in repr(seen)


def test_models_and_health(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    listed = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert listed == set(SCRIPTS)
    assert client.get("/stats").json()["requests"] > 0


RECORDED = [
    {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress"}},
    {"type": "response.output_text.delta", "sequence_number": 1, "output_index": 0, "delta": "Hi"},
    {"type": "response.completed", "sequence_number": 2, "response": {"id": "resp_1", "status": "completed"}},
]


def test_recordings_are_served_as_they_stand(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n\n".join(json.dumps(event) for event in RECORDED))
    framed = tmp_path / "framed.sse"
    odd = b": hello\r\n\r\nid: 7\r\ndata:[1,\r\ndata: 2]\r\n\r\nevent: x\r\ndata\r\n\r\ndata: last\r\n"
    framed.write_bytes(odd)
    chunks = tmp_path / "chunks.jsonl"
    ends = [({"content": "Hi"}, None), ({}, "stop")]
    chosen = [{"index": 0, "delta": delta, "finish_reason": reason} for delta, reason in ends]
    chunks.write_text("\n".join(json.dumps({"id": "c", "choices": [choice]}) for choice in chosen))
    with (
        ReplayServer(recordings=[lines, framed, chunks]) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert events(stream(client, RESPONSES, "anything")) == RECORDED
        assert stream(client, CHAT, "framed") == odd.removeprefix(b": hello\r\n\r\n")
        assert events(stream(client, RESPONSES, "lines+cut@2")) == RECORDED[:2]
        assert client.post(RESPONSES, json=request(RESPONSES, "lines")).json()["status"] == "completed"
        answer = client.post(CHAT, json=request(CHAT, "chunks")).json()
        assert answer["choices"][0]["message"]["content"] == "Hi"
        assert client.post(RESPONSES, json=request(RESPONSES, "framed")).status_code == 400
        assert client.post(CHAT, json=request(CHAT, "lines")).status_code == 400
        assert events(stream(client, RESPONSES, "replay-empty"))[-1]["response"]["output"] == []
        assert {"lines", "framed"} < {model["id"] for model in client.get("/v1/models").json()["data"]}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01\x02", b"plain text", b'{"a": 1}\n{broken'])
def test_a_file_without_a_stream_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rubbish"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="rubbish"):
        ReplayServer(recordings=[path])
