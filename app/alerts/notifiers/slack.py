"""Slack, by its Web API with a bot token: `chat.postMessage` and `chat.update`."""

from __future__ import annotations

from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from app.alerts.notifiers.base import Message, Receipt, Undelivered
from app.alerts.notifiers.blocks import Rendered, render
from app.settings import SlackSettings

CONNECTIONS = 16
DEFAULT_PAUSE_S, MAX_PAUSE_S = 30.0, 3600.0

PERMANENT = frozenset(
    {
        "cant_update_message",
        "edit_window_closed",
        "invalid_blocks",
        "invalid_blocks_format",
        "is_archived",
        "message_not_found",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "restricted_action",
    }
)
"""Answers that the same call gets again. All others pass, or an operator mends them while we go on trying: a token, a
missing scope, a channel that the bot was not invited to."""


class SlackNotifier:
    """One session for all channels of one workspace. `message_id` is "<channel id>/<ts>": an update needs the id, which
    only Slack's answer tells when the channel was given by name."""

    def __init__(self, settings: SlackSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None

    async def open(self) -> None:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,  # HTTPS_PROXY and NO_PROXY, where a network has only that way out
        )
        self._client = AsyncWebClient(
            token=settings.token.get_secret_value(),
            base_url=settings.api_url,
            session=self._session,
            retry_handlers=[],  # the caller decides when to try again
        )
        self._client.proxy = None  # the client's own reading of the environment knows no NO_PROXY

    async def close(self) -> None:
        self._client = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, channel: str, message: Message) -> Receipt:
        answer = await self._call("chat.postMessage", {"channel": channel, **_body(message), "unfurl_links": False})
        posted, at = answer.get("channel"), answer.get("ts")
        if not isinstance(posted, str) or not isinstance(at, str):
            raise Undelivered("Slack's answer does not name the message.", retry=True)
        return Receipt(channel, f"{posted}/{at}")

    async def update(self, receipt: Receipt, message: Message) -> None:
        channel, _, at = receipt.message_id.partition("/")
        await self._call("chat.update", {"channel": channel, "ts": at, **_body(message)})

    async def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Slack's answer; raises Undelivered."""
        if self._client is None:
            raise Undelivered("The service is starting or stopping.", retry=True)
        try:
            answer = await self._client.api_call(method, json=body)
        except SlackApiError as exc:
            raise _refused(exc.response) from exc
        except (SlackClientError, aiohttp.ClientError, OSError) as exc:  # a timeout is an OSError
            raise Undelivered(f"Slack cannot be reached: {type(exc).__name__}.", retry=True) from exc
        except (
            AttributeError,
            TypeError,
            ValueError,
        ) as exc:  # what the client makes of an answer that is no JSON object
            raise Undelivered("The answer was not one of Slack's.", retry=True) from exc
        return answer.data if isinstance(answer.data, dict) else {}


def _body(message: Message) -> dict[str, Any]:
    shown: Rendered = render(message)
    return {"text": shown.text, "blocks": shown.blocks}


def _refused(response: Any) -> Undelivered:
    """From a SlackResponse, or aiohttp's response where the body was not JSON."""
    status = getattr(response, "status_code", None) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    error = str(data.get("error", ""))[:100] if isinstance(data, dict) else ""
    if status == 429 or error in ("ratelimited", "rate_limited"):
        return Undelivered(
            "Slack's rate limit.", retry=True, retry_after_s=_pause_s(response.headers.get("Retry-After"))
        )
    return Undelivered(f"Slack answered {status} {error}".rstrip(), retry=error not in PERMANENT)


def _pause_s(header: str | None) -> float:
    if header is None or not header.isascii() or not header.isdigit():
        return DEFAULT_PAUSE_S
    return min(max(1.0, float(header[:10])), MAX_PAUSE_S)
