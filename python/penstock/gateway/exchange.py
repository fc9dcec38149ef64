"""One generation, from a checked request to the last byte of its answer, streamed or whole."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from penstock._penstock import synthesize, write_events, write_sse
from penstock.errors import ClientDisconnected, GuardFailed, PenstockError, StreamTimeout
from penstock.hooks import Hooks

from .asking import Asked, Question, ask, passed_headers
from .background import EVENT_STREAM, Publisher, show, watch
from .client import UpstreamCut
from .course import Course, bridge_whole
from .flow import Flow
from .history import NotStored
from .http import ApiError, ClientGone, Receive, Request, Send, error_object, json_object, send_json
from .records import Tally, ending
from .routing import Api
from .watch import Deadlines, Leaving

if TYPE_CHECKING:
    from .client import Answer, Headers
    from .gateway import Gateway
    from .outlet import Outlet
    from .records import Record
    from .tenants import Tenant

__all__ = ["Exchange"]

NOT_STORED: Final = "The response could not be stored."

Json = dict[str, Any]


class Exchange:
    """Serves one request for a generation."""

    __slots__ = (
        "_answer", "_api", "_body", "_cancelled", "_course", "_gateway", "_headers", "_hooks", "_question",
        "_record", "_request", "_tenant", "_write",
    )  # fmt: skip

    def __init__(
        self, gateway: Gateway, request: Request, tenant: Tenant, api: Api, headers: Headers
    ) -> None:
        self._gateway = gateway
        self._request = request
        self._tenant = tenant
        self._api: Api = api
        self._headers = headers
        self._record: Record
        self._hooks: Hooks
        self._body: Send
        self._write = request.write
        self._question: Question
        self._cancelled = False
        self._answer: Answer | None = None
        self._course: Course | None = None

    async def serve(self, send: Send) -> None:
        """Answer the client. Raises `ApiError` while nothing has been sent, `ClientGone`."""
        gateway = self._gateway
        limits = gateway.config.limits
        self._hooks = Hooks(gateway.hooks, timeout=limits.hook)
        self._question = question = await self._understand(await self._request.body(limits.body_bytes))
        self._tenant.spend()
        if len(gateway.ledger.active) >= limits.streams:
            raise ApiError(503, "The gateway is at its limit of streams.", headers=[(b"retry-after", b"1")])
        self._request.recorded = True
        lasts = self._lasts()
        if question.background or lasts is not None:
            await self._detach(send, lasts)
        else:
            await self._run(send, self._request.receive, self._request.send)

    def _lasts(self) -> float | None:
        """For how many seconds the stream goes on by itself once its client has left; None if it does not."""
        if self._api != "responses" or not self._question.stream or self._question.background:
            return None
        return self._gateway.router.detaches(self._question.model)

    async def _detach(self, send: Send, lasts: float | None) -> None:
        """Run without the client, which gets the stream as a subscriber or the response as it begins.

        Args:
            lasts: for how many seconds, once a client has left that has not asked for this.
        """
        gateway, wants_stream = self._gateway, self._question.stream
        self._question.stream, self._write = True, None
        publisher = Publisher(gateway.broadcasts, self._tenant.name)

        async def run() -> None:
            error: BaseException | None = None
            try:
                await self._run(publisher.send, publisher.receive, publisher.send)
            except Exception as failure:
                error = failure
            finally:
                await publisher.end(error)

        gateway.background(run())
        broadcast = await asyncio.shield(publisher.begun)
        if wants_stream:
            stayed = await watch(self._request, send, broadcast, self._headers)
            if not stayed and lasts is not None:
                asyncio.get_running_loop().call_later(lasts, self.cancel)
        else:
            await show(send, broadcast, self._headers)

    async def _run(self, send: Send, receive: Receive, body: Send) -> None:
        """Ask an upstream and send what it says; the stream's bytes go to `body`."""
        gateway, question = self._gateway, self._question
        self._body = body
        self._tenant.begin()
        parent = self._request.headers.get(b"traceparent", b"")
        self._record = record = gateway.ledger.open(
            self._request.id, self._tenant.name, question.model, self._api, parent=parent
        )
        terminal = "error"
        try:
            with Leaving(receive) as leaving:
                terminal = await self._serve(send, leaving)
            if leaving.gone:
                terminal = "client_stalled" if leaving.stalled else "client_disconnected"
                await self._hooks.error(ClientDisconnected("the client left", partial=self.snapshot()))
        except ApiError as error:
            record.status = error.status
            terminal = str(error.error["code"] or error.error["type"])
            await self._hooks.error(error)
            raise
        finally:
            self._tenant.end()
            gateway.close(record, terminal)
        if leaving.gone:
            raise ClientGone

    async def _understand(self, raw: bytes) -> Question:
        body = json_object(raw)
        try:
            changed = await self._hooks.request(body)
        except GuardFailed as refusal:
            raise ApiError(400, str(refusal), code=refusal.code) from None
        if changed is not body:
            body, raw = changed, orjson.dumps(changed)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise ApiError(400, "You must provide a model parameter.", param="model")
        self._tenant.check_model(model)
        stream = body.get("stream")
        if stream not in (None, True, False):
            raise ApiError(400, "Invalid type for 'stream': expected a boolean.", param="stream")
        question = Question(self._api, body, raw, bool(stream), self._request.headers)
        if self._api == "responses":
            question.background = self._gateway.history.may_detach(question)
            await self._gateway.history.recall(self._tenant.name, question)
        return question

    async def _serve(self, send: Send, leaving: Leaving) -> str:
        gateway, question, record = self._gateway, self._question, self._record
        knows = gateway.history.knows(self._tenant.name, question)
        order = gateway.router.order(question.model, bound=question.bound, knows=knows)
        asked = await ask(question, order, gateway.config, gateway.ledger, record)
        record.bridge = asked.upstream.api_for(self._api) != self._api
        record.status = 200
        self._answer = asked.answer
        if asked.upstream.config.on_disconnect != "cancel":
            leaving.linger = asked.upstream.config.linger
            send, self._body = leaving.still_there(send), leaving.still_there(self._body)
        try:
            if question.stream:
                return await self._stream(send, asked, leaving)
            return await self._whole(send, asked)
        finally:
            asked.upstream.active -= 1
            asked.answer.close()

    async def _whole(self, send: Send, asked: Asked) -> str:
        source = asked.upstream.api_for(self._api)
        try:
            limits = self._gateway.config.limits
            body = await asked.answer.whole(limits.answer_bytes, limits.idle)
        except TimeoutError:
            raise ApiError(504, "The upstream's answer timed out.", code="upstream_timeout") from None
        except (OSError, ValueError):
            raise ApiError(502, "The upstream's answer broke off.", code="upstream_closed") from None
        if source != self._api:
            _refuse_error(_parsed(body))
            try:
                whole: Json = bridge_whole(body, source, self._api, self._question.body)
            except (PenstockError, ValueError):
                raise _no_answer() from None
        else:
            whole = _parsed(body)
            _refuse_error(whole)
        if self._question.recalled is not None:
            whole["previous_response_id"] = self._question.recalled
        self._record.usage = whole.get("usage")
        if self._hooks:
            try:
                whole = {**whole, "usage": (whole.get("usage") or {}) | await self._hooks.usage(whole)}
                await self._hooks.complete(whole)
            except GuardFailed as refusal:
                raise ApiError(502, str(refusal), code=refusal.code) from None
        try:
            kept = await self._keep(asked, whole)
        except NotStored:
            raise ApiError(503, NOT_STORED, code="response_not_stored") from None
        if kept is not None or source != self._api or self._hooks or self._question.recalled is not None:
            body = orjson.dumps(kept or whole)
        rewriter = self._gateway.seals.outward(self._tenant.name, asked.upstream)
        await send_json(send, 200, body if rewriter is None else rewriter.message(body), self._all(asked))
        return str(whole.get("status") or "completed")

    async def _stream(self, send: Send, asked: Asked, leaving: Leaving) -> str:
        gateway, record, answer = self._gateway, self._record, asked.answer
        course = await self._begin(send, asked)
        relay, recalled = course.relay, self._question.recalled
        outlet = gateway.outlet(self._tenant.name, asked.upstream, self._hooks, recalled)
        deadlines = Deadlines(answer, gateway.config.limits, leaving.stall, started=record.started)
        tally = Tally(gateway.ledger, record, relay)
        flow = Flow(
            answer, course, outlet, self._body,
            write=self._write, deadlines=deadlines, tally=tally, opened=self._opened,
        )  # fmt: skip
        try:
            await flow.run(asked.taken())
            rest = course.finish()
            if relay.held:
                rest += await self._release(asked, course)
        except (UpstreamCut, StreamTimeout, PenstockError) as error:
            rest = course.fail(*_words(error)) if not self._cancelled else course.cancel()
            if relay.held:  # a cancelled one has a terminal of its own
                rest += await self._release(asked, course)
            await self._hooks.error(error)
        finally:
            deadlines.close()
            gateway.running.pop((self._tenant.name, record.response_id or ""), None)
        record.usage = relay.usage
        gateway.history.note(self._tenant.name, self._question, asked.upstream, record.response_id)
        if not outlet.plain:
            rest = await self._last(outlet, rest)
        tally.close(len(rest))
        await self._body({"type": "http.response.body", "body": rest})
        return ending(relay.terminal)

    async def _begin(self, send: Send, asked: Asked) -> Course:
        """Send the head of a stream; its course. Raises `ApiError` for what is none."""
        asked.first = await self._events(asked)
        keeps = self._gateway.history.keeps(self._question, asked.upstream)
        source, hold = asked.upstream.api_for(self._api), keeps or bool(self._hooks)
        self._course = course = Course(source, self._api, self._question.body, hold=hold)
        if course.is_foreign(asked.first):
            raise _no_answer()
        headers = [*EVENT_STREAM, *self._all(asked)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # A stream lives long: what it has no more use for goes.
        self._question.raw = b""
        asked.answer.headers.clear()
        return course

    async def _release(self, asked: Asked, course: Course) -> bytes:
        """The terminal event, once all that is to happen before a client sees it has happened."""
        final = course.relay.snapshot() or {}
        if self._question.recalled is not None:
            final["previous_response_id"] = self._question.recalled
        members = await self._hooks.usage(final)
        if members:
            final["usage"] = {**(final.get("usage") or {}), **members}
        await self._hooks.complete(final)
        try:
            await self._keep(asked, final)
        except NotStored:
            return course.relay.fail(NOT_STORED, code="response_not_stored")
        return course.relay.release(usage=members or None)

    async def _last(self, outlet: Outlet, frames: bytes) -> bytes:
        """The stream's end for the client; another one, where a guard refuses it."""
        try:
            return await outlet.put(frames)
        except GuardFailed as refusal:
            await self._hooks.error(refusal)
            error = error_object(500, str(refusal), code=refusal.code)
            if self._api == "chat":
                return write_events({"error": error}) + write_sse("[DONE]")
            return write_events({"type": "error", **error})

    async def _events(self, asked: Asked) -> bytes:
        """The stream's first bytes. Raises `ApiError` for what is no stream; a whole answer is made one."""
        media_type = (asked.answer.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if media_type == b"text/event-stream":
            return asked.first
        try:
            limits = self._gateway.config.limits
            body = asked.first + await asked.answer.whole(limits.answer_bytes, limits.idle)
        except (OSError, ValueError):
            raise _no_answer() from None
        whole = _parsed(body)
        _refuse_error(whole)
        if whole.get("object") != "response" or asked.upstream.api_for(self._api) != "responses":
            raise _no_answer()
        return b"".join(synthesize(whole, format="sse"))

    def _opened(self) -> bool:
        """Note the response's id, once it is known; whether all is known that a stream begins with."""
        response_id = self.snapshot().get("id") if self._api == "responses" else ""
        if isinstance(response_id, str):
            if response_id:
                self._record.response_id = response_id
                self._gateway.running[self._tenant.name, response_id] = self
            return True
        return False

    def cancel(self) -> None:
        """Stop generating on the client's word; the stream ends as cancelled."""
        self._cancelled = True
        if self._answer is not None:
            self._answer.fail(UpstreamCut("cancelled", answered=True))

    def snapshot(self) -> Json:
        """The response as far as it has come."""
        return (self._course.relay.snapshot() if self._course is not None else None) or {}

    async def _keep(self, asked: Asked, response: Json) -> Json | None:
        """Store the response where the gateway keeps history; what is to be shown of it then."""
        history = self._gateway.history
        self._record.response_id = self._record.response_id or response.get("id")
        if not self._question.stream:
            history.note(self._tenant.name, self._question, asked.upstream, self._record.response_id)
        return await history.keep(self._tenant.name, self._question, asked.upstream, response)

    def _all(self, asked: Asked) -> Headers:
        record = self._record
        spent = int((time.monotonic() - record.started - record.waited) * 1e6)
        return [*self._headers, *passed_headers(asked.answer), (b"x-penstock-overhead-us", b"%d" % spent)]


def _parsed(body: bytes) -> Json:
    try:
        return json_object(body)
    except ApiError:
        raise _no_answer() from None


def _refuse_error(whole: Json) -> None:
    """An error that came under a status of 200, as some servers send it. Raises `ApiError`."""
    if isinstance(given := whole.get("error"), dict) and whole.get("object") != "response":
        error = ApiError(502, "The upstream answered with an error.", type="server_error")
        error.error |= {name: given[name] for name in ("message", "type", "param", "code") if name in given}
        raise error


def _no_answer() -> ApiError:
    return ApiError(
        502, "The upstream's answer is none of its API.", code="upstream_error", type="server_error"
    )


def _words(error: Exception) -> tuple[str, str]:
    """What a client reads of a failure, and its code."""
    if isinstance(error, StreamTimeout):
        return f"The upstream's stream timed out: {error}.", f"upstream_{error.kind}_timeout"
    if isinstance(error, GuardFailed):
        return str(error), error.code
    if isinstance(error, UpstreamCut):
        return "The upstream's connection ended before its response did.", "upstream_closed"
    return f"The upstream's stream cannot be read: {error}.", "upstream_error"
