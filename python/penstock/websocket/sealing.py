"""Response ids sealed for the client of a WebSocket, and opened for its upstream."""

from __future__ import annotations

from typing import Any

from penstock._penstock import IdRewriter, LiteLLMCodec, SealedCodec
from penstock.errors import InvalidResponseId
from penstock.websocket.wire import RefusedError

__all__ = ["SealedIds"]


class SealedIds:
    """A `Rewriter` that puts a gateway's response ids in the place of its upstream's, and back.

    An id that was not sealed here, or for another tenant, reaches no upstream: the request is refused, and
    the connection goes on.

    Args:
        codec: of `penstock.ids`; a `SealedCodec` protects, a `LiteLLMCodec` only reads and writes.
        options: those of `penstock.ids.IdRewriter` for both ways, such as `tenant`.
        provider, model: what is sealed into the ids.
    """

    def __init__(
        self,
        codec: LiteLLMCodec | SealedCodec,
        *,
        provider: str | None = None,
        model: str | None = None,
        **options: Any,
    ) -> None:
        self._encode = IdRewriter(codec, "encode", provider=provider, model=model, **options)
        self._decode = IdRewriter(codec, "decode", **options)

    def to_client(self, text: str, /) -> str:
        """Seal the ids of an event."""
        return self._encode.message(text)

    def to_upstream(self, text: str, /) -> str:
        """Open the ids of a request; raises `RefusedError` for one that does not belong to the tenant."""
        try:
            return self._decode.message(text)
        except InvalidResponseId as error:
            raise RefusedError(
                "The response id is not valid.",
                status=403,
                code="invalid_response_id",
                param="previous_response_id",
            ) from error
