"""`Broadcast`: everybody gets the same stream, whenever they come, however slow they are."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from asgi_client import Client, Source
from relay_streams import CHAT, MESSAGES, RESPONSES, STREAMS, terminals

import penstock.broadcast
from penstock import (
    Broadcast,
    ChatAccumulator,
    ClientDisconnected,
    ConcurrencyError,
    Decoder,
    LimitExceeded,
    Limits,
    ResponseAccumulator,
    lint,
    write_events,
)
from penstock._penstock import _coalesce
from penstock.asgi import EventStreamResponse
from penstock.subscription import CHUNK_BYTES, Subscription


async def read(subscription: Subscription) -> bytes:
    return b"".join([chunk async for chunk in subscription])


async def broadcast_of(frames: list[bytes], **options: Any) -> Broadcast:
    broadcast = Broadcast(**options)
    for frame in frames:
        await broadcast.publish(frame)
    await broadcast.finish()
    return broadcast


def payloads(stream: bytes) -> list[bytes]:
    return [event.data for event in Decoder(sentinel=None).feed(stream)]


def ids(stream: bytes) -> list[int]:
    return [int(event.id or -1) for event in Decoder(sentinel=None).feed(stream)]


def final(stream: bytes, dialect: str) -> Any:
    accumulator = ChatAccumulator() if dialect == "chat" else ResponseAccumulator()
    accumulator.feed(stream)
    accumulator.finish()
    return accumulator.final()


def naive_coalesce(frames: list[bytes]) -> list[dict[str, Any]]:
    """Neighbouring Responses text deltas of one place as one, by their objects."""
    merged: list[dict[str, Any]] = []
    for frame in frames:
        event = dict(Decoder().feed(frame)[0].json())
        last = merged[-1] if merged else {}
        same = {"type", "item_id", "output_index", "content_index", "summary_index"}
        if event["type"].endswith(".delta") and all(last.get(key) == event.get(key) for key in same):
            last["delta"] += event["delta"]
            last["sequence_number"] = event["sequence_number"]
        else:
            merged.append(event)
    return merged


@pytest.mark.parametrize("dialect", STREAMS)
async def test_who_is_there_from_the_start_gets_every_event(dialect: str) -> None:
    frames = STREAMS[dialect]
    broadcast = Broadcast()
    readers = [asyncio.ensure_future(read(broadcast.subscribe())) for _ in range(3)]
    await asyncio.sleep(0)
    stream = b"".join(frames)
    for at in range(0, len(stream), 100):
        await broadcast.publish(stream[at : at + 100])
        await asyncio.sleep(0)
    await broadcast.finish()
    for reader in readers:
        got = await reader
        assert payloads(got) == payloads(stream)
        assert ids(got) == list(range(len(payloads(stream))))
    assert broadcast.ended
    assert broadcast.events == len(payloads(stream))
    assert broadcast.last_id == broadcast.events - 1
    assert repr(broadcast) == f"<Broadcast ended, {broadcast.events} events>"


@pytest.mark.parametrize("dialect", ["responses", "chat"])
async def test_who_joins_late_gets_a_legal_stream_that_says_the_same(dialect: str) -> None:
    frames = STREAMS[dialect]
    for joined in range(0, len(frames) + 1, 4):
        broadcast = Broadcast()
        for frame in frames[:joined]:
            await broadcast.publish(frame)
        reader = asyncio.ensure_future(read(broadcast.subscribe()))
        await asyncio.sleep(0)
        for frame in frames[joined:]:
            await broadcast.publish(frame)
        await broadcast.finish()
        got = await reader
        assert final(got, dialect) == final(b"".join(frames), dialect)
        assert dialect != "responses" or lint(got) == []
        assert ids(got) == sorted(set(ids(got)))


async def test_the_past_is_compact() -> None:
    late = await read((await broadcast_of(RESPONSES)).subscribe())
    assert [event.json() for event in Decoder().feed(late)] == naive_coalesce(RESPONSES)
    assert len(payloads(late)) < len(RESPONSES)
    chat = await read((await broadcast_of(CHAT)).subscribe())
    assert len(payloads(chat)) < len(CHAT)
    messages = await read((await broadcast_of(MESSAGES)).subscribe())
    assert b'"text":"A sluice."' in messages.replace(b": ", b":")


async def test_compacting_goes_on_where_it_ended() -> None:
    broadcast = Broadcast()
    for frame in RESPONSES:
        await broadcast.publish(frame)
        broadcast.subscribe().close()
    await broadcast.finish()
    late = await read(broadcast.subscribe())
    assert [event.json() for event in Decoder().feed(late)] == naive_coalesce(RESPONSES)


@pytest.mark.parametrize("seed", range(20))
def test_any_run_of_deltas_merges_as_a_naive_reader_would(seed: int) -> None:
    numbers = random.Random(seed)  # noqa: S311
    frames = []
    for number in range(40):
        event = {
            "type": numbers.choice(["response.output_text.delta", "response.output_text.done"]),
            "sequence_number": number,
            "item_id": "m",
            "output_index": numbers.choice([0, 0, 0, 1]),
            "content_index": 0,
            "delta": numbers.choice(["a", "", '"\\', "水", "\ud83d", "\ude00", "\n\u2028"]),
        }
        frames.append(write_events(event, id=str(number)))
    merged = _coalesce(frames)
    # Halves of surrogate pairs meet as escapes; compared as one reader has them.
    said = [event.json() for frame in merged for event in Decoder().feed(frame)]
    naive = naive_coalesce(frames)
    assert [event["sequence_number"] for event in said] == [event["sequence_number"] for event in naive]
    assert [(event["type"], event["output_index"]) for event in said] == [
        (event["type"], event["output_index"]) for event in naive
    ]
    assert all(frame in frames for frame, event in zip(merged, said, strict=True) if "done" in event["type"])


async def test_coming_back_misses_and_repeats_nothing() -> None:
    broadcast = await broadcast_of(RESPONSES)
    everything = await read(broadcast.subscribe(starting_after=-1))
    for number in range(len(RESPONSES) + 3):
        expected = payloads(everything)[number + 1 :]
        assert payloads(await read(broadcast.subscribe(starting_after=number))) == expected
        assert payloads(await read(broadcast.subscribe(last_event_id=str(number)))) == expected


async def test_coming_back_while_it_runs() -> None:
    broadcast = Broadcast()
    for frame in RESPONSES[:10]:
        await broadcast.publish(frame)
    early, ahead = broadcast.subscribe(starting_after=4), broadcast.subscribe(starting_after=20)
    first = await anext(early)
    assert ids(first) == [5, 6, 7, 8, 9]
    assert early.last_id == 9
    for frame in RESPONSES[10:]:
        await broadcast.publish(frame)
    await broadcast.finish()
    assert ids(await read(early))[0] == 10
    assert ids(await read(ahead))[0] == 21


async def test_numbers_that_are_missing_or_go_back_are_made() -> None:
    stream = [
        b'data: {"type":"a"}\n\n',
        b'data: {"type":"a","sequence_number":7}\n\n',
        b'data: {"type":"b","sequence_number":3}\n\n',
    ]
    broadcast = Broadcast()
    for frame in stream:
        await broadcast.publish(frame)
    assert ids(await anext(broadcast.subscribe(starting_after=-1))) == [0, 7, 8]


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 19])
def test_ids_of_other_streams(text: str) -> None:
    with pytest.raises(ValueError, match="last event id"):
        Broadcast().subscribe(last_event_id=text)
    assert Broadcast().subscribe(last_event_id="").last_id is None


@pytest.mark.parametrize(
    ("options", "words"), [({"policy": "wait"}, "policy"), ({"max_bytes": 0}, "max_bytes")]
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Broadcast().subscribe(**options)


@pytest.mark.parametrize("dialect", STREAMS)
async def test_a_cut_is_told_to_everybody(dialect: str) -> None:
    broadcast = Broadcast()
    early = asyncio.ensure_future(read(broadcast.subscribe()))
    await asyncio.sleep(0)
    await broadcast.publish(b"".join(STREAMS[dialect][:5]))
    await broadcast.finish()
    await broadcast.finish()
    await broadcast.fail("again")
    for stream in (await early, await read(broadcast.subscribe())):
        assert terminals(stream, dialect)[0] in ("response.failed", "error")
        assert dialect != "responses" or lint(stream) == []
    with pytest.raises(RuntimeError, match="ended"):
        await broadcast.publish(b"")


@pytest.mark.parametrize("error", [ConnectionResetError(), KeyError("sk-secret")])
async def test_whatever_happens_to_the_source_the_stream_ends(error: Exception) -> None:
    broadcast, source = Broadcast(), Source(*RESPONSES[:5], error)
    with pytest.raises(type(error)):
        await broadcast.run(source)
    stream = await read(broadcast.subscribe())
    assert terminals(stream, "responses") == ["response.failed"]
    assert b"sk-secret" not in stream
    assert source.closed == 1
    with pytest.raises(TypeError):
        await Broadcast().run(3)


async def test_whoever_keeps_a_broadcast_is_told_of_its_end_once() -> None:
    broadcast = Broadcast()
    told: list[bool] = []
    broadcast._on_end = lambda: told.append(broadcast.ended)
    await broadcast.finish()
    await broadcast.fail("again")
    assert told == [True]


async def test_a_source_is_published_whole() -> None:
    broadcast = Broadcast()
    await asyncio.gather(broadcast.run(Source(*RESPONSES)), read(broadcast.subscribe()))
    assert broadcast.ended
    snapshot = broadcast.snapshot()
    assert snapshot is not None
    assert snapshot["status"] == "completed"


async def test_events_may_be_published() -> None:
    broadcast = await broadcast_of(Decoder().feed(b"".join(RESPONSES)))  # type: ignore[arg-type]
    assert broadcast.events == len(RESPONSES)


async def test_the_log_is_bounded() -> None:
    broadcast = Broadcast(limits=Limits(max_message_bytes=5_000))
    reader = asyncio.ensure_future(read(broadcast.subscribe()))
    await asyncio.sleep(0)
    with pytest.raises(LimitExceeded) as caught:  # noqa: PT012
        for frame in RESPONSES[:4] + [RESPONSES[4]] * 100:
            await broadcast.publish(frame)
    assert caught.value.limit == "max_message_bytes"
    assert terminals(await reader, "responses") == ["response.failed"]


BIG = [
    *RESPONSES[:8],
    *(
        write_events(
            {
                "type": "response.reasoning_summary_text.delta",
                "item_id": "rs_1",
                "output_index": 0,
                "summary_index": 0,
                "delta": "x" * 1_000,
                "sequence_number": number,
            }
        )
        for number in range(8, 208)
    ),
]


async def published(broadcast: Broadcast, frames: list[bytes]) -> None:
    for frame in frames:
        await broadcast.publish(frame)


async def test_a_slow_reader_gets_merged_deltas() -> None:
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="coalesce", max_bytes=10_000)
    first = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    await published(broadcast, BIG)
    await broadcast.fail("enough")
    stream = await first + await read(slow)
    assert lint(stream) == []
    assert len(payloads(stream)) < 20
    assert stream.count(b"x" * 1_000) >= 190
    assert final(stream, "responses")["status"] == "failed"


async def test_a_reader_that_is_not_far_behind_gets_all() -> None:
    broadcast = Broadcast()
    slow = broadcast.subscribe(max_bytes=10_000_000)
    first = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    await published(broadcast, BIG)
    await broadcast.fail("enough")
    chunks = [await first, *[chunk async for chunk in slow]]
    assert len(payloads(b"".join(chunks))) == broadcast.events > len(BIG)
    assert max(map(len, chunks[:2])) <= CHUNK_BYTES


async def test_deltas_can_be_dropped() -> None:
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="drop", max_bytes=10_000)
    first = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    await published(broadcast, BIG)
    await broadcast.fail("enough")
    stream = await first + await read(slow)
    assert slow.dropped > 190
    assert terminals(stream, "responses") == ["response.failed"]
    assert final(stream, "responses")["output"][0]["summary"][0]["text"].endswith("x" * 1_000)


@pytest.mark.parametrize("dialect", STREAMS)
async def test_only_deltas_are_dropped(dialect: str) -> None:
    frames = list(STREAMS[dialect])
    if dialect == "chat":  # as Mistral does it: the last piece and the finish reason in one
        frames[-3] = frames[-3].replace(b'"delta":{}', b'"delta":{"content":"."}')
        assert b'"content":"."' in frames[-3]
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="drop", max_bytes=1)
    await published(broadcast, frames)
    await broadcast.finish()
    kept = payloads(await read(slow))
    dropped = [payload for payload in payloads(b"".join(frames)) if payload not in kept]
    assert len(dropped) == slow.dropped > 2
    for payload in dropped:
        assert b"_delta" in payload or b".delta" in payload or b'"delta":{' in payload
        assert b'"finish_reason":"' not in payload
    assert not broadcast.snapshot() or terminals(b"".join(frames), dialect)


async def test_who_is_too_far_behind_can_be_disconnected_and_come_back() -> None:
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="disconnect", max_bytes=10_000)
    await published(broadcast, BIG[:3])
    got = await anext(slow)
    await published(broadcast, BIG[3:])
    with pytest.raises(ClientDisconnected):
        await anext(slow)
    await broadcast.fail("enough")
    assert slow.last_id == ids(got)[-1]
    rest = await read(broadcast.subscribe(starting_after=slow.last_id, max_bytes=10_000_000))
    assert ids(got + rest) == list(range(broadcast.events))


async def test_a_blocking_reader_holds_up_the_publisher() -> None:
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="block", max_bytes=10_000)
    publisher = asyncio.ensure_future(published(broadcast, BIG))
    for _ in range(50):
        await asyncio.sleep(0)
    held = broadcast.events
    assert held < 30
    got = await anext(slow)
    for _ in range(50):
        await asyncio.sleep(0)
    assert held < broadcast.events < 60
    reader = asyncio.ensure_future(read(slow))
    await publisher
    await broadcast.finish()
    assert ids(got + await reader) == list(range(broadcast.events))


@pytest.mark.parametrize("way", ["close", "end"])
async def test_nobody_waits_for_who_has_left(way: str) -> None:
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="block", max_bytes=1_000)
    publisher = asyncio.ensure_future(published(broadcast, BIG[:20]))
    await asyncio.sleep(0.01)
    assert not publisher.done()
    if way == "close":
        await slow.aclose()
        await publisher
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
    else:
        await broadcast.fail("enough")
        with pytest.raises(RuntimeError):
            await publisher


async def test_a_blocking_reader_that_vanishes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penstock.broadcast, "BLOCK_SECONDS", 0.02)
    broadcast = Broadcast()
    slow = broadcast.subscribe(policy="block", max_bytes=1_000)
    await published(broadcast, BIG)
    with pytest.raises(ClientDisconnected):
        await anext(slow)


async def test_slow_readers_hold_no_memory_of_their_own() -> None:
    broadcast = Broadcast()
    readers = [broadcast.subscribe() for _ in range(100)]
    await published(broadcast, BIG)
    assert all(reader.behind == readers[0].behind > 200_000 for reader in readers)
    assert not any(reader._ready for reader in readers)


async def test_a_cancelled_step_loses_nothing() -> None:
    broadcast = Broadcast()
    reader = broadcast.subscribe()
    for frame in RESPONSES[:5]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(reader)
        await broadcast.publish(frame)
        assert payloads(await anext(reader)) == payloads(frame)


async def test_one_task_at_a_time() -> None:
    reader = Broadcast().subscribe()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    with pytest.raises(ConcurrencyError):
        await anext(reader)
    reader.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_blocking_reader_may_leave_twice() -> None:
    broadcast = Broadcast()
    reader = broadcast.subscribe(policy="block", max_bytes=1)
    publisher = asyncio.ensure_future(broadcast.publish(RESPONSES[0]))
    await asyncio.sleep(0)
    reader.close()
    reader.close()
    await publisher
    assert not broadcast._blocking


async def test_subscriptions_are_responses() -> None:
    broadcast = Broadcast()
    clients = [Client() for _ in range(3)]
    calls = [client.call(EventStreamResponse(broadcast.subscribe(), dialect=None)) for client in clients]
    await asyncio.gather(broadcast.run(Source(*RESPONSES)), *calls)
    assert all(payloads(client.body) == payloads(b"".join(RESPONSES)) for client in clients)
    assert all(client.finished for client in clients)


async def test_a_subscriber_that_is_given_up_is_not_told_that_the_stream_failed() -> None:
    broadcast = Broadcast()
    subscription = broadcast.subscribe(policy="disconnect", max_bytes=10_000)
    client = Client()
    call = asyncio.ensure_future(client.call(EventStreamResponse(subscription)))
    await asyncio.sleep(0)
    await broadcast.publish(RESPONSES[0])
    await asyncio.sleep(0.01)
    await published(broadcast, BIG[1:])
    await call
    assert terminals(client.body, "responses") == []
    assert client.finished


async def test_coming_back_after_the_end_gets_nothing_more() -> None:
    broadcast = await broadcast_of(RESPONSES)
    assert broadcast.last_id is not None
    last = broadcast.subscribe(starting_after=broadcast.last_id)
    client = await Client().call(EventStreamResponse(last, dialect=None))
    assert (client.status, client.body) == (200, b"")
