"""The openai SDK's clients over penstock, against the replay upstream and beside the SDK's own clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseErrorEvent, ResponseTextDeltaEvent
from openai_streams import chat_stream, responses_stream, sse

import penstock
from penstock.integrations import openai as drop_in
from penstock.integrations.openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from penstock.replay import ReplayServer

Ask = Callable[[Any, str], Any]


def responses(client: Any, model: str) -> Any:
    return client.responses.create(model=model, input="x", stream=True)


def chat(client: Any, model: str) -> Any:
    messages = [{"role": "user", "content": "x"}]
    options = {"include_usage": True}
    return client.chat.completions.create(model=model, messages=messages, stream=True, stream_options=options)


APIS: dict[str, Ask] = {"responses": responses, "chat": chat}


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with ReplayServer() as server:
        yield server.base_url


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Starts an upstream that plays these very bytes, and gives its URL."""
    with contextlib.ExitStack() as servers:

        def start(body: bytes) -> str:
            path = tmp_path / "stream.sse"
            path.write_bytes(body)
            return servers.enter_context(ReplayServer(recordings=[path])).base_url

        yield start


class Face:
    """The sync or the async clients, ours or the SDK's, used in one way."""

    def __init__(self, kind: str) -> None:
        self.asynchronous = kind == "async"
        self.ours: Any = AsyncOpenAI if self.asynchronous else OpenAI
        self.theirs: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI

    def read(
        self, ask: Ask, url: str, model: str = "recorded", *, sdk: bool = False, **options: Any
    ) -> list[Any]:
        """All events of one stream; what fails carries what had come before as `events`."""
        client = (self.theirs if sdk else self.ours)(
            base_url=url, api_key="k", **{"max_retries": 0, **options}
        )
        events: list[Any] = []
        try:
            if self.asynchronous:
                asyncio.run(self._read_async(client, ask, model, events))
            else:
                with client, ask(client, model) as stream:
                    events.extend(stream)
        except Exception as error:
            error.events = events  # type: ignore[attr-defined]
            raise
        return events

    @staticmethod
    async def _read_async(client: Any, ask: Ask, model: str, events: list[Any]) -> None:
        async with client, await ask(client, model) as stream:
            async for event in stream:
                events.append(event)  # what came before an error counts

    def failure(self, *arguments: Any, **options: Any) -> Any:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            self.read(*arguments, **options)
        return caught.value


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Face:
    return Face(request.param)


def dumps(events: list[Any]) -> list[str]:
    return [f"{type(event).__name__} {event.to_json(warnings=False)}" for event in events]


SCRIPTS = ["text", "reasoning", "tools", "full", "json", "unicode", "refusal", "incomplete", "empty"]


@pytest.mark.parametrize("model", SCRIPTS)
@pytest.mark.parametrize("api", APIS)
def test_streams_equal_the_sdks(face: Face, upstream: str, api: str, model: str) -> None:
    ours, theirs = (face.read(APIS[api], upstream, f"replay-{model}", sdk=sdk) for sdk in (False, True))
    # Ids and times of two requests differ, by their number.
    for one, other in zip(ours, theirs, strict=True):
        assert type(one.model_copy()) is type(other)
        assert one.model_dump(warnings=False).keys() == other.model_dump(warnings=False).keys()
        assert getattr(one, "delta", None) == getattr(other, "delta", None)


@pytest.mark.parametrize("framing", ["", "+split=7", "+crlf", "+comment-every=2", "+coalesce=100000"])
def test_recorded_streams_equal_the_sdks(face: Face, playing: Callable[[bytes], str], framing: str) -> None:
    for ask, payloads, done in ((responses, responses_stream(), False), (chat, chat_stream(), True)):
        url = playing(sse(payloads, done=done))
        ours, theirs = (face.read(ask, url, f"recorded{framing}", sdk=sdk) for sdk in (False, True))
        assert len(ours) == len(payloads)
        assert dumps(ours) == dumps(theirs)
        assert ours == theirs


@pytest.mark.parametrize("api", APIS)
def test_typed_builds_the_sdks_models(face: Face, playing: Callable[[bytes], str], api: str) -> None:
    url = playing(sse(responses_stream() if api == "responses" else chat_stream(), done=api == "chat"))
    ask = APIS[api]
    for events in (
        face.read(ask, url, typed=True),
        face.read(lambda client, model: ask(client.with_options(typed=True), model), url),
        face.read(
            lambda client, model: ask(client.copy(timeout=9).copy(max_retries=1), model), url, typed=True
        ),
        face.read(ask, url, _strict_response_validation=True) if api == "chat" else [],
    ):
        assert all(type(event).__module__.startswith("openai.types.") for event in events)
        assert all(type(event) is event.__class__ for event in events)
    lazy = face.read(lambda client, model: ask(client.with_options(typed=False), model), url, typed=True)
    assert type(lazy[0]) is not lazy[0].__class__


