"""WebSockets for the Responses API: forward them, and serve them from HTTP back ends.

    forward(client, upstream)      one WebSocket to another, both ways
    ManagedConnection(back_end)    the WebSocket mode over any HTTP streaming back end

Clients are Starlette's and FastAPI's WebSockets, plain ASGI's `(scope, receive, send)`, and connections of
the `websockets` library; upstreams to forward to are of the same kinds. The extra `penstock[websocket]`
brings `websockets`, which only `connect` needs.
"""

from penstock.websocket.back_ends import BackEnd, HttpBackEnd
from penstock.websocket.channels import Channel, ClosedError
from penstock.websocket.forward import forward
from penstock.websocket.forwarding import OBSERVED, AsyncRewriter, Outcome, Rewriter
from penstock.websocket.lanes import LaneLimits
from penstock.websocket.limits import ConnectionLimits
from penstock.websocket.managed import ManagedConnection, ManagedLimits
from penstock.websocket.opening import Opening
from penstock.websocket.over_websockets import connect
from penstock.websocket.sealing import SealedIds
from penstock.websocket.turn import TurnTimeouts
from penstock.websocket.wire import RefusedError

__all__ = [
    "OBSERVED",
    "AsyncRewriter",
    "BackEnd",
    "Channel",
    "ClosedError",
    "ConnectionLimits",
    "HttpBackEnd",
    "LaneLimits",
    "ManagedConnection",
    "ManagedLimits",
    "Opening",
    "Outcome",
    "RefusedError",
    "Rewriter",
    "SealedIds",
    "TurnTimeouts",
    "connect",
    "forward",
]
