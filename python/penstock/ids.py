"""Response ids that a gateway hands out in place of its upstream's: LiteLLM's, or sealed for one tenant.

A client's `previous_response_id` must lead back to the provider and model that have the response, and to
nobody else's response. `SealedCodec` sees to both; `LiteLLMCodec` reads and writes the ids that LiteLLM's
clients hold, and protects nothing. `rewrite` and `IdRewriter` put either in the place of the upstream's ids
and leave every other byte alone.

>>> from penstock import ids
>>> codec = ids.SealedCodec({"k1": b"32 random bytes from a vault ...."})
>>> frame = '{"type":"response.created","response":{"id":"resp_00ff","output":[]}}'
>>> sent = ids.rewrite(frame, codec, tenant="acme", provider="openai", model="gpt-5.2")
>>> ids.rewrite(sent, codec, "decode", tenant="acme") == frame != sent
True
>>> codec.open(codec.seal("resp_00ff", tenant="acme", provider="openai"), tenant="acme")
('openai', None, 'resp_00ff')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from penstock._penstock import Event, IdRewriter, LiteLLMCodec, SealedCodec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IdRewriter", "LiteLLMCodec", "SealedCodec", "rewrite"]


@overload
def rewrite(
    data: str, codec: LiteLLMCodec | SealedCodec, direction: Literal["encode", "decode"] = ..., **options: Any
) -> str: ...
@overload
def rewrite(
    data: bytes | bytearray | memoryview,
    codec: LiteLLMCodec | SealedCodec,
    direction: Literal["encode", "decode"] = ...,
    **options: Any,
) -> bytes: ...
@overload
def rewrite(
    data: Iterable[Event],
    codec: LiteLLMCodec | SealedCodec,
    direction: Literal["encode", "decode"] = ...,
    **options: Any,
) -> list[Event]: ...
def rewrite(
    data: str | bytes | bytearray | memoryview | Iterable[Event],
    codec: LiteLLMCodec | SealedCodec,
    direction: Literal["encode", "decode"] = "encode",
    **options: Any,
) -> str | bytes | list[Event]:
    """Rewrite the ids in something whole; an `IdRewriter` does it for what comes in pieces.

    Args:
        data: the text of a WebSocket message; the bytes of an event stream, or of one message, which begins
            with a brace; or events.
        codec: how ids are written.
        direction: "encode" towards the client, "decode" towards the upstream.
        options: as `IdRewriter` has them: tenant, provider, model, mentions, items, content, limits.

    Returns:
        The same, rewritten.
    """
    rewriter = IdRewriter(codec, direction, **options)
    if isinstance(data, str):
        return rewriter.message(data)
    if isinstance(data, bytes | bytearray | memoryview):
        whole = bytes(data)
        if whole.lstrip()[:1] == b"{":
            return rewriter.message(whole)
        return rewriter.feed(whole) + rewriter.finish()
    return [rewriter.message(event) for event in data]
