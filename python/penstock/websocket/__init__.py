"""WebSockets for the Responses API.

    forward(client, upstream)      one WebSocket to another, both ways

Clients are Starlette's and FastAPI's WebSockets, plain ASGI's `(scope, receive, send)`, and connections of
the `websockets` library; upstreams to forward to are of the same kinds. The extra `penstock[websocket]`
brings `websockets`, which only `connect` needs.
"""

from penstock.websocket.channels import Channel, ClosedError
from penstock.websocket.forward import forward
from penstock.websocket.forwarding import OBSERVED, Outcome, Rewriter
from penstock.websocket.limits import ConnectionLimits
from penstock.websocket.opening import Opening
from penstock.websocket.over_websockets import connect
from penstock.websocket.wire import RefusedError

__all__ = [
    "OBSERVED",
    "Channel",
    "ClosedError",
    "ConnectionLimits",
    "Opening",
    "Outcome",
    "RefusedError",
    "Rewriter",
    "connect",
    "forward",
]
