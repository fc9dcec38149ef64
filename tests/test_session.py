"""A session's conversation over real sockets: what is sent, what is retried, what a cancel leaves behind.

Each mistake of pipecat's client that is known has its test here or in `test_session_machine`; the numbers are
those of the list the rules were made from.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from test_replay_websocket import said

from penstock import Event, Limits
from penstock.errors import (
    ConcurrencyError,
    DecodeError,
    IncompleteStream,
    LimitExceeded,
    OutcomeUnknown,
    PenstockError,
    ResponseError,
    StreamTimeout,
)
from penstock.replay import ReplayServer
from penstock.session import ResponsesSession, Turn

JSON = dict[str, Any]

SLOW = "replay-echo+tokens=400+rate=200"
KEY = "sk-canary-0b5e"
TERMINALS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
TOOLS = [{"type": "function", "name": "read_gauge", "parameters": {"type": "object", "properties": {}}}]


@pytest.fixture
async def server() -> AsyncIterator[ReplayServer]:
    async with ReplayServer() as running:
        yield running


def session(
    server: ReplayServer, query: str = "", model: str = "replay-echo", **options: Any
) -> ResponsesSession:
    options.setdefault("connect_options", {"proxy": None})
    return ResponsesSession(f"{server.base_url}{query}", KEY, model, **options)


def user(text: str) -> JSON:
    return {"role": "user", "content": text}


def assistant(text: str) -> JSON:
    return {"role": "assistant", "content": text}


async def events(turn: Turn) -> list[Event]:
    return [event async for event in turn]


async def collect(turn: Turn, seen: list[Event]) -> None:
    async for event in turn:
        seen.append(event)


async def begin(turn: Turn, count: int = 6) -> list[Event]:
    """Take the first events: with six of them there is text."""
    taken = []
    async for event in turn:
        taken.append(event)
        if len(taken) == count:
            break
    return taken


def whole(server: ReplayServer) -> list[str]:
    """The texts of the conversation that the server's last request stands for."""
    asked = server.asked[-1]
    return said([*asked.context, *asked.body["input"]])


# The chain.


@pytest.mark.parametrize("store", [None, True, False])
async def test_only_what_is_new_is_sent(server: ReplayServer, store: bool | None) -> None:
    async with session(server, store=store) as talk:
        for number, words in enumerate(("one", "two", "three")):
            turn = talk.say(words)
            assert (await events(turn))[-1].type == "response.completed"
            assert turn.plan is not None
            assert turn.plan.reason == ("continues" if number else "first")
            assert said(server.asked[-1].body["input"]) == [words]
            assert (turn.output_text, turn.status) == (words, "completed")
    assert whole(server) == ["one", "one", "two", "two", "three"]
    assert said(talk.conversation) == ["one", "one", "two", "two", "three", "three"]
    assert server.stats.websockets == talk.connections == 1
    assert talk.transport == "websocket"


async def test_a_caller_s_own_list_in_his_own_words(server: ReplayServer) -> None:
    items: list[Any] = [user("one")]
    async with session(server) as talk:
        for words in ("two", "three"):
            turn = talk.create(items)
            await turn.final()
            items += [assistant(turn.output_text), user(words)]
        turn = talk.create(items)
        await turn.final()
        assert turn.plan is not None
        assert (turn.plan.incremental, len(turn.plan.input), turn.plan.total) == (True, 1, 5)
        assert (turn.figures.sent_items, turn.figures.total_items, turn.figures.attempts) == (1, 5, 1)
    assert whole(server) == ["one", "one", "two", "two", "three"]


async def test_what_is_edited_while_it_is_answered_is_sent_again(server: ReplayServer) -> None:
    """As voice pipelines do, who cut an answer to what was spoken of it; the server has it as it was."""
    async with session(server) as talk:
        turn = talk.create(items := [user("one")])
        await turn.start()
        items[0]["content"] = "edited"
        await turn.final()
        again = talk.create([*items, assistant("one"), user("two")])
        await again.final()
        assert again.plan is not None
        assert again.plan.reason == "prefix"
        assert whole(server)[0] == "edited"

        await talk.say("one").final()
        talk.conversation[-1]["content"][0]["text"] = "cut"
        again = talk.say("two")
        await again.final()
        assert again.plan is not None
        assert again.plan.reason == "output"
        assert whole(server) == ["one", "cut", "two"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model": "replay-text"}, "model"),
        ({"tools": TOOLS}, "tools"),
        ({"instructions": "Be brief."}, "instructions"),
    ],
)
async def test_changed_settings_send_everything(server: ReplayServer, changed: JSON, reason: str) -> None:
    """15. Edge case 88."""
    async with session(server) as talk:
        await talk.say("one").final()
        turn = talk.say("two", **changed)
        await turn.final()
        assert turn.plan is not None
        assert turn.plan.reason == reason
        assert "previous_response_id" not in server.asked[-1].body
        assert said(server.asked[-1].body["input"]) == ["one", "one", "two"]
    async with session(server, compat="pipecat") as talk:
        first = talk.create([user("one")])
        await first.final()
        turn = talk.create([user("one"), assistant("one"), user("two")], **changed)
        await turn.final()
        assert turn.plan is not None
        assert turn.plan.incremental


