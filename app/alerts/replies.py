"""Answers that only the one who clicked sees, sent to the `response_url` that came with the click."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

import aiohttp
import structlog

from app.alerts.notifiers.blocks import TEXT, escape, fit
from app.settings import SlackSettings

log = structlog.get_logger()

HOST = "hooks.slack.com"
TRY_AGAIN_S = (0.5, 2.0)
"""Slack takes five answers to one click, within 30 minutes."""

type Origin = tuple[str, str, int]


class Replies:
    """`open()` before use, `close()` at the end. Only Slack's own addresses are ever called, without redirects."""

    def __init__(self, settings: SlackSettings, *, try_again_s: Sequence[float] = TRY_AGAIN_S) -> None:
        api = origin(settings.api_url)
        self._allowed = {("https", HOST, 443)} | ({api, ("https", f"hooks.{api[1]}", 443)} if api else set())
        self._timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        self._pauses_s = tuple(try_again_s)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def allowed(self, url: str) -> bool:
        """Whether it is an address of Slack: hooks.slack.com, the API's origin, or its `hooks.` neighbour."""
        return origin(url) in self._allowed

    async def tell(self, url: str, text: str) -> bool:
        """Answer a click with plain text; whether it arrived. Does not raise."""
        if not self.allowed(url):
            log.warning("slack_response_url_refused", url=url[:100])
            return False
        body = {"response_type": "ephemeral", "replace_original": False, "text": fit(text, TEXT, escape)[0]}
        status = await self._post(url, body)
        for pause_s in self._pauses_s:
            if 0 < status < 500 and status != 429:
                break
            await asyncio.sleep(pause_s)
            status = await self._post(url, body)
        if not 200 <= status < 300:
            log.warning("slack_reply_undelivered", status=status)
        return 200 <= status < 300

    async def _post(self, url: str, body: dict[str, object]) -> int:
        """The status of the answer; 0 when there was none."""
        if self._session is None:
            return 0
        try:
            async with self._session.post(url, json=body, allow_redirects=False) as response:
                return response.status
        except (aiohttp.ClientError, OSError, ValueError):
            return 0


def origin(url: str) -> Origin | None:
    """(scheme, host, port) of an http or https URL without a user part; None for all else."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _split(url: str) -> SplitResult | None:
    """None for what parsers of URLs read differently: who checks and who calls must mean the same host."""
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port > 0 else None  # reading a damaged port raises
    except ValueError:
        return None
