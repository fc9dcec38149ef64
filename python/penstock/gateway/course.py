"""What a stream's bytes go through between upstream and client: nothing, or a transcoder; then the relay.

The relay lets whole frames pass, knows how the stream stands, and can end it truthfully at any time. With
`hold` it keeps the terminal event back until the response has been stored: a client that has seen a response
completed can continue it at once.
"""

from __future__ import annotations

from typing import Any

from penstock._penstock import (
    ChatAccumulator,
    Decoder,
    Relay,
    ResponseAccumulator,
    Transcoder,
    synthesize,
    write_sse,
)

from .routing import Api

__all__ = ["Course", "bridge_whole"]

Json = dict[str, Any]


class Course:
    """One stream's way through the gateway.

    Args:
        source: the API in which the upstream answers.
        target: the API in which the client asked.
        request: the client's request, for what a response repeats of it.
        hold: keep the terminal back, see `held`.
    """

    __slots__ = ("_transcoder", "feed", "relay", "target")

    def __init__(self, source: Api, target: Api, request: Json, *, hold: bool) -> None:
        self.target = target
        self.relay = Relay(dialect=target, hold=hold)
        self._transcoder = None if source == target else _transcoder(source, target, request)
        self.feed = self.relay.feed if self._transcoder is None else self._carried_over
        """What of the upstream's bytes the client gets now."""

    def is_foreign(self, data: bytes) -> bool:
        """Whether a stream that begins so is of another API than its upstream is said to speak."""
        if self._transcoder is not None:
            return False  # it finds no word that it knows, and ends the stream as failed
        return Relay.recognize(data) not in (None, self.target)

    def _carried_over(self, data: bytes) -> bytes:
        assert self._transcoder is not None  # noqa: S101 — or `feed` is the relay's own
        return self.relay.feed(self._transcoder.feed(data))

    def finish(self) -> bytes:
        """The upstream's body is over: the rest, with a terminal event in any case."""
        rest = b""
        if self._transcoder is not None:
            rest = self.relay.feed(self._transcoder.finish())
        return rest if self.relay.held else rest + self.relay.finish()

    def fail(self, message: str, code: str) -> bytes:
        """End the stream as failed, what came of it kept."""
        rest = b""
        if self._transcoder is not None and not self.relay.held:
            rest = self.relay.feed(self._transcoder.fail(message, code=code))
            if self.relay.held:
                rest += self.relay.release()
        if self.relay.ended and not self.relay.held:  # it can only lack its sentinel
            return rest + self.relay.finish()
        return rest + self.relay.fail(message, code=code)

    def cancel(self) -> bytes:
        """End the stream as its client asked."""
        rest = b""
        if self._transcoder is not None:
            rest = self.relay.feed(self._transcoder.cancel())
            if self.relay.held:
                return rest
        return rest + self.relay.fail("The response was cancelled.", code="response_cancelled")


def _transcoder(source: Api, target: Api, request: Json) -> Transcoder:
    if target == "responses":
        return Transcoder(source, target, model=request.get("model"), echo=request)
    options = request.get("stream_options")
    wants = isinstance(options, dict) and options.get("include_usage") is True
    return Transcoder(source, target, include_usage=wants)


def bridge_whole(body: bytes, source: Api, target: Api, request: Json) -> Json:
    """A whole answer in the client's API, made the way its stream would have been.

    Raises:
        PenstockError: it is no answer of its API.
    """
    frames = b"".join(synthesize(body, format="sse")) if source == "responses" else write_sse(body.strip())
    transcoder = _transcoder(source, target, {**request, "stream_options": {"include_usage": True}})
    out = transcoder.feed(frames) + transcoder.finish()
    accumulator: Any = ResponseAccumulator() if target == "responses" else ChatAccumulator()
    accumulator.feed(Decoder().feed(out))
    if target == "chat":
        accumulator.finish()
    whole: Json = accumulator.final()
    return whole
