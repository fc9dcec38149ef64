"""`penstock serve` as a process: starting, signals, several workers, and what its log never says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis_server import RedisServer

from penstock import Decoder
from penstock.replay import ReplayServer

KEY = "sk-0123456789abcdefghij"


@contextmanager
def serve(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running gateway and its URL; it is killed if the test has not ended it."""
    command = [sys.executable, "-m", "penstock", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, process.stderr.read() if process.stderr else ""
        yield process, url
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def config(tmp_path: Path, upstream: str, **sections: Any) -> str:
    path = tmp_path / "gateway.yaml"
    replica = {"name": "a", "url": upstream, "dialect": "both", "history": "gateway"}
    data = {
        "upstreams": [replica],
        "store": {"kind": "sqlite", "path": str(tmp_path / "store.sqlite")},
        **sections,
    }
    path.write_text(yaml.safe_dump(data))
    return str(path)


def ask(url: str, key: str | None = None, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = {"model": "replay-text", "input": "Hello", **more}
    return httpx.post(f"{url}/v1/responses", json=request, headers=headers, trust_env=False, timeout=30)


def test_the_demo_needs_nothing_else() -> None:
    with serve("--demo") as (process, url):
        for model in ("replay-text", "bridged-text"):
            assert ask(url, model=model).json()["status"] == "completed"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_it_ends_with_its_standard_input() -> None:
    with serve("--demo", "--until-eof") as (process, url):
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        process.communicate("", timeout=10)
        assert process.returncode == 0


def test_one_upstream_on_the_command_line() -> None:
    with (
        ReplayServer() as upstream,
        serve("--upstream", upstream.base_url, OPENAI_API_KEY="sk-up") as (_, url),
    ):
        assert ask(url).json()["status"] == "completed"


BAD = {
    "no source": ([], "one of the arguments"),
    "two sources": (["--demo", "--upstream", "http://h"], "not allowed with"),
    "no file": (["--config", "/none.yaml"], "/none.yaml: No such file"),
    "off loopback without keys": (
        ["--upstream", "http://h", "--host", "0.0.0.0"],  # noqa: S104
        "keys: a gateway that listens",
    ),
    "a bad URL": (["--upstream", "h"], "upstreams[0].url"),
}


@pytest.mark.parametrize("row", BAD.values(), ids=BAD.keys())
def test_wrong_usage_is_told_without_a_traceback(row: tuple[list[str], str]) -> None:
    arguments, words = row
    command = [sys.executable, "-m", "penstock", "serve", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_configuration_can_be_checked(tmp_path: Path) -> None:
    path = config(tmp_path, "http://h/v1", keys=[{"name": "a", "key": KEY}])
    command = [sys.executable, "-m", "penstock", "serve", "--config", path, "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, "1 upstream(s), 1 key(s): good\n")


def test_streams_are_drained_when_it_is_told_to_stop() -> None:
    with serve("--demo") as (process, url):
        request = {"model": "replay-text+rate=200", "input": "Hello", "stream": True}
        with httpx.stream("POST", f"{url}/v1/responses", json=request, trust_env=False, timeout=30) as answer:
            chunks = answer.iter_bytes()
            content = next(chunks)
            process.send_signal(signal.SIGTERM)
            content += b"".join(chunks)
        assert Decoder().feed(content)[-1].type == "response.completed"
        assert process.wait(10) == 0


def test_a_second_signal_does_not_wait() -> None:
    with serve("--demo") as (process, url):
        request = {"model": "replay-text+stall@5", "input": "Hello", "stream": True}
        with httpx.stream("POST", f"{url}/v1/responses", json=request, trust_env=False, timeout=30) as answer:
            chunks = answer.iter_bytes()
            next(chunks)
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            process.wait(10)


def test_keys_are_read_again_on_sighup(tmp_path: Path) -> None:
    with ReplayServer() as upstream:
        path = config(tmp_path, upstream.base_url, keys=[{"name": "a", "key": KEY}])
        with serve("--config", path) as (process, url):
            assert ask(url, KEY).status_code == 200
            config(tmp_path, upstream.base_url, keys=[{"name": "a", "key": KEY[::-1]}])
            process.send_signal(signal.SIGHUP)
            assert eventually(lambda: ask(url, KEY[::-1]).status_code == 200)
            assert ask(url, KEY).status_code == 401
            Path(path).write_text("upstreams: 5")
            process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert ask(url, KEY[::-1]).status_code == 200, "a bad one changes nothing"
            process.terminate()
            _, log = process.communicate(timeout=10)
        assert '"event":"reloaded"' in log
        assert "upstreams: Input should be a valid list" in log


def test_workers_share_an_address_and_a_store(tmp_path: Path) -> None:
    with ReplayServer() as upstream:
        path = config(tmp_path, upstream.base_url)
        with serve("--config", path, "--workers", "2") as (process, url):
            assert eventually(lambda: httpx.get(f"{url}/health", trust_env=False).status_code == 200)
            made = [ask(url).json()["id"] for _ in range(6)]
            for response_id in made:
                assert httpx.get(f"{url}/v1/responses/{response_id}", trust_env=False).status_code == 200
                assert ask(url, previous_response_id=response_id).status_code == 200
            for _ in range(4):  # whichever worker is asked
                fault = {"penstock_fault": "stall@9"}
                running = ask(url, background=True, metadata=fault).json()["id"]
                place = f"{url}/v1/responses/{running}"
                assert httpx.get(place, trust_env=False).json()["status"] == "in_progress"
                assert httpx.post(f"{place}/cancel", trust_env=False).json()["status"] == "cancelled"
            figures = [httpx.get(f"{url}/metrics", trust_env=False).text for _ in range(4)]
            count = 'penstock_requests_total{route="/v1/responses",status="200"} 16'
            assert all(count in text for text in figures)
            process.terminate()
            assert process.wait(15) == 0


def test_workers_share_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    """Conversations, and streams in the background: whichever worker answers."""
    with ReplayServer() as upstream:
        path = config(tmp_path, upstream.base_url, store={"kind": "redis", "url": redis_server.url})
        with serve("--config", path, "--workers", "2") as (process, url):
            assert eventually(lambda: httpx.get(f"{url}/health", trust_env=False).status_code == 200)
            made = ask(url).json()["id"]
            for _ in range(8):
                assert ask(url, previous_response_id=made).status_code == 200
            fault = {"penstock_fault": "rate=200"}
            running = ask(url, background=True, metadata=fault).json()["id"]
            place = f"{url}/v1/responses/{running}"
            for _ in range(6):
                query = {"stream": "true", "starting_after": "20"}
                events = Decoder().feed(httpx.get(place, params=query, trust_env=False, timeout=30).content)
                assert (events[0].sequence_number or 0) > 20
                assert events[-1].type == "response.completed"
            process.terminate()
            assert process.wait(15) == 0


def test_no_secret_and_no_prompt_in_the_log(tmp_path: Path) -> None:
    """Canaries in the keys, the headers, the prompt and the metadata, and every way to fail."""
    canary = "canary5eed"
    with ReplayServer() as upstream:
        path = config(
            tmp_path,
            upstream.base_url,
            keys=[{"name": "team", "key": f"sk-{canary}-client-key"}],
            upstreams=[
                {"name": "a", "url": upstream.base_url, "dialect": "both", "history": "gateway",
                 "key": f"sk-{canary}-up", "headers": {"x-own": canary},
                 "forward_headers": ["x-penstock-fault"]},
                {"name": "gone", "url": "http://127.0.0.1:9/v1", "models": ["gone"]},
            ],
            limits={"idle": 0.3, "first_event": 0.3},
        )  # fmt: skip
        with serve("--config", path) as (process, url):
            key = f"sk-{canary}-client-key"
            faults = ("", "status=500", "status=401", "status=429", "html", "json-error", "cut@5", "reset@5",
                      "stall@5", "stall@0", "error-event@5", "malformed@5", "bad-utf8@5",
                      "wrong-dialect")  # fmt: skip
            for fault in faults:
                for stream in (True, False):
                    httpx.post(
                        f"{url}/v1/responses?{canary}={canary}",
                        json={
                            "model": "replay-echo",
                            "input": canary,
                            "stream": stream,
                            "metadata": {canary: canary},
                        },
                        headers={
                            "authorization": f"Bearer {key}",
                            "x-penstock-fault": fault,
                            "x-secret": canary,
                        },
                        trust_env=False,
                    )
            for wrong in (f"sk-{canary}", ""):
                assert ask(url, wrong).status_code == 401
            for content in (canary.encode(), json.dumps({"model": "replay-text", "user": canary}).encode()):
                httpx.post(f"{url}/v1/responses", content=content, headers={"api-key": key}, trust_env=False)
            ask(url, key, model="gone", input=canary)
            ask(url, key, previous_response_id=canary)
            httpx.get(f"{url}/v1/{canary}", headers={"api-key": key}, trust_env=False)
            figures = httpx.get(f"{url}/metrics", trust_env=False).text
            state = httpx.get(f"{url}/ui/state", headers={"api-key": key}, trust_env=False).text
            process.terminate()
            out, log = process.communicate(timeout=10)
    assert log.count('"event":"stream"') >= 2 * len(faults)
    for line in log.splitlines():
        json.loads(line)
    assert canary not in log + out + figures + state


def eventually(condition: Any, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return False
