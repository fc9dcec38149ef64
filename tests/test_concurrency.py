"""Threads and forks: one decoder refuses to be shared, many never mix, a forked child can decode at once."""

import os
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import ConcurrencyError, Decoder, Event

HERE = Path(__file__).parent


def together(count: int, work: Callable[[int], None]) -> None:
    """Start so many threads at one barrier and re-raise what any of them raised."""
    barrier = threading.Barrier(count)

    def started(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(started, number) for number in range(count)]:
            done.result()


@pytest.mark.parametrize(("size", "calls"), [(1, 2_000), (40, 300), (4_000, 12)])
def test_sixteen_threads_on_one_decoder(size: int, calls: int) -> None:
    decoder = Decoder()
    payload = b'{"type":"x","delta":"' + b"d" * 40 + b'"}'
    chunk = (b"event: n\ndata: " + payload + b"\n\n") * size
    taken = [0] * 16
    refused = [0] * 16

    def work(number: int) -> None:
        for _ in range(calls):
            try:
                events = decoder.feed(chunk)
            except ConcurrencyError:
                refused[number] += 1
                continue
            assert len(events) == size
            assert {(event.data, event.name, event.delta) for event in events} == {(payload, "n", "d" * 40)}
            taken[number] += size

    together(16, work)
    assert not decoder.failed
    assert decoder.events == sum(taken) == size * (16 * calls - sum(refused))
    assert decoder.bytes == len(chunk) * (16 * calls - sum(refused))


def test_sixteen_threads_on_one_event() -> None:
    for _ in range(20):
        event = Event('{"type":"x","delta":"y","list":[1,2,{"a":"b"}]}')
        values: list[object] = [None] * 16

        def work(number: int, event: Event = event, values: list[object] = values) -> None:
            values[number] = event.json()
            assert (event.type, event.delta, event["list"]) == ("x", "y", [1, 2, {"a": "b"}])

        together(16, work)
        assert all(value is values[0] for value in values)


def test_streams_of_many_threads_never_mix() -> None:
    def work(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - reproducible cuts
        streams = []
        for lane in range(8):
            marker = f"{number}-{lane}"
            text = "".join(
                f'id: {marker}\nevent: {marker}\ndata: {{"type":"{marker}","delta":"{marker}/{n}"}}\n\n'
                for n in range(250)
            )
            streams.append((marker, Decoder(), text.encode(), [0], [0]))
        open_lanes = list(streams)
        while open_lanes:
            lane_ = chance.choice(open_lanes)
            marker, decoder, data, at, seen = lane_
            step = chance.randint(1, 700)
            for event in decoder.feed(data[at[0] : at[0] + step]):
                assert (event.type, event.name, event.id) == (marker, marker, marker)
                assert event.delta == f"{marker}/{seen[0]}"
                seen[0] += 1
            at[0] += step
            if at[0] >= len(data):
                assert (seen[0], decoder.last_event_id) == (250, marker)
                open_lanes.remove(lane_)

    together(8, work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_forked_while_threads_decode() -> None:
    body = """
        import os, sys, threading, time
        from penstock import Decoder

        STREAM = b'event: n\\ndata: {"type":"x","delta":"y","list":[1,2,3]}\\n\\n' * 200
        stop = threading.Event()

        def decode():
            decoder = Decoder()
            for at in range(0, len(STREAM), 777):
                for event in decoder.feed(STREAM[at : at + 777]):
                    assert event.json()["delta"] == event.delta == "y"
            assert decoder.events == 200

        def loop():
            while not stop.is_set():
                decode()

        threads = [threading.Thread(target=loop) for _ in range(8)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(100):
            child = os.fork()
            if child == 0:
                decode()
                os._exit(0)
            children.append(child)
        statuses = []
        deadline = time.monotonic() + 60
        for child in children:
            while True:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    statuses.append(status)
                    break
                if time.monotonic() > deadline:
                    os.kill(child, 9)
                time.sleep(0.005)
        stop.set()
        for thread in threads:
            thread.join()
        sys.exit(any(statuses))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(body)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
