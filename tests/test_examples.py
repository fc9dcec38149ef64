"""The examples run as they stand, against the replay upstream."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

from test_session import session, user

from penstock.replay import ReplayServer

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


async def test_a_voice_is_interrupted_and_goes_on() -> None:
    module = example("voice_loop")
    spoken: list[str] = []
    async with (
        ReplayServer(faults="rate=400") as server,
        session(server, model="replay-text", store=False) as talk,
    ):

        async def heard() -> AsyncIterator[str]:
            yield "Tell me all."
            while not spoken:  # noqa: ASYNC110 - the example knows no events
                await asyncio.sleep(0.01)
            yield "Stop. In short?"

        await asyncio.wait_for(module.converse(talk, heard(), spoken.append), 20)
        assert talk.connections == 1
        assert server.stats.streams == 2
    assert spoken.count(spoken[0]) == 2
    assert spoken[-1].endswith("too soon.")


def test_the_voice_loop_is_a_program() -> None:
    with ReplayServer() as server:
        command = [sys.executable, str(EXAMPLES / "voice_loop.py"), server.base_url, "replay-echo"]
        ran = subprocess.run(
            command, input="Hello.\n", capture_output=True, text=True, check=True, timeout=30,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )  # fmt: skip
    assert ran.stdout == "Hello.\n"
    assert "'continues', 1 of 1 items" in ran.stderr or "'first'" in ran.stderr


def test_the_service_has_less_than_a_hundred_lines() -> None:
    assert len((EXAMPLES / "pipeline_service.py").read_text("utf-8").splitlines()) < 100


async def test_a_service_in_a_pipeline() -> None:
    module, frames = example("pipeline_service"), []

    async def push(frame: Any) -> None:
        frames.append(frame)

    def payloads(kind: str) -> list[Any]:
        return [frame.payload for frame in frames if frame.kind == kind]

    async with ReplayServer() as server, session(server, compat="pipecat") as talk:
        service = module.ResponsesService(talk, push)
        context: list[Any] = [user("Hello there.")]
        await service.on_context(context)
        await service.idle()
        answer = "".join(payloads("text"))
        assert answer == "Hello there."
        assert [frame.kind for frame in frames if frame.kind != "text"] == ["start", "metrics", "end"]

        context += [{"role": "assistant", "content": answer}, user("And now slowly")]
        talk._settings["model"] = "replay-echo+tokens=500+rate=200"
        frames.clear()
        await service.on_context(context)
        while not payloads("text"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        talk._settings["model"] = "replay-tools"
        interrupted = [*context]
        context = [*interrupted, user("Open the gate")]
        frames.clear()
        await service.on_context(context)
        await service.idle()
        assert [call.name for call in payloads("calls")[0]] == ["read_gauge", "set_gate"]
        assert payloads("text") == []
        assert payloads("metrics")[0]["sent_items"] == 2
        assert talk.connections == 1

        talk._settings["model"] = "replay-echo+error=server_is_overloaded"
        frames.clear()
        await service.on_context(context)
        await service.idle()
        assert [frame.kind for frame in frames] == ["start", "failure", "end"]