async def test_text_beside_calls_and_reasoning_left_out_still_continue(server: ReplayServer) -> None:
    """13 and 14: what the model said is found again also where the caller dropped its reasoning."""
    async with session(server, model="replay-full") as talk:
        turn = talk.create([user("one")])
        await turn.final()
        response = turn.response
        assert response is not None
        assert [item["type"] for item in response["output"]][:2] == ["reasoning", "message"]
        kept = [assistant(turn.output_text)]
        for call in turn.function_calls:
            kept += [
                {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.raw}
            ]
        outputs = [call.output("4.2 m") for call in turn.function_calls]
        following = talk.create([user("one"), *kept, *outputs])
        await following.final()
        assert following.plan is not None
        assert following.plan.reason == "continues"
        assert server.asked[-1].body["input"] == outputs


async def test_an_empty_output_of_a_gateway_is_not_what_was_said(server: ReplayServer) -> None:
    """12: the items that were streamed are what the next input is held against."""
    async with session(server, model="replay-echo+empty-output") as talk:
        await talk.create([user("one")]).final()
        turn = talk.create([user("one"), assistant("one"), user("two")])
        await turn.final()
        assert turn.plan is not None
        assert (turn.plan.reason, len(turn.plan.input)) == ("continues", 1)
        other = talk.create([user("one"), assistant("one"), user("two"), assistant("no"), user("three")])
        await other.final()
        assert other.plan is not None
        assert other.plan.reason == "output"


@pytest.mark.parametrize("fault", ["outcome=incomplete", "outcome=failed", "error=server_is_overloaded@6"])
async def test_what_did_not_complete_is_not_continued(server: ReplayServer, fault: str) -> None:
    """Edge case 87."""
    async with session(server) as talk:
        await talk.say("one").final()
        broken = talk.say("two", metadata={"penstock_fault": fault})
        if fault == "outcome=incomplete":
            await events(broken)
        else:
            with pytest.raises(ResponseError):
                await events(broken)
        assert said(talk.conversation) == ["one", "one", "two"]
        turn = talk.say("three")
        await turn.final()
        assert turn.plan is not None
        assert turn.plan.incremental
    assert whole(server) == ["one", "one", "two", "three"]


async def test_a_failed_continuation_of_what_is_not_stored_starts_anew(server: ReplayServer) -> None:
    async with session(server, store=False) as talk:
        await talk.say("one").final()
        with pytest.raises(ResponseError):
            await events(talk.say("two", metadata={"penstock_fault": "outcome=failed"}))
        turn = talk.say("three")
        await turn.final()
        assert turn.plan is not None
        assert turn.plan.reason == "not_found"
    assert whole(server) == ["one", "one", "two", "three"]


async def test_a_warm_up_is_part_of_the_chain(server: ReplayServer) -> None:
    """Edge case 104."""
    async with session(server, store=False) as talk:
        warm = await talk.warm_up([user("one")])
        assert warm is not None
        assert warm.status == "completed"
        turn = talk.create([user("one"), user("two")])
        await turn.final()
        assert turn.plan is not None
        assert turn.plan.reason == "continues"
        assert said(server.asked[-1].body["input"]) == ["two"]
    assert whole(server) == ["one", "two"]


async def test_lanes_run_side_by_side_and_fork(server: ReplayServer) -> None:
    async with session(server, store=False, model="replay-echo+rate=100") as talk:
        root = talk.create([user("root")], stream_id="a")
        await root.final()
        base = [user("root"), assistant("root")]
        # A connection has what a lane said until the lane's next response is over.
        turns = [talk.create([*base, user(lane)], stream_id=lane) for lane in ("a", "b", "c")]
        for turn in turns:
            await turn.start()
        await asyncio.gather(*(turn.final() for turn in turns))
        assert [turn.output_text for turn in turns] == ["a", "b", "c"]
        assert [turn.plan is not None and turn.plan.incremental for turn in turns] == [True] * 3
    assert talk.connections == 1


async def test_a_lane_that_is_not_read_does_not_block_another(server: ReplayServer) -> None:
    async with session(server) as talk:
        waiting = talk.create("first", stream_id="a", model="replay-echo+tokens=2000")
        await waiting.start()
        other = talk.create("second", stream_id="b")
        await other.final()
        assert other.output_text == "second"
        await waiting.final()
        assert len(waiting.output_text) > 2000


# Retries.


async def test_a_response_the_server_lost_is_sent_whole_once(server: ReplayServer) -> None:
    """Edge case 96."""
    async with session(server, model="replay-echo+forget") as talk:
        await talk.say("one").final()
        turn = talk.say("two")
        seen = await events(turn)
        assert [event.type for event in seen].count("response.created") == 1
        assert turn.plan is not None
        assert (turn.plan.reason, turn.figures.attempts) == ("not_found", 2)
    assert whole(server) == ["one", "one", "two"]


async def test_a_miss_that_comes_too_late_is_remembered(server: ReplayServer) -> None:
    async with session(server) as talk:
        await talk.say("one").final()
        with pytest.raises(ResponseError):
            await talk.say("two", metadata={"penstock_fault": "error=previous_response_not_found@6"}).final()
        turn = talk.say("three")
        await turn.final()
        assert turn.plan is not None
        assert (turn.plan.reason, turn.figures.attempts) == ("not_found", 1)


@pytest.mark.parametrize("words", ["", ",flat-errors"])
async def test_a_second_miss_surfaces(server: ReplayServer, words: str) -> None:
    """8. The server says it also of a request that continues nothing."""
    fault = f"error=previous_response_not_found{words}"
    async with session(server) as talk:
        await talk.say("one").final()
        turn = talk.say("two", metadata={"penstock_fault": fault})
        with pytest.raises(ResponseError) as caught:
            await events(turn)
        assert caught.value.code == "previous_response_not_found"
        assert turn.figures.attempts == 2
        with pytest.raises(ResponseError):
            await turn.final()


