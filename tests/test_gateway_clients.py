"""Programs that people have, against the gateway: curl, openai-agents, the openai SDK's other release."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled
from gateways import Running, running
from openai import AsyncOpenAI
from test_gateway import MODELS, body

from penstock import Decoder, lint

CURL = shutil.which("curl")
OTHER_SDK = Path(__file__).parent.parent / ".venv" / "openai" / "2.54"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running() as gateway:
        yield gateway


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl(gateway: Running) -> None:
    for model in MODELS:
        command = [str(CURL), "-sSN", "--fail", f"{gateway.base_url}/responses", "--json"]
        ran = subprocess.run(
            [*command, json.dumps(body(f"{model}-text", stream=True))], capture_output=True, check=True
        )
        assert lint(ran.stdout) == []
        assert Decoder().feed(ran.stdout)[-1].type == "response.completed"
    head = subprocess.run(
        [str(CURL), "-sS", "-I", f"{gateway.url}/health"], capture_output=True, text=True, check=True
    )
    assert head.stdout.startswith("HTTP/1.1 200")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [OpenAIResponsesModel, OpenAIChatCompletionsModel])
async def test_openai_agents(gateway: Running, model: str, kind: type) -> None:
    set_tracing_disabled(True)
    async with AsyncOpenAI(base_url=gateway.base_url, api_key="none", max_retries=0) as sdk:
        agent = Agent(name="Keeper", instructions="Be brief.", model=kind(f"{model}-text", sdk))
        whole = await Runner.run(agent, "Hello")
        assert whole.final_output.startswith("A penstock carries")
        streamed = Runner.run_streamed(agent, "Hello")
        kinds = [event.type async for event in streamed.stream_events()]
        assert "raw_response_event" in kinds
        assert streamed.final_output == whole.final_output


PROGRAM = """
import sys
from openai import OpenAI, __version__
client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
assert __version__.startswith("2."), __version__
for model in ("replay", "chat", "responses"):
    events = list(client.responses.create(model=f"{model}-text", input="Hello", stream=True))
    assert events[-1].type == "response.completed", events[-1]
    previous = events[-1].response.id
    again = client.responses.create(model=f"{model}-echo", input="on", previous_response_id=previous)
    assert again.output_text == "on"
    chunks = list(client.chat.completions.create(
        model=f"{model}-text", messages=[{"role": "user", "content": "Hello"}], stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
with client.responses.connect() as connection:
    for model in ("replay", "chat", "responses"):
        connection.response.create(model=f"{model}-text", input="Hello")
        for event in connection:
            if event.type == "response.completed":
                break
        previous = event.response.id
        connection.response.create(model=f"{model}-echo", input="on", previous_response_id=previous)
        for event in connection:
            if event.type == "response.completed":
                break
        assert event.response.output_text == "on"
print("good")
"""


@pytest.mark.skipif(not OTHER_SDK.exists(), reason="`make test` installs the SDK's other release")
def test_the_sdk_s_other_release(gateway: Running) -> None:
    environment = {**os.environ, "PYTHONPATH": str(OTHER_SDK)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, gateway.base_url],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "good\n"), ran.stderr[-2_000:]