def test_a_program_for_the_sdk_runs(upstream: str) -> None:
    client = OpenAI(base_url=upstream, api_key="k")
    with client.responses.create(model="replay-full", input="x", stream=True) as stream:
        assert isinstance(stream, Stream)
        assert isinstance(stream, openai.Stream)
        assert stream.response.headers["x-request-id"].startswith("req_")
        first = next(stream)
        assert first.type == "response.created"
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text.startswith("Let me look")
    with client.responses.create(model="replay-full", input="x", stream=True) as stream:
        for event in stream:
            if isinstance(event, ResponseTextDeltaEvent):
                assert event.content_index == 0
            elif event.type == "response.completed":
                assert event.response.output_text == text
                message: Any = event.response.output[1]
                assert message.content[0].text == text
                assert event.response.usage is not None
                assert event.response.usage.input_tokens_details.cached_tokens == 0
    whole = client.responses.create(model="replay-full", input="x")
    assert whole.output_text == text
    client.close()


async def test_an_async_program_for_the_sdk_runs(upstream: str) -> None:
    async with AsyncOpenAI(base_url=upstream, api_key="k") as client:
        stream = await client.chat.completions.create(
            model="replay-text", messages=[{"role": "user", "content": "x"}], stream=True
        )
        assert isinstance(stream, AsyncStream)
        assert isinstance(stream, openai.AsyncStream)
        first = await anext(stream)
        assert isinstance(first, ChatCompletionChunk)
        assert first.choices[0].delta.role == "assistant"
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        whole = await client.chat.completions.create(
            model="replay-text", messages=[{"role": "user", "content": "x"}]
        )
        assert text == whole.choices[0].message.content


def test_iteration_goes_on_where_it_stopped(face: Face, upstream: str) -> None:
    total = len(face.read(responses, upstream, "replay-text"))
    with OpenAI(base_url=upstream, api_key="k") as client, responses(client, "replay-text") as stream:
        for event in stream:
            assert event.type == "response.created"
            break
        assert next(stream).type == "response.in_progress"
        assert len(list(stream)) == total - 2
        assert list(stream) == []


def test_raw_and_streaming_responses(upstream: str) -> None:
    with OpenAI(base_url=upstream, api_key="k") as client:
        raw = client.responses.with_raw_response.create(model="replay-text", input="x", stream=True)
        assert raw.status_code == 200
        with raw.parse() as stream:
            assert isinstance(stream, Stream)
            assert [event.type for event in stream][-1] == "response.completed"
        messages: Any = [{"role": "user", "content": "x"}]
        with client.chat.completions.with_streaming_response.create(
            model="replay-text", messages=messages, stream=True
        ) as response:
            parsed: Any = response.parse()
            assert isinstance(parsed, Stream)
            assert list(parsed)[-1].choices[0].finish_reason == "stop"


def test_stream_helpers(upstream: str) -> None:
    with OpenAI(base_url=upstream, api_key="k") as client:
        with client.responses.stream(model="replay-full", input="x") as stream:
            snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert final.output_text == snapshots[-1]
        messages: Any = [{"role": "user", "content": "x"}]
        with client.chat.completions.stream(model="replay-tools", messages=messages) as chat_events:
            kinds = {event.type for event in chat_events}
            completion = chat_events.get_final_completion()
        assert "tool_calls.function.arguments.done" in kinds
        assert completion.choices[0].finish_reason == "tool_calls"
        with (
            client.responses.stream(model="replay-full+cut@9", input="x") as stream,
            pytest.raises(penstock.IncompleteStream),
        ):
            stream.get_final_response()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_errors_before_the_stream(
    face: Face, upstream: str, status: int, error: type[openai.APIStatusError]
) -> None:
    failure: Any = face.failure(responses, upstream, f"replay-text+status={status}")
    assert (type(failure), failure.status_code) == (error, status)
    assert failure.request_id.startswith("req_")


def test_retries_are_the_sdks(face: Face, upstream: str) -> None:
    model = f"replay-text+status=503:0+first=2+delay=0.00{face.asynchronous:d}"
    assert face.read(responses, upstream, model, max_retries=2)[-1].type == "response.completed"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("typed", [False, True])