@pytest.mark.parametrize("store", [None, False])
@pytest.mark.parametrize("at", ["0", "2", "0,noise", "2,noise"])
async def test_a_connection_limit_before_any_output_reconnects(
    server: ReplayServer, store: bool | None, at: str
) -> None:
    """Edge case 97. What a vendor says beside an answer is no output."""
    fault = f"error=websocket_connection_limit_reached@{at},first=1"
    async with session(server, store=store) as talk:
        await talk.say("one").final()
        turn = talk.say("two", metadata={"penstock_fault": fault})
        await turn.final()
        assert turn.plan is not None
        assert turn.plan.reason == ("connection" if store is False else "continues")
        assert (turn.output_text, turn.figures.attempts, talk.connections) == ("two", 2, 2)
    assert whole(server) == ["one", "one", "two"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error=websocket_connection_limit_reached@6", ResponseError),
        ("close@6", OutcomeUnknown),
        ("close@6:1011", OutcomeUnknown),
        ("reset@6", OutcomeUnknown),
    ],
)
async def test_nothing_is_sent_again_once_text_was_delivered(
    server: ReplayServer, fault: str, error: type[PenstockError]
) -> None:
    """6. Edge case 97."""
    async with session(server, resend_lost=True) as talk:
        turn = talk.create("one two three four", metadata={"penstock_fault": fault})
        seen: list[Event] = []
        with pytest.raises(error):
            await collect(turn, seen)
        assert [event.delta for event in seen if event.delta]
        assert (len(seen), turn.figures.attempts, turn.status) == (6, 1, "error")
        assert server.stats.streams == 1
        again = talk.create("five")
        await again.final()
        assert (again.output_text, talk.connections) == ("five", 2)


LOST: list[tuple[str, int | None]] = [
    ("close@0", None),
    ("close@2", None),
    ("close@2:1001", 1001),
    ("close@0:1011", 1011),
    ("reset@2", None),
]


@pytest.mark.parametrize(("fault", "code"), LOST)
@pytest.mark.parametrize("resend", [False, True])
async def test_a_lost_connection_is_an_unknown_outcome(
    server: ReplayServer, fault: str, code: int | None, resend: bool
) -> None:
    """Edge case 103."""
    async with session(server, resend_lost=resend) as talk:
        turn = talk.create("one", metadata={"penstock_fault": f"{fault},first=1"})
        if resend:
            await turn.final()
            assert (turn.output_text, turn.figures.attempts) == ("one", 2)
            return
        with pytest.raises(OutcomeUnknown) as caught:
            await events(turn)
        assert caught.value.close_code == code
        assert (caught.value.response_id is None) == fault.startswith("close@0")
        assert caught.value.reason == "connection_lost"
        assert turn.figures.attempts == 1
        assert turn.error is caught.value
        assert server.stats.streams == 1


async def test_a_resent_request_is_resent_once(server: ReplayServer) -> None:
    async with session(server, resend_lost=True) as talk:
        turn = talk.create("one", metadata={"penstock_fault": "close@1"})
        with pytest.raises(OutcomeUnknown):
            await events(turn)
        assert turn.figures.attempts == 2


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_a_connection_closed_between_turns_is_replaced(server: ReplayServer, code: int) -> None:
    async with session(server, store=False) as talk:
        turn = talk.say("one", metadata={"penstock_fault": f"close-after={code}"})
        await turn.final()
        await asyncio.sleep(0.05)
        turn = talk.say("two")
        await turn.final()
        assert turn.plan is not None
        assert (turn.plan.reason, turn.figures.attempts, talk.connections) == ("connection", 1, 2)
    assert whole(server) == ["one", "one", "two"]


async def test_an_old_connection_is_replaced_when_it_is_idle(server: ReplayServer) -> None:
    async with session(server, rotate_after=0.1) as talk:
        busy = talk.create("slow", stream_id="a", model="replay-echo+rate=40")
        await begin(busy, 1)
        await asyncio.sleep(0.12)
        turn = talk.create("two")
        await turn.final()
        assert (turn.figures.connection, busy.figures.connection) == (2, 1)
        await busy.final()
        assert busy.output_text == "slow"
        await talk.create("three").final()
        for _ in range(100):
            if server.stats.active == 0:
                break
            await asyncio.sleep(0.01)


async def test_the_server_s_limit_is_met_by_a_new_connection(server: ReplayServer) -> None:
    async with session(server, "?fault=max-age=0.1") as talk:
        await talk.say("one").final()
        await asyncio.sleep(0.15)
        turn = talk.say("two")
        await turn.final()
        assert (turn.figures.attempts, talk.connections) == (2, 2)


# Cancelling.


async def test_a_cancel_before_anything_was_sent_sends_nothing(server: ReplayServer) -> None:
    async with session(server) as talk:
        turn = talk.create("one")
        await turn.cancel()
        assert await events(turn) == []
        assert (turn.status, turn.response, turn.function_calls, turn.usage) == ("cancelled", None, [], None)
        with pytest.raises(IncompleteStream) as caught:
            await turn.final()
        assert caught.value.reason == "cancelled"
    assert server.stats.connections == 0


async def test_a_cancel_after_the_end_costs_the_next_turn_nothing(server: ReplayServer) -> None:
    """1 and 2. Edge case 99."""
    async with session(server) as talk:
        turn = talk.say("one")
        await turn.final()
        await turn.cancel()
        assert turn.status == "completed"
        following = talk.say("two")
        await following.final()
        assert (following.figures.drained, talk.connections) == (0.0, 1)
        assert following.plan is not None
        assert following.plan.incremental


