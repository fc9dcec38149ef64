"""Every HTTP client that the faces read, opened for streaming behind one interface each for blocking and
asyncio."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import requests
import urllib3


@contextmanager
def _httpx(url: str) -> Iterator[Any]:
    with httpx.Client(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def _httpx2(url: str) -> Iterator[Any]:
    with httpx2.Client(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def _requests(url: str) -> Iterator[Any]:
    with requests.Session() as session, session.get(url, stream=True, timeout=30) as response:
        yield response


@contextmanager
def _urllib3(url: str) -> Iterator[Any]:
    with urllib3.PoolManager() as pool:
        response = pool.request("GET", url, preload_content=False)
        yield response
        response.close()


@contextmanager
def _urllib(url: str) -> Iterator[Any]:
    try:
        response = urllib.request.urlopen(url)  # noqa: S310 - the test server's
    except urllib.error.HTTPError as error:
        response = error
    with response:
        yield response


@asynccontextmanager
async def _async_httpx(url: str) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@asynccontextmanager
async def _async_httpx2(url: str) -> AsyncIterator[Any]:
    async with httpx2.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        yield response


@asynccontextmanager
async def _aiohttp_content(url: str) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        yield response.content


@asynccontextmanager
async def asyncio_reader(url: str) -> AsyncIterator[asyncio.StreamReader]:
    """The body of an answer that is not chunked, below any HTTP client."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


SYNC: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "httpx": _httpx,
    "httpx2": _httpx2,
    "requests": _requests,
    "urllib3": _urllib3,
    "urllib": _urllib,
}
ASYNC: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "httpx": _async_httpx,
    "httpx2": _async_httpx2,
    "aiohttp": _aiohttp,
    "aiohttp-content": _aiohttp_content,
}
