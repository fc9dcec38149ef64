"""Bytes through httpx and Starlette: the least that a gateway of common parts does. `PORT UPSTREAM`."""

import sys

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

UPSTREAM = sys.argv[2]
client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None), trust_env=False)


async def forward(request: Request) -> StreamingResponse:
    body = await request.body()
    headers = {"content-type": "application/json", "authorization": "Bearer none"}
    asked = client.build_request("POST", UPSTREAM + request.url.path, content=body, headers=headers)
    answer = await client.send(asked, stream=True)

    async def chunks():
        try:
            async for chunk in answer.aiter_raw():
                yield chunk
        finally:
            await answer.aclose()

    return StreamingResponse(chunks(), answer.status_code, media_type="text/event-stream")


app = Starlette(routes=[Route("/v1/{path:path}", forward, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error", access_log=False)
