"""Each fault of the replay upstream, as a real client meets it, and any of them together."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from penstock.replay import GRAMMAR, FaultError, Faults, ReplayServer
from penstock.replay.wire import Beat, Stop, Wait, frame, steps

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
HEALTHY = 11
"""Events of `replay-echo` for the text "one two three" through the Responses API."""


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ReplayServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=10) as opened:
        yield opened


class Got:
    """What a client saw of one stream."""

    def __init__(
        self, client: httpx.Client, fault: str, path: str = RESPONSES, *, stream: bool = True
    ) -> None:
        said: dict[str, Any] = {
            "input": "one two three",
            "messages": [{"role": "user", "content": "one two three"}],
        }
        body = {"model": "replay-echo", "stream": stream, **said}
        self.pieces: list[bytes] = []
        self.error: Exception | None = None
        started = time.monotonic()
        with client.stream("POST", path, json=body, headers={"x-penstock-fault": fault}) as answer:
            self.head = time.monotonic() - started
            self.status, self.headers = answer.status_code, answer.headers
            try:
                self.pieces.extend(answer.iter_raw())
            except httpx.TransportError as error:
                self.error = error
        self.seconds = time.monotonic() - started
        self.body = b"".join(self.pieces)

    @property
    def payloads(self) -> list[bytes]:
        """The data of each whole event, sentinel included, whatever the line ends."""
        lines = self.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = lines.split(b"\n\n")[:-1]
        return [block.rpartition(b"data: ")[2] for block in blocks if b"data: " in block]

    @property
    def types(self) -> list[str | None]:
        """The `type` of each event; None for a payload that has none or is no JSON."""
        return [_type(payload) for payload in self.payloads]

    @property
    def whole(self) -> bool:
        return self.error is None and self.types[-1] == "response.completed"


def _type(payload: bytes) -> str | None:
    try:
        value = json.loads(payload)
    except ValueError:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


WEBSOCKET = [
    "no-websocket", "max-age=", "close-after=", "error=", "flat-errors", "bare-errors", "binary@", "noise",
    "twice", "cancel-as=", "cancel-after=", "late=", "ghosts=",
]  # fmt: skip
"""What means something over a WebSocket only, and has its rows in `test_replay_websocket`."""

ROWS: dict[str, Callable[[Got], bool]] = {
    "status=500": lambda got: got.status == 500 and b'"server_error"' in got.body,
    "status=429:7": lambda got: (
        got.headers["retry-after"] == "7" and json.loads(got.body)["error"]["code"] == "rate_limit_exceeded"
    ),
    "status=401": lambda got: json.loads(got.body)["error"]["type"] == "authentication_error",
    "status=503": lambda got: got.headers["retry-after"] == "1" and "x-request-id" in got.headers,
    "json-error": lambda got: got.status == 200 and json.loads(got.body)["error"]["code"] == "server_error",
    "html": lambda got: got.headers["content-type"] == "text/html" and got.body.startswith(b"<!doctype"),
    "cut@0": lambda got: got.error is None and got.body == b"",
    "cut@4": lambda got: got.error is None and len(got.payloads) == 4,
    "cut@99": lambda got: got.whole,
    "cut-bytes@777": lambda got: got.error is None and len(got.body) == 777,
    "close@4": lambda got: isinstance(got.error, httpx.RemoteProtocolError) and len(got.payloads) == 4,
    "reset@4": lambda got: isinstance(got.error, httpx.ReadError) and len(got.payloads) == 4,
    "stall@4:0.2": lambda got: got.whole and got.seconds >= 0.2,
    "error-event@4": lambda got: got.types[4:] == ["error"] and b'"sequence_number":4' in got.payloads[4],
    "json-error@4": lambda got: len(got.payloads) == 4 and b'\n\n{"error": {' in got.body,
    "malformed@4": lambda got: got.types.index(None) == 4 and got.types[-1] == "response.completed",
    "bad-utf8@5": lambda got: b'"delta":"\xff\xe2\x82' in got.payloads[5] and len(got.payloads) == HEALTHY,
    "big-event=100000": lambda got: (
        got.whole
        and any(len(payload) > 100_000 for payload in got.payloads)
        and len(got.payloads) == HEALTHY + 1
    ),
    "tokens=50": lambda got: got.whole and got.types.count("response.output_text.delta") == 50,
    "wrong-dialect": lambda got: b'"chat.completion.chunk"' in got.body and got.body.endswith(b"[DONE]\n\n"),
    "crlf": lambda got: got.whole and got.body.count(b"\r\n") == got.body.count(b"\n") > 0,
    "cr": lambda got: got.whole and b"\n" not in got.body,
    "no-blank-at-eof": lambda got: got.error is None and got.body.endswith(b"}"),
    "no-blank-at-eof,cut@4": lambda got: got.body.endswith(b"}") and got.body.count(b"\n\n") == 3,
    "no-blank-at-eof,stall@4:0.05": lambda got: got.body.endswith(b"}") and len(got.payloads) == HEALTHY - 1,
    "done": lambda got: got.payloads[-2:][1] == b"[DONE]" and got.types[-2] == "response.completed",
    "no-done": lambda got: got.whole,
    "comment-every=2": lambda got: got.whole and got.body.count(b": still here\n\n") == (HEALTHY + 1) // 2,
    "delay=0.2": lambda got: got.whole and got.head >= 0.2,
    "rate=100": lambda got: got.whole and got.seconds >= (HEALTHY - 1) / 100 and len(got.pieces) == HEALTHY,
    "split=7": lambda got: got.whole and {len(piece) for piece in got.pieces[:-1]} == {7},
    "coalesce=1000": lambda got: got.whole and all(len(piece) >= 1000 for piece in got.pieces[:-1]),
    "outcome=failed": lambda got: got.types[-2:] == ["error", "response.failed"],
    "empty-output": lambda got: got.whole and json.loads(got.payloads[-1])["response"]["output"] == [],
    "bad-arguments": lambda got: got.whole,
    "forget": lambda got: got.whole,
    "drip=500:10": lambda got: got.whole and got.seconds >= 0.01 * (len(got.body) // 500 - 1),
    "crlf,comment-every=1,split=3,malformed@2,cut@6": lambda got: (
        len(got.payloads) == 6 and got.types[2] is None
    ),
    "stall@11:0.1": lambda got: got.whole and got.seconds >= 0.1,
    "stall@2:0.1,reset@2": lambda got: (
        got.error is not None and got.seconds >= 0.1 and len(got.payloads) == 2
    ),
    "rate=1000 cut@2 rate=0": lambda got: len(got.payloads) == 2,
}


@pytest.mark.parametrize("fault", ROWS)
def test_a_fault_is_what_it_says(client: httpx.Client, fault: str) -> None:
    got = Got(client, fault)
    assert ROWS[fault](got), (got.status, got.error, got.body[:2000])
    assert Got(client, "").whole


def test_every_fault_has_a_row() -> None:
    words = {word for row in ROWS for word in row.replace(",", " ").split()}
    missing = [key for key in GRAMMAR if not any(word == key or word.startswith(key) for word in words)]
    assert missing == ["first=", *WEBSOCKET]


@pytest.mark.parametrize(
    ("fault", "sound"),
    [
        ("no-done", lambda got: b"[DONE]" not in got.body and b'"finish_reason":"stop"' in got.body),
        ("error-event@2", lambda got: b'{"error":' in got.payloads[2] and len(got.payloads) == 3),
        ("wrong-dialect", lambda got: got.types[-1] == "response.completed" and b"[DONE]" not in got.body),
        ("cut@2", lambda got: len(got.payloads) == 2 and got.error is None),
        ("bad-utf8@2", lambda got: b'"content":"\xff\xe2\x82' in got.payloads[2]),
    ],
)
def test_faults_of_the_chat_dialect(client: httpx.Client, fault: str, sound: Callable[[Got], bool]) -> None:
    got = Got(client, fault, CHAT)
    assert sound(got), got.body


@pytest.mark.parametrize(
    ("fault", "sound"),
    [
        ("cut@0", lambda got: isinstance(got.error, httpx.RemoteProtocolError) and not got.body),
        ("cut-bytes@9", lambda got: isinstance(got.error, httpx.RemoteProtocolError) and len(got.body) == 9),
        ("reset@0", lambda got: isinstance(got.error, httpx.ReadError)),
        ("status=500", lambda got: got.status == 500),
        ("stall@0:0.1", lambda got: json.loads(got.body)["status"] == "completed" and got.seconds >= 0.1),
        ("split=9,crlf,malformed@0", lambda got: json.loads(got.body)["status"] == "completed"),
    ],
)
def test_faults_of_a_whole_answer(client: httpx.Client, fault: str, sound: Callable[[Got], bool]) -> None:
    got = Got(client, fault, stream=False)
    assert sound(got), (got.error, got.body)


@pytest.mark.parametrize(
    "where",
    [
        {"headers": {"x-penstock-fault": "cut@3"}},
        {"params": {"fault": "cut@3"}},
        {"json": {"metadata": {"penstock_fault": "cut@3"}}},
        {"json": {"model": "replay-echo+cut@3"}},
        {"json": {"model": "gpt-5+crlf+cut@3+split=5"}},
    ],
)
def test_faults_may_be_asked_for_in_four_places(client: httpx.Client, where: dict[str, Any]) -> None:
    body = {"model": "replay-echo", "input": "x", "stream": True, **where.pop("json", {})}
    answer = client.post(RESPONSES, json=body, **where)
    assert answer.content.count(b"data: ") == 3


def test_a_request_overrides_the_server_s_faults() -> None:
    with ReplayServer(faults="cut@2") as server, httpx.Client(base_url=server.url) as client:
        assert len(Got(client, "").payloads) == 2
        assert Got(client, "cut@99").whole


def test_a_server_that_recovers(client: httpx.Client) -> None:
    statuses = [Got(client, "status=500,first=2").status for _ in range(4)]
    assert statuses == [500, 500, 200, 200]
    assert Got(client, "status=503,first=2").status == 503


def test_statistics_tell_ends_apart() -> None:
    with ReplayServer() as server, httpx.Client(base_url=server.url) as client:
        for fault in ("", "cut@2", "reset@2", "status=500", "close@1"):
            Got(client, fault)
        stats = server.stats
        assert (stats.requests, stats.streams, stats.faulted, stats.refused) == (5, 4, 3, 1)
        assert (stats.aborted, stats.active, stats.completed) == (0, 0, 2)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "cut",
            "cut@",
            "cut@-1",
            "cut@1.5",
            "cut=3",
            "cut@9999999999",
            "cut@٣",
            "CUT@3",
            "json-error=1",
            "crlf=1",
        ),
        *(
            "status=200",
            "status=500:x",
            "stall@x:1",
            "stall@1:x",
            "stall@1:9999",
            "drip=5",
            "drip=0:1",
            "split=0",
        ),
        *("rate=x", "rate=1e3", "delay=-1", "tokens=1000001", "big-event=0", "@", "=", "x" * 1000),
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(FaultError) as refused:
        Faults.parse(text)
    assert len(str(refused.value)) < 1200


def test_words_are_parsed_whatever_joins_them() -> None:
    expected = Faults(cut=3, newline=b"\r\n", split=5, drip_seconds=0.25, stall=(1, 0.5))
    for join in (",", "+", " ", " , ", "++"):
        assert Faults.parse(join.join(["cut@3", "crlf", "stall@1:0.5", "drip=5:250"])) == expected
    assert Faults.parse("") == Faults()


EARLY = ("cut@3", "close@0", "cut-bytes@31")
"""Ends that may come before the pace had its turn."""


def performed(plan: Iterator[bytes | Wait | Beat | Stop]) -> tuple[bytes, float, list[Stop]]:
    taken = list(plan)
    silence = sum(step.seconds for step in taken if isinstance(step, Wait | Beat))
    stops = [step for step in taken if isinstance(step, Stop)]
    return b"".join(step for step in taken if isinstance(step, bytes)), silence, stops


def test_pacing_never_changes_a_byte() -> None:
    """Every mix of slicing and pacing delivers the same bytes and one end."""
    events = [frame(b'{"n":%d}' % n, "e") for n in range(5)]
    slicing = ("", "split=1", "split=4", "coalesce=30", "drip=3:2")
    pacing = ("", "rate=100", "stall@2:1", "stall@5:1", "rate=10,stall@0:2")
    ending = ("", "cut@3", "close@0", "reset@5", "cut-bytes@31", "error-event@4")
    for words in itertools.product(slicing, pacing, ending):
        plain = steps(events, Faults.parse(words[2]), error_event=lambda: b"data: E\n\n", json_error=b"J")
        mixed = steps(
            events, Faults.parse(",".join(words)), error_event=lambda: b"data: E\n\n", json_error=b"J"
        )
        whole, _, stops = performed(plain)
        content, silence, ends = performed(mixed)
        assert (content, ends) == (whole, stops), words
        assert (silence > 0) == bool(words[1] or words[0].startswith("drip")) or words[2] in EARLY, words
