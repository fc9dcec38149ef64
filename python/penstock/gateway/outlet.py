"""The client's side of a stream: hooks that see and edit events, and ids sealed for the client."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import orjson

from penstock._penstock import Decoder, write_events, write_sse
from penstock.errors import InvalidResponseId
from penstock.hooks import Price, PriceTable
from penstock.ids import IdRewriter, SealedCodec

from .config import ConfigError

if TYPE_CHECKING:
    from penstock.hooks import Hooks

    from .config import Config
    from .routing import Upstream

__all__ = ["Outlet", "Seals", "load_hooks"]


_NO_PREVIOUS: Final = re.compile(rb'"previous_response_id"\s*:\s*null')
"""Cannot be part of a text: its quotes would be escaped there."""


class Outlet:
    """What frames go through last, after all that must see the upstream's own.

    Args:
        hooks: of this stream.
        rewriter: seals its ids; None to leave them.
        previous: the response that it continues, where the upstream was not told and says that it is none.
    """

    __slots__ = ("_hooks", "_link", "_rewriter", "plain")

    def __init__(self, hooks: Hooks, rewriter: IdRewriter | None, previous: str | None = None) -> None:
        self._hooks = hooks
        self._rewriter = rewriter
        self._link = None if previous is None else b'"previous_response_id":' + orjson.dumps(previous)
        self.plain = rewriter is None and previous is None and not hooks.watches_events
        """Whether nothing is done, so that frames need not come here."""

    async def put(self, frames: bytes) -> bytes:
        """Whole frames as the client gets them. Raises `GuardFailed`."""
        if self._link is not None and b'"previous_response_id"' in frames:
            link = self._link
            frames = _NO_PREVIOUS.sub(lambda _: link, frames)
        if self._hooks.watches_events and frames:
            decoder = Decoder()
            edited = await self._hooks.edit(decoder.feed(frames))
            if edited is not None:
                frames = write_events(edited) + (write_sse("[DONE]") if decoder.done else b"")
        return frames if self._rewriter is None else self._rewriter.feed(frames)


class Seals:
    """Response ids that name their tenant and upstream by MAC, where the configuration has keys for them."""

    def __init__(self, config: Config) -> None:
        self._codec: SealedCodec | None
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Use these keys from now on."""
        keys = {name: key.get_secret_value() for name, key in config.ids.keys.items()}
        self._codec = SealedCodec(keys) if keys else None

    @property
    def required(self) -> bool:
        """Whether upstreams' ids are known to be sealed, so that others name nothing."""
        return self._codec is not None

    def open(self, tenant: str, response_id: str) -> tuple[str | None, str] | None:
        """The upstream and its own id; None for an id that was not sealed here for this tenant."""
        if self._codec is None:
            return None
        try:
            upstream, _, own = self._codec.open(response_id, tenant=tenant)
        except InvalidResponseId:
            return None
        return upstream, own

    def both(self, tenant: str, upstream: Upstream) -> tuple[IdRewriter | None, IdRewriter | None]:
        """What opens ids on the way up and what seals them on the way down."""
        outward = self.outward(tenant, upstream)
        if outward is None or self._codec is None:
            return None, None
        return IdRewriter(self._codec, "decode", tenant=tenant), outward

    def outward(self, tenant: str, upstream: Upstream) -> IdRewriter | None:
        """What seals the ids of an upstream that keeps its own history."""
        if self._codec is None or not upstream.config.keeps_history:
            return None
        return IdRewriter(self._codec, "encode", tenant=tenant, provider=upstream.name)


def load_hooks(config: Config) -> list[Any]:
    """The hooks that a configuration names, and its prices as one of them. Raises `ConfigError`."""
    hooks: list[Any] = []
    problems = []
    for place, entry in enumerate(config.hooks):
        module, _, name = entry.use.partition(":")
        try:
            found = getattr(import_module(module), name)
            hooks.append(found() if isinstance(found, type) else found)
        except Exception as error:
            problems.append(f"hooks[{place}].use: cannot be loaded: {type(error).__name__}")
    if problems:
        raise ConfigError(problems)
    if config.prices:
        hooks.append(PriceTable({model: Price(**row.model_dump()) for model, row in config.prices.items()}))
    return hooks
