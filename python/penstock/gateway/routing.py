"""Which upstream serves a request: by model, then by who knows its past, then by who is free."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, Literal

from .client import Endpoint
from .config import UpstreamConfig
from .http import ApiError

__all__ = ["Api", "Router", "Upstream"]

Api = Literal["responses", "chat"]

PATHS: Final[dict[Api, str]] = {"responses": "/responses", "chat": "/chat/completions"}

_REMEMBERED: Final = 1_000
"""Models whose names are not looked up anew."""

_SLACK: Final = 8
"""Streams by which the replica that knows a prefix may be busier than the idlest and still be chosen: that
saves the reading of a prompt, not the waiting in a queue."""


class Upstream:
    """One replica at run time."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.config = config
        self.name = config.name
        self.endpoint = Endpoint(config.url, connect_timeout=min(10.0, config.timeout))
        self.active = 0
        self.failed_until = 0.0
        self._names: dict[str, str] = {}
        self._patterns: list[str] = []
        for entry in config.models:
            alias, equals, name = entry.partition("=")
            if equals:
                self._names[alias] = name
            else:
                self._patterns.append(entry)
        self.model = lru_cache(_REMEMBERED)(self._model)
        """What a model is called there, by the name that a client asks for; None if it is not served."""

    def _model(self, asked: str) -> str | None:
        if asked in self._names:
            return self._names[asked]
        for alias, name in self._names.items():
            before, star, after = alias.partition("*")
            if star and asked.startswith(before) and asked.endswith(after) and len(asked) >= len(alias) - 1:
                return name.replace("*", asked[len(before) : len(asked) - len(after)], 1)
        return asked if any(fnmatchcase(asked, pattern) for pattern in self._patterns) else None

    @property
    def models(self) -> list[str]:
        """The models it serves, by the names that clients use; without those that only a wildcard covers."""
        return [name for name in (*self._names, *self._patterns) if "*" not in name]

    def api_for(self, asked: Api) -> Api:
        """The API in which to ask it."""
        return (
            asked
            if self.config.dialect in (asked, "both")
            else ("chat" if asked == "responses" else "responses")
        )

    def rest(self, seconds: float) -> None:
        """It failed: try it last for a while."""
        self.failed_until = time.monotonic() + seconds

    @property
    def well(self) -> bool:
        """Whether it has not failed lately."""
        return time.monotonic() >= self.failed_until

    @property
    def full(self) -> bool:
        """Whether it has as many streams as it may have."""
        return self.config.max_streams is not None and self.active >= self.config.max_streams


class Router:
    """All upstreams, and the order in which to try them."""

    def __init__(self, configs: Iterable[UpstreamConfig]) -> None:
        self.upstreams: list[Upstream] = []
        self._turn = 0
        self.reload(configs)

    def reload(self, configs: Iterable[UpstreamConfig]) -> None:
        """Use these upstreams; those whose settings are the same keep their connections."""
        known = {upstream.name: upstream for upstream in self.upstreams}
        fresh = []
        for config in configs:
            old = known.get(config.name)
            fresh.append(old if old is not None and old.config == config else Upstream(config))
        self.upstreams = fresh

    def named(self, name: str) -> Upstream | None:
        """The upstream of a name."""
        return next((upstream for upstream in self.upstreams if upstream.name == name), None)

    def detaches(self, model: str) -> float | None:
        """For how many seconds a stream of a model runs on by itself; None where it does not."""
        first = next((one for one in self.upstreams if one.model(model) is not None), None)
        if first is None or first.config.on_disconnect != "detach":
            return None
        return first.config.linger

    def order(self, model: str, *, bound: str | None = None, knows: str | None = None) -> list[Upstream]:
        """The upstreams to try, best first.

        Args:
            model: what the client asks for.
            bound: the only upstream that can serve it, as it holds the earlier response.
            knows: the upstream that has read the longest prefix of the input.

        Raises:
            ApiError: 404 if none serves the model, 503 if all that do are full.
        """
        able = [upstream for upstream in self.upstreams if upstream.model(model) is not None]
        if bound is not None:
            able = [upstream for upstream in able if upstream.name == bound]
        if not able:
            raise ApiError(404, "No upstream serves this model.", code="model_not_found", param="model")
        free = [upstream for upstream in able if not upstream.full]
        if not free:
            raise ApiError(503, "All upstreams of this model are busy.", headers=[(b"retry-after", b"1")])
        self._turn += 1
        least = min(upstream.active for upstream in free)

        def cost(upstream: Upstream) -> tuple[bool, bool, int, int]:
            warm = upstream.name == knows and upstream.active <= least + _SLACK
            turn = (self.upstreams.index(upstream) - self._turn) % len(self.upstreams)
            return not upstream.well, not warm, upstream.active, turn

        return sorted(free, key=cost)
