"""What was said before: which response a request continues, who knows it, and what is kept of this one.

An upstream that keeps its own history gets ids passed on. For the others the gateway puts the whole
conversation into each request, from its store; a response is stored before its terminal event is released.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import PenstockError, PreviousResponseNotFound, StoreUnavailable
from penstock.prefix import PrefixChain, PrefixIndex
from penstock.store import Bounds, MemoryStore, SQLiteStore

from .asking import Question, items_of
from .http import ApiError
from .lasting import Lasting

if TYPE_CHECKING:
    from penstock.store import ConversationStore, Turn

    from .config import Store
    from .outlet import Seals
    from .routing import Router, Upstream

__all__ = ["History", "NotStored", "open_store"]

Json = dict[str, Any]

log = logging.getLogger("penstock.gateway")

MAX_PREFIXES: Final = 100_000
"""Prefixes whose replica is remembered, 32 bytes and a name each."""

MAX_OWNERS: Final = 100_000
"""Responses whose replica is remembered, where upstreams keep them."""

SHORTEST_WAIT: Final = 5.0
"""Seconds that one call to Redis may take where it is hardly to be tried again."""


def open_store(config: Store) -> ConversationStore:
    """The store that the configuration asks for. Raises what the store's constructor does."""
    bounds = Bounds() if config.ttl is None else Bounds(ttl=config.ttl)
    if config.kind == "memory":
        return MemoryStore(bounds=bounds)
    if config.kind == "sqlite":
        return SQLiteStore(config.path, bounds=bounds)
    from penstock.store.redis import RedisStore  # noqa: PLC0415 - its client is another extra

    return RedisStore.from_url(
        config.url.get_secret_value(), bounds=bounds, wait=max(config.wait, SHORTEST_WAIT)
    )


class NotStored(Exception):  # noqa: N818 — what happened to a response
    """A response that was to be stored could not be."""


class History:
    """The gateway's memory of responses, one for all its streams."""

    def __init__(self, config: Store, store: ConversationStore, router: Router, seals: Seals) -> None:
        self.store = Lasting(store, config.wait)
        self._router = router
        self._seals = seals
        self._prefixes: PrefixIndex[str] = PrefixIndex(capacity=MAX_PREFIXES)
        self._owners: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def may_detach(self, question: Question) -> bool:
        """Whether a request is for a response in the background, and that is not the upstream's to do."""
        if question.body.get("background") is not True:
            return False
        able = [one for one in self._router.upstreams if one.model(question.model) is not None]
        if any(one.config.keeps_history for one in able):
            return False
        if question.body.get("store") is False:
            raise ApiError(400, "A background response has to be stored.", param="background")
        return True

    async def recall(self, tenant: str, question: Question) -> None:
        """Find what a request continues. Raises `ApiError` 400 `previous_response_not_found`."""
        previous = question.body.get("previous_response_id")
        if previous is None:
            return
        if not isinstance(previous, str):
            message = "Invalid type for 'previous_response_id': expected a string."
            raise ApiError(400, message, param="previous_response_id")
        if (sealed := self._seals.open(tenant, previous)) is not None:
            question.bound, question.previous = sealed
            return
        try:
            question.history = (await self.store.load_history(tenant, previous)).json()
        except PreviousResponseNotFound:
            able = [
                upstream for upstream in self._router.upstreams if upstream.model(question.model) is not None
            ]
            keepers = [upstream.name for upstream in able if upstream.config.keeps_history]
            if not keepers or self._seals.required:
                raise not_found(400) from None
            try:
                question.bound = self.owner(tenant, previous)
            except ApiError:
                raise not_found(400) from None
            question.previous = previous
            if len(keepers) == 1:
                question.bound = keepers[0]

    def knows(self, tenant: str, question: Question) -> str | None:
        """The upstream that has read most of the input before, and so has it cached; None if none has."""
        able = [one for one in self._router.upstreams if one.model(question.model) is not None]
        if len(able) < 2:
            return None
        body = question.body
        given = items_of(body.get("input")) if question.api == "responses" else body.get("messages")
        context = {name: body[name] for name in ("instructions", "tools") if name in body}
        try:
            chain = PrefixChain(
                [*(question.history or ()), *(given or ())],
                salt=tenant,
                model=question.model,
                context=context,
            )
        except (PenstockError, TypeError):
            return None
        question.chain = chain
        found = self._prefixes.longest_match(chain)
        return None if found is None else found[1]

    def note(self, tenant: str, question: Question, upstream: Upstream, response_id: str | None) -> None:
        """An upstream has read a request, and made a response that it may be the only one to know."""
        if question.chain is not None:
            self._prefixes.put(question.chain, upstream.name)
        if response_id is not None and upstream.config.keeps_history:
            self._owners[response_id] = tenant, upstream.name
            self._owners.move_to_end(response_id)
            if len(self._owners) > MAX_OWNERS:
                self._owners.popitem(last=False)

    def owner(self, tenant: str, response_id: str) -> str | None:
        """The upstream that keeps a response; None if unknown. Raises `ApiError` for another tenant's."""
        owner, name = self._owners.get(response_id, (tenant, None))
        if owner != tenant:
            raise not_found(404)
        return name

    def keeps(self, question: Question, upstream: Upstream) -> bool:
        """Whether the response is to be stored here."""
        body = question.body
        return (
            question.api == "responses"
            and body.get("store") is not False
            and not upstream.config.keeps_history
        )

    async def keep(self, tenant: str, question: Question, upstream: Upstream, response: Json) -> Json | None:
        """Store a response, if that is the gateway's to do; returns what then stands in the store.

        Raises:
            NotStored: the store does not answer.
        """
        if not self.keeps(question, upstream) or not isinstance(response.get("id"), str):
            return None
        parent = question.body.get("previous_response_id")
        shown = {**response, "previous_response_id": parent}
        try:
            await self.store.append(tenant, shown, input=items_of(question.body.get("input")), parent=parent)
        except StoreUnavailable:
            raise NotStored from None
        except PenstockError as error:
            # The answer is the client's all the same; that it cannot be continued, the next request will say.
            log.warning(
                "store", extra={"facts": {"error": type(error).__name__, "response_id": response["id"]}}
            )
        return shown

    async def turn(self, tenant: str, response_id: str) -> Turn | None:
        """A stored response with its input."""
        return await self.store.load_turn(tenant, response_id)


def not_found(status: int) -> ApiError:
    """Nobody knows the id, or it is another tenant's, which is not told apart."""
    if status == 404:
        return ApiError(
            404, "No response has this id.", code="response_not_found", type="invalid_request_error"
        )
    message = "The previous response was not found."
    return ApiError(
        400, message, code=PreviousResponseNotFound.code, param=PreviousResponseNotFound.param,
        type="invalid_request_error",
    )  # fmt: skip


def with_ids(items: list[Json], response_id: str) -> list[Json]:
    """Items as the API lists them: each with an id, made from its place where it came without."""
    listed = []
    for place, item in enumerate(items):
        kind = {"message": "msg", "function_call_output": "fco", "reasoning": "rs"}.get(
            item.get("type", "message"), "item"
        )
        made = hashlib.sha256(f"{response_id}\n{place}".encode()).hexdigest()[:32]
        listed.append({"type": "message", "id": f"{kind}_{made}", **item})
    return listed
