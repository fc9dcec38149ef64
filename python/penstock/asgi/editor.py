"""Shows the events of a stream to hooks, between the upstream and whatever takes its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock._penstock import Decoder, Limits, Relay, write_events

if TYPE_CHECKING:
    from penstock.hooks import Hooks

__all__ = ["Editor"]


class Editor:
    """Shows the events of a stream to the hooks; frames that they leave alone pass as they came."""

    __slots__ = ("_decoder", "_frames", "_hooks")

    def __init__(self, hooks: Hooks, limits: Limits) -> None:
        self._hooks = hooks
        self._frames = Relay(dialect=None, limits=limits)
        self._decoder = Decoder(limits=limits, sentinel=None)

    async def feed(self, chunk: bytes) -> bytes:
        """The whole frames of a chunk as the hooks want them."""
        return await self._edit(self._frames.feed(chunk))

    async def finish(self) -> bytes:
        """The last frame, if only its end is missing."""
        return await self._edit(self._frames.finish())

    async def _edit(self, frames: bytes) -> bytes:
        events = self._decoder.feed(frames) if frames else []
        edited = await self._hooks.edit(events) if events else None
        return frames if edited is None else write_events(edited)
