"""The live page: plain HTML that draws what `/ui/events` sends each second."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import orjson

from penstock._penstock import write_sse

from .background import EVENT_STREAM
from .http import ApiError, Request, Send, send_json
from .records import state
from .siblings import is_alone, pass_through
from .watch import Leaving

if TYPE_CHECKING:
    from .client import Headers
    from .gateway import Gateway

__all__ = ["HEADERS", "page", "serve"]

HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        b"img-src data:; base-uri 'none'; form-action 'none'",
    ),
]

SECONDS: Final = 1.0

_SCOPE: Final = {"method": "GET", "path": "/ui/state"}
"""What the workers are asked for, whichever way the page wants it."""


@cache
def page() -> bytes:
    """The page; what it shows it asks for itself, with the key that its reader gives it."""
    return (resources.files(__package__) / "ui.html").read_bytes()


async def serve(gateway: Gateway, request: Request, send: Send, headers: Headers, path: str) -> None:
    """Answer the page's own requests. Raises `ApiError`."""
    if path == "state":
        alone = is_alone(request)
        await send_json(
            send, 200, gateway.ledger.figures() if alone else await _state(gateway, request), headers
        )
    elif path == "events":
        with Leaving(request.receive):
            await _events(gateway, request, send, headers)
    elif path.startswith("streams/") and path[8:].isdigit() and len(path) < 28:
        record = gateway.ledger.find(int(path[8:]))
        if record is None:
            answer = None if is_alone(request) else await gateway.siblings.find(request)
            if answer is None:
                raise ApiError(404, "No such stream is remembered.")
            await pass_through(request, answer, send, headers)
            return
        await send_json(send, 200, {**record.summary(), "timeline": record.timeline}, headers)
    else:
        raise ApiError(404, "No such route.", code="unknown_url")


async def _state(gateway: Gateway, request: Request) -> dict[str, Any]:
    """What the page shows, of all workers."""
    asked = Request({**_SCOPE, "headers": list(request.headers.items())}, request.receive, request.send)
    others = [orjson.loads(body) for body in await gateway.siblings.all(asked)]
    return state([gateway.ledger.figures(), *others])


async def _events(gateway: Gateway, request: Request, send: Send, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_STREAM, *headers]})
    while not gateway.draining:
        body = write_sse(orjson.dumps(await _state(gateway, request)), event="state")
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(SECONDS)
    await send({"type": "http.response.body", "body": b""})
