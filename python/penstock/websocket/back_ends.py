"""The HTTP servers behind a managed connection, each with its own address and credentials.

A back end is asked with a request's body alone. Nothing of a client's headers, and no address or key from a
request, ever reaches it; what one provider is sent with stays with that back end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

__all__ = ["BackEnd", "HttpBackEnd"]


class BackEnd(Protocol):
    """Answers requests with event streams.

    Attributes:
        dialect: of the bodies it takes and the events it gives.
    """

    @property
    def dialect(self) -> Literal["responses", "chat"]:
        """See above."""

    async def open(self, body: bytes, /) -> Any:
        """Send a request, JSON with ``"stream": true``; the answer, in a form that `AsyncStream` reads.

        An HTTP status of 400 or more is part of the answer: it needs no exception. Whatever this raises
        means that the back end could not be reached; `RefusedError` says so in words of its own.
        """


class HttpBackEnd:
    """A back end behind an HTTP client.

    Args:
        client: an `AsyncClient` of httpx or httpx2, or a `ClientSession` of aiohttp, for as long as there
            are connections. It should have no time-out for reading: streams are looked after here.
        url: the full address, such as ``https://api.openai.com/v1/responses``. Redirects are not followed.
        headers: the provider's, such as its credentials.
        dialect: "chat" for `/chat/completions`.
    """

    def __init__(
        self,
        client: Any,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        dialect: Literal["responses", "chat"] = "responses",
    ) -> None:
        if dialect not in ("responses", "chat"):
            raise ValueError(f'dialect is "responses" or "chat", not {dialect!r}')
        if not (hasattr(client, "build_request") or hasattr(client, "connector")):
            raise TypeError(f"a client of httpx, httpx2 or aiohttp is wanted, not {type(client).__name__}")
        self.dialect = dialect
        self._client = client
        self._url = url
        self._headers = {
            **{name.lower(): value for name, value in (headers or {}).items()},
            "content-type": "application/json",
            "accept": "text/event-stream",
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.dialect}>"  # no address and no headers: they may hold a key

    async def open(self, body: bytes, /) -> Any:
        """Send a request; the response, its body unread."""
        client = self._client
        if hasattr(client, "build_request"):
            request = client.build_request("POST", self._url, content=body, headers=self._headers)
            return await client.send(request, stream=True, follow_redirects=False)
        return await client.post(self._url, data=body, headers=self._headers, allow_redirects=False)
