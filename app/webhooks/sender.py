"""The HTTP side of a delivery: one POST, and what came back as a value. Nothing a receiver does raises."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.webhooks.addresses import Allows, BadWebhookUrl, literal_refused
from app.webhooks.decide import Answer

KEPT_CHARS = 500
READ_BYTES = 4096
DNS_THREADS = 16
DNS_CACHE_S = 10
KEEPALIVE_S = 4.0
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class AddressNotAllowed(OSError):
    """The receiver's name points outside the allowed networks."""


class _Resolver(AbstractResolver):
    """Looks names up at every connection and drops addresses that webhooks may not have.

    In threads of its own: names whose servers do not answer must not hold up the lookups of the rest of the service.
    """

    def __init__(self, allows: Allows) -> None:
        self._allows = allows
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="webhook-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        found = [
            ResolveResult(
                hostname=host, host=str(at[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, at in infos
            if self._allows(str(at[0]))
        ]
        if not found:
            raise AddressNotAllowed(f"{host} is outside the networks that webhooks may point into")
        return found

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Sender:
    """One connection pool for all receivers. `open()` before use, `close()` at the end.

    `agent` is what it calls itself (User-Agent); `kept_chars`: so much of an answer's text is kept.
    """

    def __init__(
        self, allows: Allows, *, timeout_s: float, agent: str = "yardmaster-webhooks", kept_chars: int = KEPT_CHARS
    ) -> None:
        self._allows, self._timeout_s = allows, timeout_s
        self._agent, self._kept_chars = agent, kept_chars
        self._session: aiohttp.ClientSession | None = None
        self._resolver: _Resolver | None = None

    async def open(self) -> None:
        self._resolver = _Resolver(self._allows)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=DNS_CACHE_S, resolver=self._resolver
            ),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": self._agent},
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:
            await self._resolver.close()  # the connector closes only a resolver that it made itself
            self._resolver = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send once. Redirects are not followed; of the answer's body the start is read."""
        try:
            if literal_refused(url, self._allows):
                return Answer(None, "The address is outside the networks that webhooks may point into.")
            return await self._post(url, body, headers)
        except TimeoutError:
            return Answer(None, f"No answer within {self._timeout_s:g} s.")
        except aiohttp.ClientConnectorError as exc:
            return Answer(None, _clean(f"Cannot connect: {exc.os_error}."))
        except (aiohttp.ClientError, OSError, ValueError, BadWebhookUrl) as exc:
            return Answer(None, _clean(f"The request failed: {_words(exc)}."))

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        assert self._session is not None, "open() first"
        async with self._session.post(
            url, data=body, headers={**_HEADERS, **headers}, allow_redirects=False
        ) as response:
            text = await _start_of(response, max(READ_BYTES, 4 * self._kept_chars))
            if 300 <= response.status < 400:
                text = "Redirects are not followed. " + text
            return Answer(response.status, text[: self._kept_chars], response.headers.get("Retry-After"))


def _words(exc: Exception) -> str:
    """What went wrong. An error's own text may hold the URL and the headers, which are secret."""
    if isinstance(exc, aiohttp.ClientResponseError):
        return f"{exc.status} {exc.message}"
    if isinstance(exc, BadWebhookUrl):
        return exc.detail
    said = exc.strerror if isinstance(exc, OSError) else None
    return f"{type(exc).__name__} {said}" if said else type(exc).__name__


async def _start_of(response: aiohttp.ClientResponse, limit: int) -> str:
    """The start of the body (`limit` bytes) as text; what cannot be read is left out: the status has been said."""
    held = bytearray()
    try:
        while len(held) < limit:
            chunk = await response.content.read(limit - len(held))
            if not chunk:
                break
            held += chunk
    except (aiohttp.ClientError, OSError, ValueError):
        pass
    return _clean(held.decode(errors="replace"), limit)


def _clean(text: str, limit: int = KEPT_CHARS) -> str:
    return _UNSTORABLE.sub("\ufffd", text)[:limit]
