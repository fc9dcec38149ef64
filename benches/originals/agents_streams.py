"""Lets openai-agents make Responses streams, in this process: it works with the newest openai package."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benches.originals.chats import Chunk


def streams(chats: dict[str, list[Chunk]]) -> dict[str, list[str]]:
    """What its handler makes of each chat stream: the events as JSON."""
    return {name: asyncio.run(_events(chunks)) for name, chunks in chats.items()}


async def _events(chunks: list[Chunk]) -> list[str]:
    handler = import_module("agents.models.chatcmpl_stream_handler").ChatCmplStreamHandler
    chunk_model = import_module("openai.types.chat").ChatCompletionChunk

    async def source() -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk_model.model_validate(chunk)

    return [event.model_dump_json() async for event in handler.handle_stream(prototype(), source())]


def prototype() -> Any:
    """The response as openai-agents begins it: who calls the handler gives it no more."""
    return import_module("openai.types.responses").Response(
        id="resp_1",
        created_at=0,
        model="m",
        object="response",
        output=[],
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=True,
    )
