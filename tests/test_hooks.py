"""Hooks: what they may change, how they are told of the end, and that their faults stay theirs."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from asgi_client import Client, Source
from relay_streams import CHAT, MESSAGES, RESPONSES, USAGE, terminals

from penstock import ClientDisconnected, Decoder, Event, GuardFailed, IncompleteStream, StreamTimeout, lint
from penstock.asgi import EventStreamResponse
from penstock.hooks import DROP, Hooks, Price, PriceTable

STREAM = b"".join(RESPONSES)
PROMPT = "sk-canary-5f2a"


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    async def on_complete(self, final: Any) -> None:
        await asyncio.sleep(0)
        self.calls.append(("complete", final))

    def on_error(self, error: Any) -> None:
        self.calls.append(("error", error))


class On:
    """A hook of one method, given as a function."""

    def __init__(self, guard: bool = False, events: Any = None, **methods: Any) -> None:
        self.guard = guard
        self.events = events
        self.__dict__ |= methods


def fails(_argument: Any) -> Any:
    raise RuntimeError(PROMPT)


async def fails_later(_argument: Any) -> Any:
    await asyncio.sleep(0)
    raise RuntimeError(PROMPT)


async def hangs(_argument: Any) -> Any:
    await asyncio.sleep(30)


async def served(source: Any, *hooks: Any, client: Client | None = None, **options: Any) -> Client:
    return await (client or Client()).call(EventStreamResponse(source, hooks=hooks, **options))


@pytest.mark.parametrize(("frames", "status"), [(RESPONSES, "completed"), (CHAT, None), (MESSAGES, None)])
async def test_the_end_is_told_once_and_before_the_client_knows(frames: list[bytes], status: Any) -> None:
    told = Told()
    client = Client()

    def on_complete(final: Any) -> None:
        assert terminals(client.body, "messages" if frames is MESSAGES else "responses") == []
        assert b"[DONE]" not in client.body
        told.calls.append(("before", final))

    await served(frames, On(on_complete=on_complete), told, client=client)
    assert client.body == b"".join(frames)
    assert [name for name, _ in told.calls] == ["before", "complete"]
    final = told.calls[1][1]
    if frames is MESSAGES:
        assert final is None
    else:
        assert final.get("status") == status
        assert final["usage"]


@pytest.mark.parametrize(
    ("source", "options", "kind"),
    [
        (lambda: RESPONSES[:9], {}, IncompleteStream),
        (lambda: CHAT[:3], {}, IncompleteStream),
        (list, {}, IncompleteStream),
        (lambda: Source(*RESPONSES[:9], ConnectionResetError()), {}, ConnectionResetError),
        (lambda: Source(*RESPONSES[:9], 30.0), {"idle_timeout": 0.02}, StreamTimeout),
        (lambda: Source(*RESPONSES[:9], 30.0), {"client": 4}, ClientDisconnected),
    ],
)
async def test_a_cut_is_told_once(source: Any, options: dict[str, Any], kind: type[Exception]) -> None:
    told = Told()
    if "client" in options:
        options = {"client": Client(leave_after=4)}
    client = await served(source(), told, **options)
    [(name, error)] = told.calls
    assert (name, type(error)) == ("error", kind)
    if client.status == 200 and hasattr(error, "partial"):
        assert error.partial["status" if "status" in error.partial else "choices"]


async def test_a_failed_response_of_the_upstream_is_an_end_of_its_own() -> None:
    told = Told()
    last = json.loads(RESPONSES[-1].split(b"data: ")[1])
    last |= {"type": "response.failed", "response": last["response"] | {"status": "failed"}}
    await served([*RESPONSES[:-1], b"data: " + json.dumps(last).encode() + b"\n\n"], told)
    [(name, final)] = told.calls
    assert (name, final["status"]) == ("complete", "failed")


async def test_a_request_that_is_given_up_is_told() -> None:
    told, client = Told(), Client()
    call = asyncio.ensure_future(served(Source(*RESPONSES[:9], 30.0), told, client=client))
    while len(client.bodies) < 9:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    [(name, error)] = told.calls
    assert (name, type(error)) == ("error", ClientDisconnected)
    assert error.partial["status"] == "in_progress"


async def test_the_upstream_is_let_go_before_hooks_hear_of_a_client_that_left() -> None:
    source = Source(*RESPONSES[:9], 30.0)
    closed = []
    await served(
        source, On(on_error=lambda _error: closed.append(source.closed)), client=Client(leave_after=4)
    )
    assert closed == [1]


async def test_only_the_first_end_counts() -> None:
    told = Told()
    hooks = Hooks([told])
    await hooks.complete({})
    await hooks.error(ValueError())
    await hooks.complete({})
    assert [name for name, _ in told.calls] == ["complete"]


async def test_events_that_nobody_edits_pass_as_they_came() -> None:
    seen: list[str] = []
    odd = b": comment\r\nid: 1\r\n" + RESPONSES[0].replace(b"\n", b"\r\n")
    stream = odd + b"".join(RESPONSES[1:])
    chunks = [stream[at : at + 50] for at in range(0, len(stream), 50)]
    client = await served(chunks, On(on_event=lambda event: seen.append(event.type)))
    assert client.body == stream
    assert seen == [event.type for event in Decoder().feed(STREAM)]


async def test_only_edited_events_are_written_anew() -> None:
    def shout(event: Event) -> Any:
        return dict(event.json()) | {"delta": event["delta"].upper()}

    types = {"response.output_text.delta"}
    client = await served(RESPONSES, On(on_event=shout, events=types))
    for was, now in zip(Decoder().feed(STREAM), Decoder().feed(client.body), strict=True):
        assert (now.data == was.data) == (was.type not in types)
        assert was.type not in types or now.delta == (was.delta or "").upper()


@pytest.mark.parametrize(
    "kind", [lambda event: event, Event.json, lambda event: event.data, lambda event: event.data.decode()]
)
async def test_an_event_may_be_given_in_any_form(kind: Any) -> None:
    hook = On(on_event=kind)
    given = await Hooks([hook]).edit(Decoder().feed(STREAM))
    if given is not None:
        assert [event.json() for event in given] == [event.json() for event in Decoder().feed(STREAM)]


async def test_hooks_see_what_the_ones_before_made() -> None:
    async def second(event: Event) -> Any:
        return {"type": "b"} if event.type == "a" else None

    hooks = Hooks([On(on_event=lambda _event: {"type": "a"}), On(on_event=second)])
    edited = await hooks.edit([Event("{}"), Event("{}")])
    assert edited is not None
    assert [event.type for event in edited] == ["b", "b"]


async def test_dropped_events_do_not_come_and_ends_cannot_be_dropped() -> None:
    reasoning = {
        f"response.reasoning_summary_{what}"
        for what in ("part.added", "text.delta", "text.done", "part.done")
    }
    client = await served(RESPONSES, On(on_event=lambda _event: DROP, events=reasoning))
    assert not reasoning & {event.type for event in Decoder().feed(client.body)}
    everything = await served(RESPONSES, On(on_event=lambda _event: DROP))
    assert terminals(everything.body, "responses") == ["response.completed"]
    assert await Hooks([On(on_event=lambda _event: DROP)]).edit([Event("{}")]) == []


async def test_the_final_object_is_what_the_client_got() -> None:
    told = Told()
    mask = On(
        on_event=lambda event: {**event.json(), "response": {**event["response"], "model": "masked"}},
        events={"response.completed"},
    )
    await served(RESPONSES, mask, told)
    assert told.calls[0][1]["model"] == "masked"


async def test_the_request_may_be_changed_before_the_upstream_is_asked() -> None:
    asked: list[Any] = []

    def source(request: Any) -> list[bytes]:
        asked.append(request)
        return RESPONSES

    async def add(request: dict[str, Any]) -> dict[str, Any]:
        return request | {"b": 2}

    await served(source, On(on_request=add), On(on_request=lambda _request: None), request={"a": 1})
    assert asked == [{"a": 1, "b": 2}]


async def test_a_guard_refuses_a_request() -> None:
    def refuse(_request: Any) -> None:
        raise GuardFailed("Not this one.", code="policy")

    told = Told()
    called: list[Any] = []
    client = await served(called.append, On(guard=True, on_request=refuse), told, request=1)
    assert (client.status, called) == (400, [])
    error = json.loads(client.body)["error"]
    assert (error["message"], error["code"]) == ("Not this one.", "policy")
    assert [name for name, _ in told.calls] == ["error"]


@pytest.mark.parametrize("fault", [fails, fails_later, hangs])
@pytest.mark.parametrize("method", ["on_request", "on_event", "on_usage", "on_complete"])
async def test_a_failing_hook_breaks_nothing(method: str, fault: Any, caplog: Any) -> None:
    if fault is hangs and method == "on_event":
        pytest.skip("41 events of one time-out each")
    told = Told()
    client = await served(RESPONSES, On(**{method: fault}), told, hook_timeout=0.01)
    assert client.body == STREAM
    assert [name for name, _ in told.calls] == ["complete"]
    assert f"On.{method} failed with" in caplog.text
    assert PROMPT not in caplog.text


@pytest.mark.parametrize("guard", [False, True])
async def test_a_failing_on_error_breaks_nothing(guard: bool, caplog: Any) -> None:
    told = Told()
    client = await served(RESPONSES[:5], On(guard=guard, on_error=fails), told)
    assert terminals(client.body, "responses") == ["response.failed"]
    assert [name for name, _ in told.calls] == ["error"]
    assert PROMPT not in caplog.text


@pytest.mark.parametrize("fault", [fails, fails_later, hangs])
@pytest.mark.parametrize("method", ["on_request", "on_event", "on_usage", "on_complete"])
async def test_a_failing_guard_ends_the_stream(method: str, fault: Any, caplog: Any) -> None:
    told = Told()
    hooks = [On(guard=True, **{method: fault}), told]
    client = await served(RESPONSES, *hooks, hook_timeout=0.01)
    if method in ("on_request", "on_event"):
        assert client.status == 400
    else:
        assert terminals(client.body, "responses") == ["response.failed"]
        assert lint(client.body) == []
    assert b"content_filter" in client.body
    assert [name for name, _ in told.calls] == ["error"]
    assert isinstance(told.calls[0][1], GuardFailed)
    assert PROMPT not in client.body.decode() + caplog.text


async def test_a_guard_stops_a_stream_in_the_middle() -> None:
    def stop(event: Event) -> None:
        if event.delta and "chütz" in event.delta:
            raise GuardFailed("No gates.")

    client = await served(RESPONSES, On(guard=True, on_event=stop))
    assert terminals(client.body, "responses") == ["response.failed"]
    assert lint(client.body) == []
    assert b"No gates." in client.body
    assert "chütz".encode() not in client.body


async def test_without_hooks_nothing_is_held_back() -> None:
    assert not Hooks()
    assert not Hooks([Told()]).watches_events
    await Hooks().complete({})
    await Hooks().error(ValueError())


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (USAGE, Price(1, 2), 67e-6),
        ({"prompt_tokens": 7, "completion_tokens": 30}, Price(1, 2), 67e-6),
        ({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}}, Price(1, 2, cached=0.5), 8e-6),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 99}}, Price(1, 2, cached=0), 0.0),
        (
            {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}},
            Price(1, 2, 0, 10),
            24e-6,
        ),
        ({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}}, Price(1, 2), 10e-6),
        ({"input_tokens": -1, "output_tokens": "x", "input_tokens_details": []}, Price(1, 2), 0.0),
        ({"input_tokens": 3}, Price(0.1, 0.2), 3e-7),
    ],
)
def test_prices(usage: dict[str, Any], price: Price, cost: float) -> None:
    assert price.of(usage) == cost


@pytest.mark.parametrize(
    ("model", "cost"), [("m", 1e-6), ("m-mini", 2e-6), ("m-mini-x", 2e-6), ("m-large", 3e-6), ("other", None)]
)
def test_models_are_found_by_name_then_by_the_longest_beginning(model: str, cost: float | None) -> None:
    table = PriceTable({"m": Price(1, 0), "m-mini*": Price(2, 0), "m-*": Price(3, 0)})
    final = {"model": model, "usage": {"input_tokens": 1}}
    assert table.on_usage(final) == (None if cost is None else {"cost": cost})
    assert table.on_usage({"model": model, "usage": None}) is None


@pytest.mark.parametrize(("frames", "held"), [(RESPONSES, -1), (CHAT, -2)])
async def test_the_cost_is_stamped_into_the_last_event_alone(frames: list[bytes], held: int) -> None:
    told = Told()
    client = await served(frames, PriceTable({"m": Price(1, 2)}), told)
    assert client.body.replace(b',"cost":6.7e-05', b"") == b"".join(frames)
    assert client.body.startswith(b"".join(frames[:held]))
    assert told.calls[0][1]["usage"]["cost"] == 6.7e-05


def test_the_log_is_penstock_s() -> None:
    assert logging.getLogger("penstock.hooks").name == "penstock.hooks"
