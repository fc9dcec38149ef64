"""uvicorn's HTTP protocol, with a way to write a piece of a stream that no task has to wait for."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .http import WRITE

__all__ = ["DirectProtocol"]


class DirectProtocol(HttpToolsProtocol):
    """Offers applications the ASGI extension `WRITE`, see there.

    What a server's `send` costs is a coroutine, a message, and its way through the task that awaits it: more
    than the writing.
    """

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {WRITE: {"piece": self._write}}

    def _write(self, piece: bytes) -> bool:
        cycle = self.cycle
        # With requests in the pipeline the cycle at hand is of one that has not begun.
        if self.flow.write_paused or self.pipeline or cycle.disconnected or not cycle.chunked_encoding:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True
