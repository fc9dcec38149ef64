"""Event streams as ASGI responses, and middleware, for any framework and any server.

    @app.post("/v1/responses")
    async def responses(body: dict) -> EventStreamResponse:
        return EventStreamResponse(lambda: client.stream("POST", url, json=body))

`response` is the response, `policies` what may be chosen, `exchange` how one stream is carried through,
`upstream` how its source is opened, and `arrival` the middleware.
"""

from penstock.asgi.arrival import KEY, ServerArrivalTimeMiddleware
from penstock.asgi.policies import Cancel, Detach, Drain, KeepAlive
from penstock.asgi.response import EventStreamResponse

__all__ = [
    "KEY",
    "Cancel",
    "Detach",
    "Drain",
    "EventStreamResponse",
    "KeepAlive",
    "ServerArrivalTimeMiddleware",
]
