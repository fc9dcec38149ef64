"""Getting an answer: requests as upstreams want them, other replicas where one fails, errors for clients.

A request is only sent again while no byte of an answer has come: what a model has begun to say is never said
twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from penstock.request_bodies import (
    UnsupportedFieldError,
    chat_request_to_responses,
    responses_request_to_chat,
)

from .client import Answer, ConnectError, UpstreamCut
from .config import Config
from .http import ApiError, error_object
from .records import Ledger, Record
from .routing import PATHS, Api, Upstream

if TYPE_CHECKING:
    from penstock.prefix import PrefixChain

    from .client import Headers

__all__ = ["Asked", "Question", "ask", "passed_headers"]

Json = dict[str, Any]

MAX_ERROR_BYTES: Final = 256 * 1024
ERROR_SECONDS: Final = 10.0
"""How long an error's body may keep silent; without it the status alone is told."""

BACKOFF: Final = 0.05
"""Seconds before the same upstream is asked again, doubled each time, and half of it by chance."""

_UP: Final = (b"traceparent", b"tracestate", b"x-request-id", b"openai-beta", b"idempotency-key")
_DOWN: Final = frozenset({
    b"openai-processing-ms", b"openai-version", b"openai-organization", b"retry-after", b"retry-after-ms",
})  # fmt: skip


@dataclass(slots=True, repr=False)
class Question:
    """A client's request as the gateway understood it."""

    api: Api
    body: Json
    raw: bytes
    """The body as it came, sent on untouched where nothing has to change."""
    stream: bool
    headers: Mapping[bytes, bytes]
    history: list[Json] | None = None
    """Items of the earlier turns, where the gateway knows them."""
    previous: str | None = None
    """The id that the upstream knows the earlier response by, where it keeps them."""
    bound: str | None = None
    """The upstream that alone can answer, as it keeps the earlier response."""
    background: bool = False
    """Whether it runs without its client."""
    chain: PrefixChain | None = None
    """The input's digests, where there are replicas to choose from."""

    @property
    def recalled(self) -> str | None:
        """The response that it continues, where the gateway alone knows that."""
        return self.body["previous_response_id"] if self.history is not None else None

    @property
    def model(self) -> str:
        """The model by the client's name."""
        model: str = self.body["model"]
        return model

    def body_for(self, upstream: Upstream) -> bytes:
        """The body that asks an upstream for this. Raises `ApiError` 400 for what its API cannot say."""
        api, model = upstream.api_for(self.api), upstream.model(self.model)
        given = self.body.get("previous_response_id") if self.api == "responses" else None
        if (
            not self.background
            and api == self.api
            and model == self.model
            and self.history is None
            and given == self.previous
        ):
            return self.raw
        body = {**self.body, "model": model}
        if self.background:
            del body["background"]
            body["stream"] = True
        if self.api == "responses":
            body.pop("previous_response_id", None)
            if self.previous is not None:
                body["previous_response_id"] = self.previous
            if self.history is not None:
                body["input"] = [*self.history, *items_of(self.body.get("input"))]
        if api != self.api:
            body = self._converted(body)
        return orjson.dumps(body)

    def _converted(self, body: Json) -> Json:
        try:
            if self.api == "responses":
                return responses_request_to_chat(body).body
            return chat_request_to_responses(body).body
        except UnsupportedFieldError as error:
            message = f"The upstream of this model has no form for {error.path}."
            raise ApiError(400, message, code="unsupported_parameter", param=error.path) from None
        except ValueError as error:
            raise ApiError(400, f"The request cannot be carried over: {error}.") from None

    def headers_for(self, upstream: Upstream) -> Headers:
        """What is sent beside the body: the upstream's own key, never the client's."""
        accept = b"text/event-stream" if self.stream else b"application/json"
        headers = [
            (b"content-type", b"application/json"),
            (b"accept", accept),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"penstock"),
        ]
        if upstream.config.key is not None:
            headers.append((b"authorization", b"Bearer " + upstream.config.key.get_secret_value().encode()))
        wanted = (*_UP, *(name.lower().encode("latin-1") for name in upstream.config.forward_headers))
        sent = self.headers
        headers += [(name, sent[name]) for name in dict.fromkeys(wanted) if name in sent]
        own = upstream.config.headers.items()
        headers += [
            (name.lower().encode("latin-1"), value.get_secret_value().encode()) for name, value in own
        ]
        return headers


@dataclass(slots=True, repr=False)
class Asked:
    """An upstream's good answer, and the first bytes of its body."""

    upstream: Upstream
    answer: Answer
    first: bytes

    def taken(self) -> bytes:
        """The first bytes, for whoever forwards them: they are kept no longer."""
        first, self.first = self.first, b""
        return first