@pytest.mark.parametrize("taken", [0, 1, 2, 6])
@pytest.mark.parametrize("store", [None, False])
async def test_a_cancelled_response_leaves_the_chain_and_the_connection(
    server: ReplayServer, taken: int, store: bool | None
) -> None:
    """Edge case 98: also before the response has a name."""
    async with session(server, store=store) as talk:
        await talk.say("one").final()
        turn = talk.create([*talk.conversation, user("two")], model=f"{SLOW}+delay=0.02")
        await (begin(turn, taken) if taken else turn.start())
        await turn.cancel()
        await turn.cancel()
        assert (turn.status, turn.over, turn.function_calls) == ("cancelled", True, [])
        assert await events(turn) == []
        following = talk.say("three")
        seen = await events(following)
        assert following.output_text == "three"
        assert len({event["response"]["id"] for event in seen if "response" in event}) == 1
        assert (talk.connections, following.figures.attempts) == (1, 1)
        assert following.plan is not None
        assert following.plan.incremental
        assert 0 < following.figures.drained < talk.drain_timeout
    assert whole(server) == ["one", "one", "three"]


ENDS = ["completed", "incomplete", "failed", "cancelled", "error"]


@pytest.mark.parametrize(
    "how", [*(f"cancel-as={end}" for end in ENDS), "late=5", "cancel-after=0.1", "ghosts=4"]
)
async def test_however_a_cancelled_response_ends_the_next_is_its_own(server: ReplayServer, how: str) -> None:
    """4. Edge case 101; and events that come after the end."""
    async with session(server) as talk:
        turn = talk.create("one", model=f"{SLOW}+{how}")
        await begin(turn)
        await turn.cancel()
        following = talk.create("two")
        seen = await events(following)
        assert [event.delta for event in seen if event.delta] == ["two"]
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        assert (following.output_text, talk.connections) == ("two", 1)


@pytest.mark.parametrize(
    "how", ["cancel-as=none", "cancel-as=ignored", "cancel-as=none+stall@6", "cancel-as=close"]
)
async def test_a_drain_that_takes_too_long_costs_the_connection(server: ReplayServer, how: str) -> None:
    """3 and 5. Edge case 100: one deadline for all of it, however often something comes."""
    async with session(server, drain_timeout=0.2) as talk:
        turn = talk.create("one", model=f"replay-echo+tokens=4000+rate=50+{how}")
        await begin(turn)
        await turn.cancel()
        following = talk.create("two")
        seen = await events(following)
        assert [event.delta for event in seen if event.delta] == ["two"]
        assert talk.connections == 2
        assert following.figures.drained < 1.0


async def test_a_server_that_knows_no_cancel_gets_a_fresh_connection(server: ReplayServer) -> None:
    """Its error looks like the end of the response, which goes on; the next request finds it in flight."""
    async with session(server) as talk:
        turn = talk.create("one", model="replay-echo+tokens=4000+rate=100+cancel-as=unknown")
        await begin(turn)
        await turn.cancel()
        following = talk.create("two")
        seen = await events(following)
        assert [event.delta for event in seen if event.delta] == ["two"]
        assert (talk.connections, following.figures.attempts) == (2, 2)


async def test_closing_while_connecting_leaves_no_connection(server: ReplayServer) -> None:
    talk = session(server)
    connecting = asyncio.create_task(talk.connect())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await talk.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await connecting


async def test_no_drain_at_all(server: ReplayServer) -> None:
    async with session(server, drain_timeout=0) as talk:
        turn = talk.create("one", model=SLOW)
        await begin(turn)
        following = talk.create("two")
        await following.final()
        assert (talk.connections, turn.status) == (2, "cancelled")


async def test_a_lane_s_failed_drain_leaves_other_lanes_alone(server: ReplayServer) -> None:
    async with session(server, drain_timeout=0.05) as talk:
        other = talk.create("slow words here", stream_id="b", model="replay-echo+rate=50")
        await begin(other, 1)
        turn = talk.create("one", stream_id="a", model=f"{SLOW}+cancel-as=none")
        await begin(turn)
        await turn.cancel()
        following = talk.create("two", stream_id="a")
        await following.final()
        assert talk.connections == 2
        await other.final()
        assert (other.output_text, other.figures.connection) == ("slow words here", 1)


async def test_a_turn_left_unfinished_is_cancelled_by_the_next(server: ReplayServer) -> None:
    async with session(server) as talk:
        async with talk.create("one", model=SLOW) as turn:
            await begin(turn)
        assert turn.status == "cancelled"
        left = talk.create("two", model=SLOW)
        await begin(left)
        following = talk.create("three")
        await following.final()
        assert (left.status, following.output_text, talk.connections) == ("cancelled", "three", 1)


async def test_a_cancel_wakes_whoever_waits(server: ReplayServer) -> None:
    async with session(server) as talk:
        turn = talk.create("one", model="replay-echo+stall@3")
        await begin(turn, 3)
        reader = asyncio.create_task(events(turn))
        await asyncio.sleep(0.02)
        await turn.cancel()
        assert await asyncio.wait_for(reader, 1) == []


