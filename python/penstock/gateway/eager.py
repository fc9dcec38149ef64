"""Awaitables begun where they are made, without a task: a server's `send` seldom waits.

To wake a task for it, and to let it go down through all the coroutines that wait there, costs more
than the sending itself. What cannot be begun so is a coroutine that asks for its task, as a time-out does.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

__all__ = ["begin"]


def begin(awaitable: Awaitable[None]) -> Awaitable[None] | None:
    """Run a coroutine up to where it first waits.

    Returns:
        What is left of it, for a task to await; None if it is done.
    """
    steps = awaitable.__await__()
    try:
        awaited = next(steps)
    except StopIteration:
        return None
    return _rest(steps, awaited)


@types.coroutine
def _rest(steps: Generator[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    try:
        yield awaited  # to the task, which waits for it as if it had got there itself
    except BaseException:
        steps.close()
        raise
    yield from steps