def items_of(given: Any) -> list[Json]:
    """Input as items: a text is a user's message."""
    if given is None:
        return []
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def passed_headers(answer: Answer) -> Headers:
    """The upstream's headers that clients get: limits, times, and its own id of the request."""
    kept = [
        (name, value) for name, value in answer.headers if name in _DOWN or name.startswith(b"x-ratelimit-")
    ]
    upstream_id = answer.header(b"x-request-id")
    return [*kept, (b"x-upstream-request-id", upstream_id)] if upstream_id else kept


async def ask(
    question: Question, order: list[Upstream], config: Config, ledger: Ledger, record: Record
) -> Asked:
    """Ask one upstream after the other until one answers well; the best comes first in `order`.

    The upstream's `active` count is raised for the one that answered; whoever gets it gives it back.

    Raises:
        ApiError: the last one's failure as the client is to see it.
    """
    failure: ApiError | None = None
    for attempt in range(config.retry.attempts):
        upstream = order[attempt % len(order)]
        again = attempt >= len(order)
        if again:
            if failure is not None and failure.status == 429:
                break  # nobody else is there to ask, and it has said when to come back
            await asyncio.sleep(BACKOFF * 2 ** (attempt - len(order)) * (1 + random.random()) / 2)  # noqa: S311
        record.attempts, record.upstream = attempt + 1, upstream.name
        upstream.active += 1
        asked: Asked | None = None
        try:
            asked = await _once(question, upstream, config, record)
        except _Retry as retry:
            failure = retry.error
            upstream.rest(config.retry.cooldown)
            ledger.retries[upstream.name] += attempt + 1 < config.retry.attempts
        finally:
            if asked is None:
                upstream.active -= 1
        if asked is not None:
            upstream.failed_until = 0.0
            return asked
    assert failure is not None  # noqa: S101 — there is at least one attempt
    raise failure


class _Retry(Exception):  # noqa: N818
    """Another attempt may do better."""

    def __init__(self, error: ApiError) -> None:
        super().__init__()
        self.error = error


async def _once(question: Question, upstream: Upstream, config: Config, record: Record) -> Asked:
    body = question.body_for(upstream)
    path = PATHS[upstream.api_for(question.api)]
    headers = question.headers_for(upstream)
    answer: Answer | None = None
    since = time.monotonic()
    try:
        answer = await upstream.endpoint.request("POST", path, headers, body, timeout=upstream.config.timeout)
        await _refuse(answer, config.retry.statuses)
        first = (await answer.within(config.limits.first_event) or b"") if question.stream else b""
    except ConnectError:
        raise _Retry(_error(502, "The upstream cannot be reached.", "upstream_unreachable")) from None
    except UpstreamCut:
        raise _Retry(_error(502, "The upstream closed the connection.", "upstream_closed")) from None
    except TimeoutError:
        if answer is not None:
            answer.close()
        # It may be at work still: to ask for the same again would double what it costs.
        raise _error(504, "The upstream did not answer in time.", "upstream_timeout") from None
    except BaseException:
        if answer is not None:
            answer.close()
        raise
    finally:
        record.waited += time.monotonic() - since
    return Asked(upstream, answer, first)


async def _refuse(answer: Answer, again: list[int]) -> None:
    if answer.status != 200:
        error = await refusal(answer)
        raise _Retry(error) if answer.status in again else error


def _error(status: int, message: str, code: str) -> ApiError:
    return ApiError(status, message, code=code, type="server_error")


async def refusal(answer: Answer) -> ApiError:
    """An upstream's error as the client gets it: its status and its own error object, if it sent one.

    That the gateway's key is refused is no business of its clients, who would take it for their own.
    """
    try:
        body = await answer.whole(MAX_ERROR_BYTES, ERROR_SECONDS)
    except (OSError, ValueError):
        answer.close()
        body = b""
    status, headers = answer.status, passed_headers(answer)
    if status in (401, 403):
        return _error(502, "The upstream refused the gateway's credentials.", "upstream_authentication")
    if status < 400:
        return _error(502, f"The upstream answered with status {status}.", "upstream_error")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    given = value.get("error") if isinstance(value, dict) else None
    error = ApiError(status, f"The upstream answered with status {status}.", headers=headers)
    if isinstance(given, dict) and isinstance(given.get("message"), str):
        plain = error_object(status, given["message"], type=_text(given.get("type")))
        error.error = {**plain, "param": given.get("param"), "code": given.get("code")}
    elif isinstance(given, str):
        error.error = error_object(status, given)
    return error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def names(upstreams: Iterable[Upstream]) -> list[str]:
    """The models that upstreams serve, each once."""
    return list(dict.fromkeys(name for upstream in upstreams for name in upstream.models))
