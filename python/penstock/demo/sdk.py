"""The demo's scenes with the openai SDK as the gateway's client: over HTTP and over a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI, OpenAI

from penstock import Event

if TYPE_CHECKING:
    from .stage import Stage

__all__ = ["converse", "stream"]


def stream(stage: Stage, url: str, request: dict[str, Any]) -> None:
    """One response, streamed."""
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        events = client.responses.create(**request, stream=True)
        final: dict[str, Any] = {}
        with stage.streaming() as show:
            for typed in events:
                show(event := Event(typed.model_dump_json(exclude_none=True)))
                final = event.get("response") or final
    stage.final(final)


async def converse(stage: Stage, url: str, model: str, said: list[str]) -> None:
    """Turns of one conversation on one connection, each with nothing but what is new."""
    previous: str | None = None
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        client.responses.connect() as connection,
    ):
        for text in said:
            more: dict[str, Any] = {"previous_response_id": previous} if previous else {}
            await connection.response.create(model=model, input=text, **more)
            with stage.streaming() as show:
                async for typed in connection:
                    show(event := Event(typed.model_dump_json(exclude_none=True)))
                    if event.type == "response.completed":
                        previous = event["response"]["id"]
                        break
            final = event["response"]
    stage.final(final)
