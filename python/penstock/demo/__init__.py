"""The demo: streams through a gateway in a process of its own, and what penstock makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any, Final

import httpx

import penstock

from .plain import PlainStage
from .stage import Stage

__all__ = ["open_stage", "play"]

LINES_NEEDED: Final = 24
"""Text that grows is drawn again and again, which a terminal lower than it cannot show."""

QUESTION: Final = "The upper weir is rising. What should we do about gate 2?"


def play(stage: Stage, rate: float = 1.0) -> None:
    """Play the scenes, `rate` times as fast as is good to watch.

    Raises `RuntimeError` where the gateway does not start.
    """
    began, streams = time.monotonic(), 4
    with _gateway() as url:
        stage.opening(url)
        request: dict[str, Any] = {"input": QUESTION, "stream": True}

        stage.scene("Responses through httpx", "penstock.Stream(response)")
        body = {**request, "model": f"replay-full+rate={150 * rate:.0f}"}
        _stream(stage, f"{url}/v1/responses", body)

        stage.scene("Responses from a Chat Completions upstream", "bridged; penstock.AsyncStream(response)")
        body = {**request, "model": f"bridged-text+rate={250 * rate:.0f}"}
        asyncio.run(_stream_async(stage, f"{url}/v1/responses", body))

        stage.scene("Chat Completions", "the same Stream; the dialect tells itself")
        chat = {
            "messages": [{"role": "user", "content": QUESTION}],
            "stream_options": {"include_usage": True},
        }
        body = {**chat, "stream": True, "model": f"replay-reasoning+rate={130 * rate:.0f}"}
        _stream(stage, f"{url}/v1/chat/completions", body)

        streams += _with_the_sdk(stage, url, rate)

        stage.scene(
            "An upstream that breaks off", "the gateway ends the stream truthfully and keeps what came"
        )
        body = {**request, "model": f"replay-text+rate={130 * rate:.0f}+cut@90"}
        _stream(stage, f"{url}/v1/responses", body)
    stage.closing(time.monotonic() - began, streams)


def _with_the_sdk(stage: Stage, url: str, rate: float) -> int:
    """The scenes whose client is the openai SDK, where it is installed; how many streams they had."""
    try:
        from . import sdk  # noqa: PLC0415 - openai is an extra
    except ImportError:
        return 0
    stage.scene("The openai SDK", "client.responses.create(stream=True)")
    request = {"model": f"replay-tools+rate={130 * rate:.0f}", "input": QUESTION}
    sdk.stream(stage, url, request)
    stage.scene("The openai SDK over a WebSocket", "two turns, the second with nothing but what is new")
    turns = ["Is gate 2 open?", "Then close it by half."]
    asyncio.run(sdk.converse(stage, url, f"replay-echo+rate={60 * rate:.0f}", turns))
    return 1 + len(turns)


def open_stage(*, plain: bool) -> Stage:
    """A stage for this terminal; the plain one where that is asked for, or rich is missing or of no use."""
    poor = os.environ.get("TERM") in (None, "", "dumb", "unknown")
    if plain or poor or not sys.stdout.isatty() or shutil.get_terminal_size().lines < LINES_NEEDED:
        return PlainStage()
    try:
        from .rich import RichStage  # noqa: PLC0415 - rich is an extra
    except ImportError:
        return PlainStage()
    return RichStage()


@contextlib.contextmanager
def _gateway() -> Iterator[str]:
    """Run `penstock serve --demo`; it ends with its standard input, so also if this process is killed."""
    command = [
        sys.executable,
        "-m",
        "penstock",
        "serve",
        "--demo",
        "--port",
        "0",
        "--log",
        "off",
        "--until-eof",
    ]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as gateway:  # noqa: S603 - our own words
        try:
            url = gateway.stdout.readline().strip() if gateway.stdout else ""
            if not url:
                raise RuntimeError("the gateway did not start")
            yield url
        finally:
            if gateway.stdin:
                gateway.stdin.close()
            try:
                gateway.wait(5)
            except TimeoutExpired:
                gateway.kill()


def _stream(stage: Stage, url: str, body: Mapping[str, Any]) -> None:
    with httpx.Client(trust_env=False) as client:
        started = time.monotonic()
        with (
            client.stream("POST", url, json=body) as response,
            penstock.Stream(response, started=started) as stream,
        ):
            with stage.streaming() as show:
                for event in stream:
                    show(event)
            try:
                stage.final(stream.final())
            except penstock.IncompleteStream as incomplete:
                stage.incomplete(incomplete)
    stage.figures(stream.stats)


async def _stream_async(stage: Stage, url: str, body: Mapping[str, Any]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        started = time.monotonic()
        async with (
            client.stream("POST", url, json=body) as response,
            penstock.AsyncStream(response, started=started) as stream,
        ):
            with stage.streaming() as show:
                async for event in stream:
                    show(event)
            stage.final(await stream.final())
    stage.figures(stream.stats)
