"""FastAPI around the openai SDK's typed stream, as tutorials have it. `PORT UPSTREAM`."""

import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url=f"{sys.argv[2]}/v1", api_key="none", max_retries=0)
app = FastAPI()


@app.post("/v1/responses")
async def responses(request: Request) -> StreamingResponse:
    body = await request.json()
    stream = await client.responses.create(**body)

    async def events():
        async with stream:
            async for event in stream:
                yield f"event: {event.type}\ndata: {event.model_dump_json()}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error", access_log=False)
