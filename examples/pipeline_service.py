"""A language model as one stage of a voice pipeline, in the manner of pipecat's services.

The pipeline hands whole contexts down and wants frames: the text as it comes, the function calls of a
response that is complete, an end in any case. An interruption is a task that is cancelled. The session does
the rest: it finds what is new in each context, keeps the socket over interruptions, drops what comes late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from penstock import ResponsesSession
from penstock.errors import PenstockError


class Frame(NamedTuple):
    """What goes downstream.

    ``text`` carries a piece of the answer, ``calls`` what the model wants called (a call whose arguments are
    no JSON has the reason in `error`), ``metrics`` what the turn has cost, ``failure`` why there is none.
    """

    kind: Literal["start", "text", "calls", "metrics", "failure", "end"]
    payload: Any = None


class ResponsesService:
    """The stage. `push` passes a frame downstream."""

    def __init__(self, session: ResponsesSession, push: Callable[[Frame], Awaitable[None]]) -> None:
        self._session = session
        self._push = push
        self._answering: asyncio.Task[None] | None = None

    async def on_context(self, items: list[Any]) -> None:
        """Answer a context; one that comes while another is being answered interrupts it."""
        await self.on_interruption()
        self._answering = asyncio.create_task(self._answer(items))

    async def on_interruption(self) -> None:
        """Stop talking."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait([self._answering])

    async def idle(self) -> None:
        """Wait until the answer is over."""
        if self._answering is not None:
            await asyncio.wait([self._answering])

    async def _answer(self, items: list[Any]) -> None:
        await self._push(Frame("start"))
        try:
            async with self._session.create(items) as turn:  # leaving it early tells the server to stop
                async for event in turn:
                    if event.type == "response.output_text.delta":
                        await self._push(Frame("text", event.delta))
            if turn.error is not None:
                await self._push(Frame("failure", turn.error))
            if turn.function_calls:
                await self._push(Frame("calls", turn.function_calls))
            await self._push(Frame("metrics", {"usage": turn.usage, **turn.figures.as_dict()}))
        except (PenstockError, OSError) as error:
            await self._push(Frame("failure", error))
        finally:
            await self._push(Frame("end"))