async def test_a_turn_cancelled_while_it_waits_to_be_sent_is_not_sent(server: ReplayServer) -> None:
    async with session(server, drain_timeout=0.3) as talk:
        before = talk.create("one", model=f"{SLOW}+cancel-as=none")
        await begin(before)
        await before.cancel()
        turn = talk.create("two")
        reader = asyncio.create_task(events(turn))
        await asyncio.sleep(0.05)
        await turn.cancel()
        assert await reader == []
        assert turn.status == "cancelled"
        await talk.create("three").final()
    assert said(item for asked in server.asked for item in asked.body["input"]) == ["one", "three"]


async def test_two_tasks_may_not_share_a_turn_or_a_lane(server: ReplayServer) -> None:
    async with session(server) as talk:
        turn = talk.create("one", model="replay-echo+stall@3:0.3")
        await begin(turn, 3)
        reader = asyncio.create_task(events(turn))
        await asyncio.sleep(0.02)
        with pytest.raises(ConcurrencyError):
            await anext(turn)
        with pytest.raises(ConcurrencyError):
            await turn.start()
        with pytest.raises(ConcurrencyError):
            await talk.create("two").final()
        assert (await reader)[-1].type == "response.completed"
        await talk.create("two").final()


async def test_a_wait_that_is_given_up_loses_nothing(server: ReplayServer) -> None:
    async with session(server) as talk:
        turn = talk.create("one two three four five", model="replay-echo+rate=100")
        seen = []
        while not turn.over:
            try:
                seen.append(await asyncio.wait_for(anext(turn), 0.003))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        assert (turn.output_text, turn.figures.attempts) == ("one two three four five", 1)


# Time-outs.


async def test_a_silent_server(server: ReplayServer) -> None:
    async with session(server, idle_timeout=1.0) as talk:
        turn = talk.create("one", model="replay-echo+stall@6")
        with pytest.raises(StreamTimeout) as caught:
            await events(turn)
        assert (caught.value.kind, caught.value.seconds, turn.status) == ("idle", 1.0, "error")
        assert caught.value.partial is not None
        following = talk.create("two")
        await following.final()
        assert following.output_text == "two"


async def test_a_slow_consumer_is_no_silent_server(server: ReplayServer) -> None:
    async with session(server, idle_timeout=0.5) as talk:
        turn = talk.create("one")
        async for _ in turn:
            await asyncio.sleep(0.1)
        assert turn.status == "completed"


@pytest.mark.parametrize("at", ["0", "1", "2", "2,noise"])
@pytest.mark.parametrize("retry", [False, True])
async def test_the_first_output_is_more_than_a_sign_of_life(
    server: ReplayServer, at: str, retry: bool
) -> None:
    """7: created and in_progress are none."""
    async with session(server, first_output_timeout=0.15, retry_timeout=retry, drain_timeout=0.1) as talk:
        turn = talk.create("one", metadata={"penstock_fault": f"stall@{at},first=1"})
        if retry:
            await turn.final()
            assert (turn.output_text, turn.figures.attempts) == ("one", 2)
        else:
            with pytest.raises(StreamTimeout) as caught:
                await events(turn)
            assert caught.value.kind == "first_event"


async def test_once_there_is_output_only_silence_counts(server: ReplayServer) -> None:
    async with session(server, first_output_timeout=0.1) as talk:
        turn = talk.create("one", model="replay-echo+stall@5:0.2")
        assert (await turn.final())["status"] == "completed"


# Function calls.


async def test_calls_come_with_their_arguments(server: ReplayServer) -> None:
    async with session(server, model="replay-tools") as talk:
        turn = talk.say("How is it?")
        assert turn.function_calls == []
        await turn.final()
        calls = turn.function_calls
        assert [call.name for call in calls] == ["read_gauge", "set_gate"]
        assert calls[0].arguments["station"] == "upper-weir"
        assert turn.usage is not None
        assert turn.usage["total_tokens"] > 0
        following = talk.say([call.output("4.2") for call in calls])
        await following.final()
        assert following.plan is not None
        assert (following.plan.reason, len(following.plan.input)) == ("continues", 2)
        assert following.output_text.startswith("The upper weir")


async def test_bad_arguments_are_an_error_and_no_empty_object(server: ReplayServer) -> None:
    async with session(server, model="replay-tools+bad-arguments") as talk:
        turn = talk.create("go")
        await turn.final()
        for call in turn.function_calls:
            assert call.raw.startswith("{")
            with pytest.raises(DecodeError):
                _ = call.arguments