def test_an_error_object_in_the_stream(face: Face, upstream: str, api: str, typed: bool) -> None:
    ours, theirs = (
        face.failure(APIS[api], upstream, "replay-text+error-event@4", **options)
        for options in ({"typed": typed}, {"sdk": True})
    )
    assert [type(ours), type(theirs)] == [openai.APIError] * 2
    assert (ours.message, ours.code, ours.type, ours.body) == (
        theirs.message,
        theirs.code,
        theirs.type,
        theirs.body,
    )
    assert len(ours.events) == 4
    assert str(ours.request.url) == str(theirs.request.url)


FLAT_ERROR = '{"message":"Overloaded","code":"overloaded","type":"server_error"}'


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b'data: {"error":{"message":"Overloaded"}}', "Overloaded"),
        (b'data: {"error":"Overloaded"}', "Overloaded"),
        (b'data: {"error":{"code":5}}', "An error occurred during streaming"),
        (b"event: error\ndata: " + FLAT_ERROR.encode(), "Overloaded"),
        (b'event: error\ndata: {"type":"error","error":{"message":"Overloaded"}}', "Overloaded"),
        (b'data: {"type":"error","message":"Overloaded"}', "Overloaded"),
        (b'data: {"object":"error","message":"Overloaded","code":40303}', "Overloaded"),
        (b"event: error\ndata: Overloaded", "Overloaded"),
        (b'event: error\ndata: "Overloaded"', "Overloaded"),
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_every_form_of_an_error_raises_in_a_chat_stream(
    face: Face, playing: Callable[[bytes], str], frame: bytes, message: str, typed: bool
) -> None:
    url = playing(sse(chat_stream()[:3]) + frame + b"\n\n" + sse(chat_stream()[3:], done=True))
    failure = face.failure(chat, url, typed=typed)
    assert issubclass(type(failure), openai.APIError)
    assert failure.message == message
    assert failure.body is not None
    assert len(failure.events) == 3


@pytest.mark.parametrize("named", [True, False])
def test_a_responses_stream_hands_its_error_event_over(
    face: Face, playing: Callable[[bytes], str], named: bool
) -> None:
    error = {"type": "error", "message": "Overloaded", "code": "x", "param": None, "sequence_number": 4}
    events = face.read(responses, playing(sse([*responses_stream()[:4], error], named=named)))
    assert isinstance(events[-1], ResponseErrorEvent)
    assert (events[-1].type, events[-1].message) == ("error", "Overloaded")
    only_named = sse(responses_stream()[:4]) + b"event: error\ndata: " + FLAT_ERROR.encode() + b"\n\n"
    with contextlib.suppress(penstock.IncompleteStream):
        events = face.read(responses, playing(only_named))
    assert isinstance(events[-1], ResponseErrorEvent)


def test_broken_json_is_a_value_error(face: Face, upstream: str) -> None:
    for api in APIS.values():
        assert isinstance(face.failure(api, upstream, "replay-text+malformed@5"), ValueError)


@pytest.mark.parametrize(
    ("word", "message"), [("json-error", "in the middle"), ("html", "not an event stream")]
)
def test_a_body_that_is_no_stream(face: Face, upstream: str, word: str, message: str) -> None:
    for api in APIS.values():
        failure = face.failure(api, upstream, f"replay-text+{word}")
        assert issubclass(type(failure), openai.APIError)
        assert message in failure.message
        assert face.read(api, upstream, f"replay-text+{word}", strict_end=False) == []
        assert face.read(api, upstream, f"replay-text+{word}", sdk=True) == []


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["cut@9", "cut-bytes@4000", "cut@0", "json-error@9"])
def test_a_cut_stream_raises(face: Face, upstream: str, api: str, fault: str) -> None:
    model = f"replay-text+{fault}"
    failure = face.failure(APIS[api], upstream, model)
    came = len(failure.events)
    assert isinstance(failure, penstock.IncompleteStream)
    as_the_sdk = face.read(APIS[api], upstream, model, strict_end=False)
    assert came == len(as_the_sdk) == len(face.read(APIS[api], upstream, model, sdk=True))
    if fault == "cut@9":
        assert failure.partial is not None
        assert "A penstock" in str(failure.partial)
        assert "completed" not in str(failure.partial)


