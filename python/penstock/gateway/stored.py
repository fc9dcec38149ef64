"""The routes of a response that exists: read it, list its input, delete it, cancel it while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock._penstock import synthesize

from .asking import Question, passed_headers, refusal
from .background import EVENT_STREAM, show, watch
from .client import ConnectError, UpstreamCut
from .history import not_found, with_ids
from .http import ApiError, Request, Send, send_json
from .siblings import is_alone, pass_through

if TYPE_CHECKING:
    from .client import Headers
    from .gateway import Gateway
    from .tenants import Tenant

__all__ = ["Stored"]

Json = dict[str, Any]


class Stored:
    """Serves the routes below `/v1/responses/{id}`."""

    def __init__(self, gateway: Gateway, request: Request, tenant: Tenant, headers: Headers) -> None:
        self._gateway = gateway
        self._request = request
        self._tenant = tenant
        self._headers = headers

    async def serve(self, send: Send, response_id: str, action: str) -> None:
        """Answer one request. Raises `ApiError`."""
        method = self._request.method
        verbs = {("GET", ""): self._show, ("GET", "input_items"): self._items, ("DELETE", ""): self._delete,
                 ("POST", "cancel"): self._cancel}  # fmt: skip
        verb = verbs.get((method, action))
        if verb is None:
            known = any(path == action for _, path in verbs)
            raise ApiError(405 if known else 404, f"Not allowed: {method}." if known else "No such route.")
        await verb(send, response_id)

    async def _show(self, send: Send, response_id: str) -> None:
        gateway, streams = self._gateway, self._request.query.get("stream") in ("true", "1")
        broadcast = await gateway.broadcasts.get(response_id, tenant=self._tenant.name)
        if broadcast is not None and streams:
            await watch(self._request, send, broadcast, self._headers, self._starting_after())
            return
        if broadcast is not None and not broadcast.ended:
            await show(send, broadcast, self._headers)
            return
        if streams and await self._elsewhere(send):
            return
        turn = await gateway.history.turn(self._tenant.name, response_id)
        if turn is None:
            if streams or not await self._elsewhere(send):
                await self._pass_on(send, response_id, "")
        elif streams:
            await self._stream(send, turn.response)
        else:
            await send_json(send, 200, bytes(turn.response), self._headers)

    async def _stream(self, send: Send, response: bytes) -> None:
        """A stream that it could have come in; the one it did come in is kept of background ones alone."""
        if self._starting_after() is not None:
            message = "Only streams of background responses can be resumed, and those for a while."
            raise ApiError(400, message, code="stream_not_resumable", param="starting_after")
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_STREAM, *self._headers]})
        for frame in synthesize(response, format="sse"):
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _starting_after(self) -> int | None:
        """The number of the last event that the client has seen. Raises `ApiError` 400."""
        text = self._request.query.get("starting_after")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise ApiError(400, "Invalid 'starting_after': expected a whole number.", param="starting_after")
        return int(text)

    async def _items(self, send: Send, response_id: str) -> None:
        turn = await self._gateway.history.turn(self._tenant.name, response_id)
        if turn is None:
            await self._pass_on(send, response_id, "/input_items")
            return
        query = self._request.query
        items = with_ids(turn.input.json(), response_id)
        if query.get("order", "desc") != "asc":
            items.reverse()
        if (after := query.get("after")) is not None:
            places = [place for place, item in enumerate(items) if item["id"] == after]
            items = items[places[0] + 1 :] if places else []
        limit = query.get("limit", "20")
        if not limit.isdigit() or not 1 <= int(limit) <= 100:
            raise ApiError(400, "Invalid 'limit': expected a whole number from 1 to 100.", param="limit")
        page = items[: int(limit)]
        await send_json(
            send,
            200,
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(items) > len(page),
            },
            self._headers,
        )

    async def _delete(self, send: Send, response_id: str) -> None:
        if await self._gateway.history.store.delete(self._tenant.name, response_id):
            gone = {"id": response_id, "object": "response", "deleted": True}
            await send_json(send, 200, gone, self._headers)
        else:
            await self._pass_on(send, response_id, "")

    async def _cancel(self, send: Send, response_id: str) -> None:
        sealed = self._gateway.seals.open(self._tenant.name, response_id)
        own = response_id if sealed is None else sealed[1]
        running = self._gateway.running.get((self._tenant.name, own))
        if running is not None:
            snapshot = running.snapshot()
            running.cancel()
            await send_json(send, 200, {**snapshot, "status": "cancelled"}, self._headers)
            return
        if await self._elsewhere(send):
            return
        turn = await self._gateway.history.turn(self._tenant.name, response_id)
        if turn is None:
            await self._pass_on(send, response_id, "/cancel")
        else:
            await send_json(
                send, 200, bytes(turn.response), self._headers
            )  # it is over: nothing is left to cancel

    async def _elsewhere(self, send: Send) -> bool:
        """Let the worker answer in which the response runs, or ran; whether there is one.

        Raises `ApiError` 404 where another worker asks: it can look into the store itself.
        """
        if is_alone(self._request):
            raise not_found(404)
        answer = await self._gateway.siblings.find(self._request)
        if answer is None:
            return False
        await pass_through(self._request, answer, send, self._headers)
        return True

    async def _pass_on(self, send: Send, response_id: str, action: str) -> None:
        """Ask the upstream that keeps the response, or the only one that keeps any; 404 without one."""
        keepers = [upstream for upstream in self._gateway.router.upstreams if upstream.config.keeps_history]
        tenant, seals = self._tenant.name, self._gateway.seals
        if (sealed := seals.open(tenant, response_id)) is not None:
            owner, response_id = sealed
        elif seals.required:
            raise not_found(404)
        else:
            owner = self._gateway.history.owner(tenant, response_id)
        if owner is not None:
            keepers = [upstream for upstream in keepers if upstream.name == owner]
        if len(keepers) != 1 or not response_id.replace("_", "").replace("-", "").isalnum():
            raise not_found(404)
        upstream = keepers[0]
        query = "&".join(
            f"{name}={value}" for name, value in self._request.query.items() if f"{name}{value}".isalnum()
        )
        path = f"/responses/{response_id}{action}" + (f"?{query}" if query else "")
        question = Question("responses", {}, b"", False, self._request.headers)
        limits = self._gateway.config.limits
        try:
            answer = await upstream.endpoint.request(
                self._request.method, path, question.headers_for(upstream), timeout=upstream.config.timeout
            )
            if answer.status != 200:
                raise await refusal(answer)
            body = await answer.whole(limits.answer_bytes, limits.idle)
        except (ConnectError, UpstreamCut, TimeoutError, ValueError):
            raise ApiError(502, "The upstream cannot be reached.", code="upstream_unreachable") from None
        rewriter = seals.outward(tenant, upstream)
        body = body if rewriter is None else rewriter.message(body)
        await send_json(send, 200, body, [*self._headers, *passed_headers(answer)])
