"""Who asks: client keys, what each may do, and how much of it at once.

Keys are compared by their SHA-256: a lookup tells nothing about how much of a guess was right, and none is
kept.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from .config import Key
from .http import ApiError

__all__ = ["LOCAL", "Tenant", "Tenants", "key_of"]

LOCAL: Final = "local"
"""The tenant of a gateway without keys, which only this machine reaches."""

_SUBPROTOCOL: Final = "openai-insecure-api-key."


class Tenant:
    """One client of the gateway; it outlives reloads of the configuration."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.streams = 0
        self.models: list[str] = ["*"]
        self.per_minute: int | None = None
        self.max_streams: int | None = None
        self._tokens = 0.0
        self._refilled = time.monotonic()

    def allow(self, key: Key) -> None:
        """Take over what a key's entry says."""
        if self.per_minute != key.requests_per_minute:
            self.per_minute = key.requests_per_minute
            self._tokens = float(key.requests_per_minute or 0)
        self.models, self.max_streams = key.models, key.max_streams

    def may_use(self, model: str) -> bool:
        """Whether the key covers a model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def check_model(self, model: str) -> None:
        """Raises `ApiError` 404 for a model that the key does not cover, as if nobody served it."""
        if not self.may_use(model):
            raise ApiError(404, "No upstream serves this model.", code="model_not_found", param="model")

    def spend(self) -> None:
        """Count a request against the rate. Raises `ApiError` 429 with the seconds to wait."""
        if self.per_minute is None:
            return
        now, rate = time.monotonic(), self.per_minute / 60
        self._tokens = min(float(self.per_minute), self._tokens + (now - self._refilled) * rate)
        self._refilled = now
        if self._tokens < 1:
            wait = int((1 - self._tokens) / rate) + 1
            raise ApiError(
                429,
                f"Rate limit reached: {self.per_minute} requests a minute.",
                code="rate_limit_exceeded",
                headers=[(b"retry-after", b"%d" % wait)],
            )
        self._tokens -= 1

    def begin(self) -> None:
        """Count a stream that runs. Raises `ApiError` 429."""
        if self.max_streams is not None and self.streams >= self.max_streams:
            raise ApiError(
                429, f"Limit reached: {self.max_streams} streams at once.", code="rate_limit_exceeded"
            )
        self.streams += 1

    def end(self) -> None:
        """It runs no longer."""
        self.streams -= 1


class Tenants:
    """The keys in force; `reload` puts others in their place without touching what runs."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_name: dict[str, Tenant] = {}
        self._by_digest: dict[bytes, Tenant] = {}
        self.reload(keys)

    def reload(self, keys: Iterable[Key]) -> None:
        """Put these keys in force."""
        found: dict[bytes, Tenant] = {}
        for key in keys:
            tenant = self._by_name.setdefault(key.name, Tenant(key.name))
            tenant.allow(key)
            found[_digest(key.key.get_secret_value())] = tenant
        self._by_digest = found

    @property
    def required(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._by_digest)

    def named(self, key: str | None) -> Tenant:
        """The tenant of a key. Raises `ApiError` 401."""
        if not self._by_digest:
            return self._by_name.setdefault(LOCAL, Tenant(LOCAL))
        tenant = self._by_digest.get(_digest(key)) if key else None
        if tenant is None:
            message = (
                "Incorrect API key provided." if key else "No API key provided: send `Authorization: Bearer`."
            )
            raise ApiError(401, message, code="invalid_api_key", headers=[(b"www-authenticate", b"Bearer")])
        return tenant


def key_of(headers: Mapping[bytes, bytes], subprotocols: Iterable[str] = ()) -> str | None:
    """The key in a request: a bearer token, `api-key`, or what a browser's WebSocket can say."""
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if (named := headers.get(b"api-key") or headers.get(b"x-api-key")) is not None:
        return named.decode("latin-1").strip()
    offered = (name.removeprefix(_SUBPROTOCOL) for name in subprotocols if name.startswith(_SUBPROTOCOL))
    return next(offered, None)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
