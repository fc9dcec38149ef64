"""The gateway as an ASGI application: its parts, its routes, and what every answer has."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from penstock.errors import StoreUnavailable

from . import over_websocket, ui
from .asking import names
from .background import open_broadcasts
from .config import Config
from .exchange import Exchange
from .history import History, open_store
from .http import ApiError, ClientGone, Receive, Request, Scope, Send, send_body, send_json
from .metrics import exposition
from .outlet import Outlet, Seals, load_hooks
from .records import Ledger, Record
from .routing import Api, Router
from .siblings import Siblings, is_alone, summed
from .stored import Stored
from .tenants import Tenant, Tenants, key_of

if TYPE_CHECKING:
    from penstock.hooks import Hooks
    from penstock.store import ConversationStore

    from .client import Headers
    from .otel import Telemetry
    from .routing import Upstream

__all__ = ["Gateway"]

log = logging.getLogger("penstock.gateway")

GENERATIONS: Final[dict[str, Api]] = {"/v1/responses": "responses", "/v1/chat/completions": "chat"}
OPEN: Final = frozenset({"/health", "/health/liveliness", "/health/liveness", "/health/readiness"})
"""Routes that ask for no key: they tell nothing but that the process lives."""


class Gateway:
    """Serves the API in front of the configured upstreams; any ASGI server can run it.

    Raises `ConfigError` for hooks that cannot be loaded.

    Args:
        config: see `penstock.gateway.config`.
        store: for responses; by default the one that the configuration names.
        telemetry: by default the process's own, if the configuration asks for it.
        siblings: the other workers, where the gateway has several.
    """

    def __init__(
        self,
        config: Config,
        *,
        store: ConversationStore | None = None,
        telemetry: Telemetry | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        self.config = config
        self.siblings = siblings or Siblings()
        self.ledger = Ledger(self.siblings.own, self.siblings.workers)
        self.tenants = Tenants(config.keys)
        self.router = Router(config.upstreams)
        self.hooks = load_hooks(config)
        self.seals = Seals(config)
        store = open_store(config.store) if store is None else store
        self.history = History(config.store, store, self.router, self.seals)
        self.running: dict[tuple[str, str], Exchange] = {}
        """Streams that can be cancelled, by tenant and response id."""
        self.broadcasts = open_broadcasts(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self._plain: dict[str, Callable[[Request, Send, Headers], Awaitable[None]]] = {
            **dict.fromkeys(OPEN, self._health),
            "/metrics": self._metrics,
            "/ui": self._page,
            "/": self._page,
        }
        self._telemetry = telemetry
        if config.telemetry.otel and telemetry is None:
            from .otel import Telemetry  # noqa: PLC0415 - another extra

            self._telemetry = Telemetry()

    def reload(self, config: Config) -> None:
        """Put another configuration in force for requests to come; store and address stay as they are.

        Raises `ConfigError` for hooks that cannot be loaded; nothing has changed then.
        """
        self.hooks = load_hooks(config)
        self.config = config
        self.seals.reload(config)
        self.tenants.reload(config.keys)
        self.router.reload(config.upstreams)
        log.info("reloaded", extra={"facts": {"upstreams": len(config.upstreams), "keys": len(config.keys)}})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._http(Request(scope, receive, send))
        elif scope["type"] == "websocket":
            await over_websocket.serve(self, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.aclose()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def aclose(self) -> None:
        """Let go of upstreams and store."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.config.listen.drain)
        for task in self._tasks:
            task.cancel()
        await self.broadcasts.aclose()
        self.siblings.close()
        for upstream in self.router.upstreams:
            upstream.endpoint.close()
        await self.history.store.close()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that no client waits for; `aclose` does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def outlet(self, tenant: str, upstream: Upstream, hooks: Hooks, previous: str | None) -> Outlet:
        """The client's side of one stream, which continues a response that the upstream knows nothing of."""
        return Outlet(hooks, self.seals.outward(tenant, upstream), previous)

    def close(self, record: Record, terminal: str) -> None:
        """A stream is over: count it and say so once in the log."""
        self.ledger.close(record, terminal)
        if self._telemetry is not None:
            self._telemetry.ended(record)
        log.info("stream", extra={"facts": record.summary()})

    async def _http(self, request: Request) -> None:
        began = time.monotonic()
        request.id = f"req_{secrets.token_hex(16)}"
        headers: Headers = [(b"x-request-id", request.id.encode()), *self._cors(request)]
        status = 0

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await request.send(message)

        try:
            await self._route(request, sending, headers)
        except ApiError as error:
            if not status:
                await send_json(sending, error.status, error.body, [*headers, *error.headers])
        except ClientGone:
            status = status or 499
        except StoreUnavailable as error:
            log.warning("store", extra={"facts": {"error": error.reason, "request_id": request.id}})
            if not status:
                away = ApiError(503, "The store does not answer.", code="store_unavailable")
                await send_json(sending, 503, away.body, headers)
        except Exception:
            log.exception(
                "request", extra={"facts": {"request_id": request.id, "path": _known(request.path)}}
            )
            if not status:
                mistake = ApiError(500, "The gateway made a mistake.", code="internal_error")
                await send_json(sending, 500, mistake.body, headers)
        if is_alone(request):
            return  # whom the client has asked counts it
        self.ledger.requests[_known(request.path), status] += 1
        if not request.recorded:
            seconds = round(time.monotonic() - began, 6)
            facts = {"request_id": request.id, "method": request.method[:16], "route": _known(request.path)}
            log.info("request", extra={"facts": {**facts, "status": status, "seconds": seconds}})

    def _route(self, request: Request, send: Send, headers: Headers) -> Awaitable[None]:
        """What answers a request. Raises `ApiError`, as that may, too."""
        path = request.path.rstrip("/") or "/"
        if request.method == "OPTIONS" and b"access-control-request-method" in request.headers:
            return send_body(send, 204, b"", b"text/plain", headers)
        if (plain := self._plain.get(path)) is not None:
            _allow(request, "GET", "HEAD")
            return plain(request, send, headers)
        self._refuse_foreign_pages(request)
        tenant = self.tenants.named(key_of(request.headers))
        if path in GENERATIONS:
            _allow(request, "POST")
            if self.draining:
                raise ApiError(503, "The gateway is shutting down.", headers=[(b"connection", b"close")])
            return Exchange(self, request, tenant, GENERATIONS[path], headers).serve(send)
        if path.startswith("/v1/responses/"):
            response_id, _, action = path.removeprefix("/v1/responses/").partition("/")
            return Stored(self, request, tenant, headers).serve(send, response_id, action)
        if path == "/v1/models" or path.startswith("/v1/models/"):
            _allow(request, "GET")
            return self._models(tenant, send, headers, path.removeprefix("/v1/models").lstrip("/"))
        if path.startswith("/ui/") and self.config.telemetry.ui:
            _allow(request, "GET")
            return ui.serve(self, request, send, headers, path.removeprefix("/ui/"))
        raise ApiError(404, "No such route.", code="unknown_url")

    async def _health(self, request: Request, send: Send, headers: Headers) -> None:
        ready = not self.draining
        body = {"status": "ok" if ready else "draining", "streams": len(self.ledger.active)}
        await send_json(send, 200 if ready or "live" in request.path else 503, body, headers)

    async def _metrics(self, request: Request, send: Send, headers: Headers) -> None:
        if not self.config.telemetry.metrics:
            raise ApiError(404, "No such route.", code="unknown_url")
        body = exposition(self.ledger, self.router.upstreams)
        if not is_alone(request):
            body = summed([body, *await self.siblings.all(request)])
        await send_body(send, 200, body, b"text/plain; version=0.0.4; charset=utf-8", headers)

    async def _page(self, request: Request, send: Send, headers: Headers) -> None:
        if not self.config.telemetry.ui:
            raise ApiError(404, "No such route.", code="unknown_url")
        if request.path == "/":
            headers = [*headers, (b"location", b"/ui")]
            await send_body(send, 307, b"", b"text/plain", headers)
            return
        await send_body(send, 200, ui.page(), b"text/html; charset=utf-8", [*headers, *ui.HEADERS])

    async def _models(self, tenant: Tenant, send: Send, headers: Headers, asked: str) -> None:
        known = [name for name in names(self.router.upstreams) if tenant.may_use(name)]
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "penstock"} for name in known]
        if not asked:
            await send_json(send, 200, {"object": "list", "data": rows}, headers)
            return
        row = next((row for row in rows if row["id"] == asked), None)
        if row is None:
            raise ApiError(404, "No upstream serves this model.", code="model_not_found")
        await send_json(send, 200, row, headers)

    def _cors(self, request: Request) -> Headers:
        origin = request.headers.get(b"origin")
        if origin is None or not self.allows(origin):
            return []
        headers = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if request.method == "OPTIONS":
            headers += [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (
                    b"access-control-allow-headers",
                    request.headers.get(b"access-control-request-headers", b"*"),
                ),
                (b"access-control-max-age", b"%d" % self.config.cors.max_age),
            ]
        else:
            headers.append((b"access-control-expose-headers", b"x-request-id, retry-after"))
        return headers

    def allows(self, origin: bytes) -> bool:
        """Whether pages of an origin may call the gateway."""
        return "*" in self.config.cors.origins or origin.decode("latin-1") in self.config.cors.origins

    def _refuse_foreign_pages(self, request: Request) -> None:
        """Without keys nothing but its address protects the gateway, and any page may send to that."""
        origin = request.headers.get(b"origin")
        if origin is None or self.allows(origin) or self.tenants.required:
            return
        if urlsplit(origin).netloc != request.headers.get(b"host"):
            raise ApiError(403, "Pages of this origin may not use the gateway: see `cors.origins`.")


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise ApiError(405, f"Not allowed: {request.method[:16]}.", headers=[(b"allow", allowed.encode())])


def _known(path: str) -> str:
    """A path as a label: ids and inventions of clients would make endless ones."""
    path = path.rstrip("/")
    if path.startswith("/v1/responses/"):
        action = path.removeprefix("/v1/responses/").partition("/")[2]
        return "/v1/responses/{id}" + (f"/{action}" if action in ("cancel", "input_items") else "")
    return path if path in {*GENERATIONS, *OPEN, "/metrics", "/ui", "/v1/models"} else "other"