async def test_calls_of_an_incomplete_response_are_not_run(server: ReplayServer) -> None:
    """10."""
    async with session(server, model="replay-tools+outcome=incomplete") as talk:
        turn = talk.create("go")
        assert (await events(turn))[-1].type == "response.incomplete"
        assert (turn.status, turn.function_calls, turn.error) == ("incomplete", [], None)
        assert (await turn.final())["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_calls_of_a_failed_response_are_not_run(server: ReplayServer) -> None:
    """9 and 10: what failed says why where the API has it."""
    async with session(server, model="replay-tools+rate=100+cancel-as=failed") as talk:
        turn = talk.create("go")
        (created,) = await begin(turn, 1)
        await begin(turn, 8)
        assert turn._connection is not None  # the server fails it, as far as the turn can tell, by itself
        await turn._connection._transport.send(
            {"type": "response.cancel", "response_id": created["response"]["id"]}
        )
        assert (await events(turn))[-1].type == "response.failed"
        assert (turn.status, turn.function_calls) == ("failed", [])
        with pytest.raises(ResponseError) as caught:
            await turn.final()
        assert caught.value is turn.error
        assert caught.value.code == "server_error"


# Steering.


@pytest.mark.parametrize("words", ["left", [user("left")]], ids=["words", "items"])
async def test_a_steer_goes_on_in_the_same_turn(server: ReplayServer, words: Any) -> None:
    async with session(server) as talk:
        turn = talk.say("first", model=SLOW)
        seen = await begin(turn)
        with pytest.raises(TypeError):
            await turn.steer(user("left"))  # type: ignore[arg-type]
        await turn.steer(words)
        seen += await events(turn)
        kinds = [event.type for event in seen]
        assert kinds.count("response.created") == 2
        assert kinds.index("response.steer.accepted") < kinds.index("response.incomplete")
        assert (turn.output_text, turn.status) == ("left", "completed")
        conversation = said(talk.conversation)
        assert (conversation[0], conversation[2:]) == ("first", ["left", "left"])
        following = talk.say("on", model="replay-echo")
        await following.final()
        assert following.plan is not None
        assert following.plan.reason == "model"
        assert whole(server) == [*conversation, "on"]


async def test_what_cannot_be_steered(server: ReplayServer) -> None:
    async with session(server) as talk:
        turn = talk.create("one")
        with pytest.raises(RuntimeError):
            await turn.steer("two")
        await turn.final()
        with pytest.raises(RuntimeError):
            await turn.steer("two")
    async with session(server, transport="http", model=SLOW) as talk:
        turn = talk.create("one")
        await begin(turn, 3)
        with pytest.raises(RuntimeError, match="HTTP"):
            await turn.steer("two")


# HTTP.

CLIENTS: dict[str, Any] = {
    "httpx": lambda: httpx.AsyncClient(trust_env=False, timeout=30),
    "httpx2": lambda: httpx2.AsyncClient(trust_env=False, timeout=None),
    "aiohttp": aiohttp.ClientSession,
}


@pytest.fixture(params=[*CLIENTS, "own"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "own":
        yield None
        return
    made: AbstractAsyncContextManager[Any] = CLIENTS[request.param]()
    async with made as opened:
        yield opened


async def test_a_refused_upgrade_falls_back_to_http(server: ReplayServer, client: Any) -> None:
    async with session(server, "?fault=no-websocket", client=client) as talk:
        before = talk.transport
        assert before == "auto"
        for number, words in enumerate(("one", "two", "three")):
            turn = talk.say(words)
            assert (await events(turn))[-1].type == "response.completed"
            assert turn.plan is not None
            assert turn.plan.incremental == bool(number)
            assert turn.output_text == words
        assert talk.transport == "http"
        assert await talk.warm_up("more") is None
    assert server.stats.websockets == 0
    # The refused upgrade costs a connection, the turns share one.
    assert server.stats.connections == 2


async def test_unstored_responses_over_http_are_not_continued(server: ReplayServer) -> None:
    async with session(server, transport="http", store=False) as talk:
        await talk.say("one").final()
        turn = talk.say("two")
        await turn.final()
        assert turn.plan is not None
        assert (turn.plan.reason, len(turn.plan.input)) == ("not_kept", 3)


async def test_a_response_lost_to_the_server_over_http(server: ReplayServer, client: Any) -> None:
    async with session(server, transport="http", model="replay-echo+forget", client=client) as talk:
        await talk.say("one").final()
        turn = talk.say("two")
        await turn.final()
        assert turn.plan is not None
        assert (turn.plan.reason, turn.figures.attempts, turn.output_text) == ("not_found", 2, "two")


@pytest.mark.parametrize("taken", [0, 6])
async def test_a_cancel_over_http_ends_the_request(server: ReplayServer, client: Any, taken: int) -> None:
    async with session(server, transport="http", client=client) as talk:
        turn = talk.create("one", model=f"{SLOW}+delay=0.05")
        reader = asyncio.create_task(events(turn)) if not taken else None
        await (begin(turn, taken) if taken else asyncio.sleep(0.02))
        await turn.cancel()
        assert reader is None or await asyncio.wait_for(reader, 1) == []
        following = talk.create("two")
        await following.final()
        assert following.output_text == "two"
        for _ in range(200):
            if server.stats.active == 0:
                break
            await asyncio.sleep(0.01)
        assert server.stats.active == 0


@pytest.mark.parametrize(
    ("fault", "error", "retried"),
    [
        ("status=500", ResponseError, False),
        ("status=429", ResponseError, False),
        ("html", ResponseError, False),
        ("close@6", OutcomeUnknown, False),
        ("cut@6", OutcomeUnknown, False),
        ("reset@2", OutcomeUnknown, True),
        ("error-event@6", ResponseError, False),
    ],
)
async def test_what_goes_wrong_over_http(
    server: ReplayServer, client: Any, fault: str, error: type[PenstockError], retried: bool
) -> None:
    async with session(server, transport="http", client=client, resend_lost=True) as talk:
        turn = talk.create("one two three four", metadata={"penstock_fault": fault})
        with pytest.raises(error):
            await events(turn)
        assert turn.figures.attempts == 1 + retried


async def test_turns_that_are_over_are_not_kept(server: ReplayServer) -> None:
    async with session(server, transport="http") as talk:
        for number in range(5):
            await talk.create(f"{number}", stream_id=f"lane {number}").final()
        assert len(talk._turns) == 1


async def test_lanes_over_http_are_requests_side_by_side(server: ReplayServer, client: Any) -> None:
    async with session(server, transport="http", client=client, model="replay-echo+rate=100") as talk:
        turns = [talk.create(lane, stream_id=lane) for lane in ("a", "b", "c")]
        for turn in turns:
            await turn.start()
        await asyncio.gather(*(turn.final() for turn in turns))
        assert [turn.output_text for turn in turns] == ["a", "b", "c"]
        assert all("stream_id" not in seen.json() for seen in server.seen)


async def test_a_response_beyond_its_limits_over_http(server: ReplayServer, client: Any) -> None:
    async with session(
        server, transport="http", client=client, limits=Limits(max_message_bytes=3_000)
    ) as talk:
        turn = talk.create("one", model="replay-text+tokens=2000")
        with pytest.raises(LimitExceeded):
            await events(turn)
        assert (await talk.create("two").final())["status"] == "completed"


async def test_a_wait_that_is_given_up_loses_nothing_over_http(server: ReplayServer, client: Any) -> None:
    async with session(server, transport="http", client=client) as talk:
        turn = talk.create("one two three four five", model="replay-echo+rate=100+delay=0.02")
        seen = []
        while not turn.over:
            try:
                seen.append(await asyncio.wait_for(anext(turn), 0.003))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        assert (turn.output_text, server.stats.requests) == ("one two three four five", 1)


# Opening and closing.


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_refused_upgrade_is_an_error_of_its_status(server: ReplayServer, status: int) -> None:
    async with session(server, f"?fault=status={status}") as talk:
        with pytest.raises(ResponseError) as caught:
            await talk.connect()
        assert caught.value.status == status
        turn = talk.create("one")
        with pytest.raises(ResponseError):
            await events(turn)
        assert turn.status == "new"


async def test_no_fallback_where_none_is_wanted(server: ReplayServer) -> None:
    async with session(server, "?fault=no-websocket", transport="websocket") as talk:
        with pytest.raises(ResponseError) as caught:
            await talk.create("one").final()
        assert caught.value.status == 426


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_nobody_answers(transport: Any) -> None:
    async with ReplayServer() as server:
        talk = session(server, transport=transport)
    async with talk:
        turn = talk.create("one")
        with pytest.raises((OSError, OutcomeUnknown)):
            await events(turn)


async def test_closing_ends_everything(server: ReplayServer) -> None:
    talk = session(server)
    turn = talk.create("one", model="replay-echo+stall@3")
    await begin(turn, 3)
    reader = asyncio.create_task(events(turn))
    await asyncio.sleep(0.02)
    await talk.aclose()
    await talk.aclose()
    with pytest.raises(IncompleteStream) as caught:
        await asyncio.wait_for(reader, 1)
    assert caught.value.reason == "closed"
    assert "closed" in repr(talk)
    with pytest.raises(RuntimeError, match="closed"):
        await talk.create("two").final()
    with pytest.raises(RuntimeError, match="closed"):
        await talk.connect()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "https://"}, "url"),
        ({"compat": "other"}, "compat"),
        ({"transport": "carrier pigeon"}, "transport"),
        ({"url": "https://x y/v1"}, "url"),
        ({"url": "https://x:0/v1"}, "url"),
        ({"url": "https://x:99999/v1"}, "[Pp]ort"),
        ({"key": f"{KEY}\n"}, "the key must be printable"),
        ({"key": f"{KEY}\r\nx: y"}, "the key must be printable"),
        ({"key": f"{KEY}\u2026"}, "the key must be printable"),
        ({"headers": {"x-a": "secret\0"}}, "the header 'x-a' must be printable"),
        ({"headers": {"x-a\r\n": "secret"}}, "the header 'x-a.r.n' must be printable"),
        ({"headers": {"": "secret"}}, "the header '' must be printable"),
    ],
)
def test_bad_options(options: JSON, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        ResponsesSession(**{"url": "https://x", "key": None, "model": "m", **options})
    assert KEY not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_header_is_sent_once_however_it_is_spelt() -> None:
    headers = {"Authorization": "Bearer another", "X-A": "1", "x-a": "2"}
    talk = ResponsesSession("https://x", KEY, "m", headers=headers)
    assert talk._pool._target.headers == {"authorization": "Bearer another", "x-a": "2"}


@pytest.mark.parametrize(("name", "error"), [(5, TypeError), (b"a", TypeError), ("\ud800", ValueError)])
def test_a_lane_has_a_name_that_comes_back(name: Any, error: type[Exception]) -> None:
    talk = ResponsesSession("https://x", None, "m")
    for make in talk.create, talk.say:
        with pytest.raises(error):
            make("one", stream_id=name)
    assert talk.conversation == []


@pytest.mark.parametrize("given", [{"role": "user", "content": "one"}, b"one", bytearray(b"one")])
def test_an_input_is_text_or_a_list(given: Any) -> None:
    talk = ResponsesSession("https://x", None, "m")
    for make in talk.create, talk.say:
        with pytest.raises(TypeError, match="a list of items"):
            make(given)
    assert talk.conversation == []


@pytest.mark.parametrize(
    "url", ["{}/v1", "{}/v1/", "{}/v1/responses", "{}/v1/responses/", "ws{}/v1", "ws{}/v1/responses"]
)
async def test_addresses(server: ReplayServer, url: str) -> None:
    address = url.format(server.url.removeprefix("http") if url.startswith("ws") else server.url)
    for transport in ("websocket", "http"):
        async with ResponsesSession(address, None, "replay-echo", transport=transport) as talk:
            assert (await talk.create("one").final())["status"] == "completed"


@pytest.mark.parametrize("name", ["previous_response_id", "stream", "input", "type"])
def test_members_that_the_session_decides(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ResponsesSession("https://x", None, "m", params={name: 1})


async def test_one_request_s_own_members(server: ReplayServer) -> None:
    async with session(server, params={"temperature": 0.5, "top_p": None}) as talk:
        await talk.say("one", max_output_tokens=7).final()
        sent = server.asked[-1].body
        assert (sent["temperature"], sent["max_output_tokens"], "top_p" in sent) == (0.5, 7, False)
        with pytest.raises(ValueError, match="previous_response_id"):
            talk.say("two", previous_response_id="resp_1")
        assert said(talk.conversation) == ["one", "one"]


async def test_items_that_are_no_json(server: ReplayServer) -> None:
    async with session(server) as talk:
        for items in ([object()], [{"a": float("nan")}]):
            with pytest.raises((ValueError, TypeError)):
                await talk.create(items).final()
        assert (await talk.create("one").final())["status"] == "completed"
    assert talk.connections == 1


async def test_a_response_beyond_its_limits(server: ReplayServer) -> None:
    async with session(server, limits=Limits(max_message_bytes=3_000)) as talk:
        turn = talk.create("one", model="replay-text+tokens=2000")
        with pytest.raises(LimitExceeded):
            await events(turn)
        following = talk.create("two")
        await following.final()
        assert (following.output_text, talk.connections) == ("two", 1)


async def test_a_message_beyond_its_limit(server: ReplayServer) -> None:
    async with session(server, limits=Limits(max_event_bytes=20_000)) as talk:
        turn = talk.create("one", model="replay-echo+big-event=70000")
        with pytest.raises(LimitExceeded) as caught:
            await events(turn)
        assert (caught.value.limit, caught.value.maximum) == ("max_event_bytes", 20_000)
        assert caught.value.value > 20_000
        following = talk.create("two")
        await following.final()
        assert (following.output_text, talk.connections) == ("two", 2)


@pytest.mark.parametrize("fault", ["binary@3", "bad-utf8@4"])
async def test_messages_that_no_server_may_send(server: ReplayServer, fault: str) -> None:
    async with session(server, limits=Limits(max_event_bytes=20_000)) as talk:
        turn = talk.create("one", model=f"replay-echo+{fault}")
        with pytest.raises(OutcomeUnknown):
            await events(turn)
        assert (await talk.create("two").final())["status"] == "completed"


@pytest.mark.parametrize("fault", ["malformed@4", "noise", "twice", "bare-errors"])
async def test_messages_that_mean_nothing(server: ReplayServer, fault: str) -> None:
    async with session(server, model=f"replay-echo+{fault}") as talk:
        for words in ("one", "two"):
            turn = talk.say(words, stream_id="a")
            seen = await events(turn)
            assert seen[-1].type == "response.completed"
            assert turn.output_text == words
            assert not any(event.stream_id == "nobody" for event in seen)


async def test_figures(server: ReplayServer) -> None:
    async with session(server) as talk:
        turn = talk.create("one two", model="replay-echo+rate=100")
        seen = await events(turn)
        figures = turn.figures
        assert (figures.events, figures.bytes) == (len(seen), sum(len(event.data) for event in seen))
        assert figures.first_event is not None
        assert figures.first_token is not None
        assert figures.duration is not None
        assert 0 < figures.first_event < figures.first_token < figures.duration < 10
        assert figures.as_dict()["attempts"] == 1
        assert "events=" in repr(figures)
        assert repr(turn).startswith("<Turn completed")


# Secrets.

PROMPT = "canary-prompt-77aa"
HEADER = "canary-header-19cc"


@pytest.mark.parametrize(
    "fault",
    [
        "status=401", "no-websocket", "error=nonsense", "close@0", "reset@5", "stall@3", "malformed@2",
        "binary@1", "error=previous_response_not_found", "cut@2", "bad-utf8@4", "big-event=70000",
    ],
)  # fmt: skip
@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_no_error_or_log_shows_key_header_or_prompt(
    server: ReplayServer, caplog: pytest.LogCaptureFixture, fault: str, transport: Any
) -> None:
    """Row 16 of the failure modes."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("penstock.replay").setLevel(logging.CRITICAL)
    shown = []
    talk = session(
        server,
        f"?fault={fault}",
        transport=transport,
        headers={"x-secret": HEADER},
        idle_timeout=0.1,
        limits=Limits(max_event_bytes=20_000),
    )
    async with talk:
        turn = talk.create([user(PROMPT)])
        try:
            await events(turn)
        except (PenstockError, OSError) as error:
            chain: BaseException | None = error
            while chain is not None:
                shown += [str(chain), repr(chain), "".join(traceback.format_exception(chain))]
                chain = chain.__cause__ or chain.__context__
        shown += [repr(talk), repr(turn), repr(turn.plan), repr(turn.figures), repr(turn.error)]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("asyncio")]
    for text in (*shown, *ours):
        for secret in (KEY, HEADER, PROMPT):
            assert secret not in text, text[:500]


async def test_redirects_are_not_followed_with_the_key() -> None:
    seen = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 307 Away\r\nlocation: ws://127.0.0.1:9/v1\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, ResponsesSession(f"http://127.0.0.1:{port}/v1", KEY, "m") as talk:
        with pytest.raises(ResponseError) as caught:
            await talk.connect()
    assert caught.value.status == 307
    assert len(seen) == 1


async def test_a_server_that_speaks_no_http() -> None:
    async def mutter(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(mutter, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, ResponsesSession(f"http://127.0.0.1:{port}", KEY, "m") as talk:
        with pytest.raises(ConnectionError):
            await talk.connect()
