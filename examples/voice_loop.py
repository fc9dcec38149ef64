"""A voice assistant's loop without the voice: what is heard interrupts what is being said.

    penstock replay --port 8000 --rate 40 &
    python examples/voice_loop.py http://127.0.0.1:8000/v1 replay-text

Lines from standard input stand for speech, and the printed text for what a synthesizer would say. A line that
comes while the assistant is talking cuts it short, and the conversation goes on from there: over the same
socket, sending the new words alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable

from penstock import ResponsesSession


async def converse(
    session: ResponsesSession, heard: AsyncIterator[str], speak: Callable[[str], None]
) -> None:
    """Answer each utterance; the next one may come at any time."""
    answering: asyncio.Task[None] | None = None
    async for words in heard:
        if answering is not None:
            answering.cancel()
            await asyncio.wait([answering])
        answering = asyncio.create_task(answer(session, words, speak))
    if answering is not None:
        await answering


async def answer(session: ResponsesSession, words: str, speak: Callable[[str], None]) -> None:
    """Say the answer sentence by sentence, for as long as nobody interrupts."""
    sentence = ""
    async with session.say(words) as turn:  # leaving it early tells the server to stop
        async for event in turn:
            sentence += event.delta or ""
            if sentence.endswith((".", "!", "?", ":")):
                speak(sentence.strip())
                sentence = ""
    if sentence.strip():
        speak(sentence.strip())
    figures = turn.figures
    print(f"  [{turn.plan!r}, first word after {figures.first_token or 0:.3f} s]", file=sys.stderr)


async def lines() -> AsyncIterator[str]:
    """Standard input, line by line."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            yield line.strip()


async def main(url: str, model: str) -> None:
    """Talk until standard input ends."""
    instructions = "You are on the phone. Be brief."
    async with ResponsesSession(
        url, os.environ.get("OPENAI_API_KEY"), model, instructions=instructions, store=False
    ) as session:
        await session.warm_up()  # the socket is open and the instructions are read before anyone speaks
        await converse(session, lines(), print)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