def test_ends_that_are_no_cuts(face: Face, upstream: str, playing: Callable[[bytes], str]) -> None:
    for model in ("replay-incomplete", "replay-text+no-blank-at-eof", "replay-text+done"):
        assert face.read(responses, upstream, model)[-1].type in {"response.incomplete", "response.completed"}
    assert face.read(chat, upstream, "replay-text+no-done")[-1].usage is not None
    assert len(face.read(chat, playing(sse(chat_stream()[:4], done=True)))) == 4
    after_done = sse(chat_stream(), done=True) + b'data: {"error":"too late"}\n\n'
    assert len(face.read(chat, playing(after_done))) == len(chat_stream())


@pytest.mark.parametrize("fault", ["close@9", "reset@9"])
def test_transport_errors_are_the_sdks(face: Face, upstream: str, fault: str) -> None:
    ours, theirs = (face.failure(chat, upstream, f"replay-text+{fault}", sdk=sdk) for sdk in (False, True))
    assert type(ours) is type(theirs)
    assert len(ours.events) == len(theirs.events) == 9


def test_time_outs_are_the_sdks(face: Face, upstream: str) -> None:
    # What comes before the stall has to come in time as well, which on a busy machine takes a longer one.
    for seconds in (0.2, 2.0, 20.0):
        ours, theirs = (
            face.failure(responses, upstream, "replay-text+stall@5", sdk=sdk, timeout=seconds)
            for sdk in (False, True)
        )
        if len(ours.events) == len(theirs.events) == 5:
            break
    assert type(ours) is type(theirs)
    assert len(ours.events) == 5


def test_close_hangs_up(upstream: str) -> None:
    with ReplayServer() as server, OpenAI(base_url=server.base_url, api_key="k") as client:
        with responses(client, "replay-text+stall@5") as stream:
            next(stream)
        assert stream.response.is_closed
        stream.close()
        with chat(client, "replay-text") as other:
            list(other)
        # The server counts an answer when it has written it, which its client may see first.
        deadline = time.monotonic() + 20
        while (server.stats.completed, server.stats.aborted) != (1, 1) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (server.stats.completed, server.stats.aborted) == (1, 1)


async def test_async_connections_are_reused() -> None:
    async with ReplayServer() as server, AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
        for _ in range(3):
            async with await responses(client, "replay-text") as stream:
                assert [event.type async for event in stream][-1] == "response.completed"
        assert server.stats.connections == 1


async def test_a_cancelled_read_is_no_end(upstream: str) -> None:
    async with AsyncOpenAI(base_url=upstream, api_key="k") as client:
        stream = await responses(client, "replay-text+stall@5")
        events = [await anext(stream) for _ in range(5)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        assert stream.response.is_closed
        assert len(events) == 5
        with pytest.raises(penstock.IncompleteStream):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


def test_other_streams_and_names_are_the_sdks() -> None:
    names: Any = drop_in
    assert names.APIError is openai.APIError
    assert drop_in.Client is OpenAI
    assert drop_in.AsyncClient is AsyncOpenAI
    with pytest.raises(AttributeError):
        _ = names.no_such_name


@pytest.mark.parametrize("client", [drop_in.AzureOpenAI, drop_in.AsyncAzureOpenAI])
def test_azure(upstream: str, client: type) -> None:
    azure = Face("async" if client is drop_in.AsyncAzureOpenAI else "sync")
    azure.ours = client
    options: dict[str, Any] = {"api_version": "2025-03-01-preview", "typed": True}
    assert azure.read(responses, upstream, "replay-text", **options)[-1].type == "response.completed"
    retyped = client(base_url=upstream, api_key="k", **options).with_options(typed=False)
    assert (retyped.typed, retyped.strict_end) == (False, True)
    assert isinstance(retyped, openai.AzureOpenAI | openai.AsyncAzureOpenAI)


VERSIONS = sorted(Path(os.environ.get("PENSTOCK_OPENAI_VERSIONS", Path(sys.prefix) / "openai")).glob("*/"))


@pytest.mark.skipif(not VERSIONS, reason="no other versions of the SDK are installed")
@pytest.mark.skipif("PENSTOCK_OPENAI_INNER" in os.environ, reason="this is the run with another version")
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_other_versions_of_the_sdk(version: Path) -> None:
    """The same tests in a process that finds another openai first, put there by `pip install --target`."""
    environment = {**os.environ, "PYTHONPATH": str(version), "PENSTOCK_OPENAI_INNER": "1"}
    tests = [str(path) for path in Path(__file__).parent.glob("test_openai*.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
