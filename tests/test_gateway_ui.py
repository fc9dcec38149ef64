"""The live page in a real browser, and the browser itself as a client: EventSource and fetch.

Chromium is driven over its DevTools WebSocket; without it the tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateways import Running, running
from processes import stop
from test_gateway import ask, body
from websockets.asyncio.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(await self._socket.recv())).get("id") != number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self, script: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, timeout=20_000
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script: str, seconds: float = 15.0) -> Any:
        """The expression's value as soon as it is true."""
        async with asyncio.timeout(seconds):
            while not (value := await self.run(script)):  # noqa: ASYNC110 - the page tells nobody
                await asyncio.sleep(0.05)
        return value


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    """A headless browser; the address of its DevTools."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # its last writes may come late
        command = [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run", "--mute-audio",
            "--disable-background-networking", "--disable-component-update", "about:blank",
        ]  # fmt: skip
        environment = {**os.environ, "HOME": profile}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as process:
            try:
                yield _devtools(Path(profile) / "DevToolsActivePort", process)
            finally:
                stop(process)


def _devtools(file: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and (text := file.read_text()).count("\n") == 1:
            return f"http://127.0.0.1:{text.splitlines()[0]}"
        time.sleep(0.05)
    raise AssertionError("chromium did not start")


@asynccontextmanager
async def tab(browser: str, url: str) -> AsyncIterator[Page]:
    async with httpx.AsyncClient(trust_env=False) as client:
        made = (await client.put(f"{browser}/json/new?{url}")).json()
        async with connect(made["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            page = Page(socket)
            await page.call("Runtime.enable")
            await page.until("location.href !== 'about:blank' && document.readyState === 'complete'")
            yield page
        await client.get(f"{browser}/json/close/{made['id']}")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running() as gateway:
        yield gateway


async def test_the_page_shows_what_runs_and_what_ran(browser: str, gateway: Running) -> None:
    with gateway.client() as client:
        await asyncio.to_thread(ask, client, body("chat-text", stream=True))
        await asyncio.to_thread(ask, client, body("replay-text+cut@5", stream=True))
    slow = body("replay-text+rate=30", stream=True)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as slowly,
        slowly.stream("POST", f"{gateway.base_url}/responses", json=slow) as answer,
        tab(browser, f"{gateway.url}/ui") as page,
    ):
        chunks = answer.aiter_bytes()
        await anext(chunks)
        await page.until("document.getElementById('active')?.textContent === '1'")
        assert await page.until("Number(document.getElementById('events').textContent) > 5")
        rows = await page.run(
            "[...document.querySelectorAll('#streams tbody tr')].map((row) => row.innerText)"
        )
        assert "running" in rows[0]
        assert any("bridged" in row and "completed" in row for row in rows)
        ends = await page.run("document.getElementById('terminals').innerText")
        assert "completed" in ends
        assert "failed" in ends
        assert (await page.run("document.getElementById('first').textContent")).startswith("≤")
        await page.run("document.querySelector('#streams tbody tr').click()")
        points = await page.until("document.querySelector('#timeline polyline')?.getAttribute('points')")
        assert points.count(",") > 5
        assert "replay-text+rate=30, running" in await page.run(
            "document.getElementById('title').textContent"
        )


async def test_the_page_uses_the_key_that_it_was_given(browser: str) -> None:
    key = "sk-0123456789abcdefghij"
    with running(keys=[{"name": "a", "key": key}]) as gateway:
        async with tab(browser, f"{gateway.url}/health") as page:
            await page.run(f"sessionStorage.setItem('key', '{key}')")
            await page.call("Page.navigate", url=f"{gateway.url}/ui")
            await page.until("document.getElementById('where')?.textContent.startsWith('live')")


READ = """
(async () => {
  const answer = await fetch('/v1/responses', {method: 'POST', headers: {'content-type': 'application/json'},
    body: JSON.stringify({model: 'MODEL', input: 'Hello', stream: true})});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) { const {value, done} = await reader.read(); if (done) break; text += value; }
  return [...text.matchAll(/^event: (.*)$/gm)].map((match) => match[1]);
})()
"""


@pytest.mark.parametrize("model", ["replay-text", "chat-text"])
async def test_fetch_reads_a_stream(browser: str, gateway: Running, model: str) -> None:
    async with tab(browser, f"{gateway.url}/ui") as page:
        kinds = await page.run(READ.replace("MODEL", model))
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert len(kinds) > 200


async def test_an_event_source_reads_a_stored_response(browser: str, gateway: Running) -> None:
    with gateway.client() as client:
        made = await asyncio.to_thread(ask, client, body("replay-text"))
    script = f"""new Promise((resolve) => {{
      const source = new EventSource('/v1/responses/{made["id"]}?stream=true'), kinds = [];
      for (const kind of ['response.created', 'response.output_text.delta', 'response.completed'])
        source.addEventListener(kind, (event) => {{
          kinds.push([kind, JSON.parse(event.data).type]);
          if (kind === 'response.completed') {{ source.close(); resolve(kinds); }}
        }});
    }})"""
    async with tab(browser, f"{gateway.url}/ui") as page:
        kinds = await page.run(script)
    assert all(name == kind for name, kind in kinds)
    assert kinds[0][0] == "response.created"
    assert kinds[-1][0] == "response.completed"


async def test_a_page_of_another_origin_gets_nothing(browser: str, gateway: Running) -> None:
    with running() as other:
        async with tab(browser, f"{other.url}/ui") as page:
            script = f"fetch('{gateway.base_url}/models').then(() => 'read', (error) => error.name)"
            assert await page.run(script) == "TypeError"
