"""Several workers as one gateway: whichever is asked cancels, shows, resumes and counts what others run."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from gateways import Running, serving, settings
from prometheus_client.parser import text_string_to_metric_families as families
from test_gateway import KEY, ask, body

from penstock import Decoder
from penstock.gateway import read
from penstock.gateway.siblings import Siblings, summed
from penstock.replay import ReplayServer

Pair = tuple[Running, Running]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two workers on one SQLite file, and a third that is dead."""
    path = str(tmp_path_factory.mktemp("store") / "store.sqlite")
    with ExitStack() as stack:
        upstream = stack.enter_context(ReplayServer())
        keys = [{"name": "a", "key": KEY}, {"name": "b", "key": KEY[::-1]}]
        ids = {"keys": {"k": "0123456789abcdef0123456789abcdef"}}
        keeper = {"name": "keeper", "url": upstream.base_url, "models": ["kept-*=replay-*"]}
        store = {"kind": "sqlite", "path": path}
        sections = settings(upstream, store=store, keys=keys, ids=ids)
        sections["upstreams"].append(keeper)
        config = read(sections, {})
        dead = stack.enter_context(socket.socket())  # bound and not listening
        dead.bind(("127.0.0.1", 0))
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [one.getsockname()[1] for one in (*listeners, dead)]
        one, two = (
            stack.enter_context(serving(config, upstream, listener=listener, siblings=Siblings(ports, place)))
            for place, listener in enumerate(listeners)
        )
        yield one, two


def endless(model: str) -> dict[str, object]:
    return body(model, stream=True, metadata={"penstock_fault": "stall@9"})


@pytest.mark.parametrize("model", ["replay-text", "chat-text", "kept-text"])
def test_a_response_is_cancelled_wherever_it_runs(pair: Pair, model: str) -> None:
    one, two = pair
    with one.client(KEY) as here, two.client(KEY) as there, two.client(KEY[::-1]) as other:
        with here.stream("POST", "/responses", json=endless(model)) as answer:
            chunks = answer.iter_bytes()
            content = next(chunks)
            made = Decoder().feed(content)[0]["response"]["id"]
            assert other.post(f"/responses/{made}/cancel").status_code == 404
            cancelled = there.post(f"/responses/{made}/cancel")
            assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
            content += b"".join(chunks)
        last = Decoder().feed(content)[-1]
        assert last.type in ("response.failed", "response.incomplete", "response.cancelled")
    assert one.settled()


def test_a_response_in_the_background_is_shown_and_resumed_from_anywhere(pair: Pair) -> None:
    one, two = pair
    with one.client(KEY) as here, two.client(KEY) as there:
        fault = {"penstock_fault": "rate=300"}
        made = here.post("/responses", json=body("replay-text", background=True, metadata=fault)).json()["id"]
        assert there.get(f"/responses/{made}").json()["status"] == "in_progress"
        query = {"stream": "true", "starting_after": "20"}
        for _ in range(2):  # while it runs, and when it has ended
            events = Decoder().feed(there.get(f"/responses/{made}", params=query).content)
            assert events[0].sequence_number == 21
            assert events[-1].type == "response.completed"
        assert there.get(f"/responses/{made}").json()["status"] == "completed"
        for name in ("/responses/resp_none", "/responses/resp_none?stream=true"):
            assert there.get(name).status_code == 404
        assert there.post("/responses/resp_none/cancel").status_code == 404


def test_figures_are_those_of_all(pair: Pair) -> None:
    one, two = pair

    def figures() -> list[dict[str, float]]:
        found = []
        for worker in pair:
            text = httpx.get(f"{worker.url}/metrics", trust_env=False).text
            found.append(
                {f"{row.name}{row.labels}": row.value for family in families(text) for row in family.samples}
            )
        return found

    before = figures()[0]
    for worker, times in ((one, 2), (two, 3)):
        with worker.client(KEY) as client:
            for _ in range(times):
                ask(client, body("replay-text", stream=True))
    after, same = figures()
    name = "penstock_stream_terminal_total{'reason': 'completed', 'api': 'responses'}"
    assert after[name] - before[name] == 5
    assert same[name] == after[name]
    bucket = "penstock_stream_duration_seconds_bucket{'le': '+Inf'}"
    assert after[bucket] - before[bucket] == 5


def test_the_page_shows_all(pair: Pair) -> None:
    one, two = pair
    with one.client(KEY) as here, two.client(KEY) as there:
        for client in (here, there):
            ask(client, body("chat-text", stream=True))
        with here.stream("POST", "/responses", json=endless("replay-text")) as answer:
            chunks = answer.iter_bytes()
            next(chunks)
            state = there.get(f"{two.url}/ui/state").json()
            assert state["active_streams"] == len(state["active"]) == 1
            with there.stream("GET", f"{two.url}/ui/events") as live:
                pieces = live.iter_bytes()
                (event,) = Decoder().feed(next(pieces))
                assert json.loads(event.data)["active_streams"] == 1
        assert one.settled()
        state = there.get(f"{two.url}/ui/state").json()
        numbers = [row["number"] for row in state["ended"]]
        assert len(set(numbers)) == len(numbers)
        assert {number % 3 for number in numbers} == {0, 1}
        assert state["terminals"]["completed"] >= 2
        assert state["first_token"]["p50"] is not None
        for number in numbers:
            shown = there.get(f"{two.url}/ui/streams/{number}")
            assert shown.json()["number"] == number
        assert there.get(f"{two.url}/ui/streams/999999").status_code == 404


def test_sums_keep_families_together() -> None:
    one = b'# HELP a b\n# TYPE a counter\na{x="1"} 1\n# HELP c d\n# TYPE c gauge\nc 0.5\n'
    two = b'# HELP a b\n# TYPE a counter\na{x="1"} 2\na{x="2 3"} 4\n# HELP c d\n# TYPE c gauge\nc 0.25\n'
    assert summed([one, two]) == (
        b'# HELP a b\n# TYPE a counter\na{x="1"} 3\na{x="2 3"} 4\n# HELP c d\n# TYPE c gauge\nc 0.75\n'
    )
    assert summed([one]) == one
