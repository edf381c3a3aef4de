"""A Slack of a test's own, over real HTTP: its Web API, its answers to clicks, its limits, and its signature.

`YARD_SLACK_API_URL` is `server.api_url`. A click is `server.press(message, "approval.approve", "U1")`: the body and the
headers that Slack would send to `/v1/slack/interactions`.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

TOKEN, SECRET = "xoxb-test-token", "8f742231b10e8888abcd99yyyzzz85a5"

type Fault = tuple[int, dict[str, Any] | str, dict[str, str]]


@dataclass
class Posted:
    """A message as a channel shows it now; `versions` counts the post and its updates."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    versions: int = 1

    def buttons(self) -> dict[str, dict[str, Any]]:
        """By action id."""
        rows = [block["elements"] for block in self.blocks if block["type"] == "actions"]
        return {button["action_id"]: button for row in rows for button in row}

    def seen(self) -> str:
        """Every text in it, markup and all."""
        return "\n".join(_texts(self.blocks))


@dataclass
class SlackServer:
    """`faults` are answered first, one a call; `channels` maps names to ids (others do not exist).

    `replies` are what was sent to response_urls, `calls` the methods called, in order.
    """

    channels: dict[str, str] = field(default_factory=lambda: {"#approvals": "C0APPROVALS", "C0OPS": "C0OPS"})
    posted: list[Posted] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    reply_faults: deque[Fault] = field(default_factory=deque)
    port: int = 0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _runner: web.AppRunner | None = None

    async def start(self) -> SlackServer:
        """Listen; after `stop` on the same port again."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/api/{method}", self._api)
        app.router.add_post("/actions/{number}", self._reply)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return self

    async def stop(self) -> None:
        """Be away: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    def environment(self, channel: str = "#approvals") -> dict[str, str]:
        """What a `yard serve` process needs to use this Slack."""
        return {
            "YARD_SLACK_TOKEN": TOKEN,
            "YARD_SLACK_SIGNING_SECRET": SECRET,
            "YARD_SLACK_CHANNEL": channel,
            "YARD_SLACK_API_URL": self.api_url,
        }

    def press(
        self, message: Posted, action_id: str, user: str, *, at: float | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """What Slack sends when `user` presses that button: the raw body, and its signed headers."""
        button = message.buttons()[action_id]
        return signed(self.interaction(message, action_id, button["value"], user), at=at)

    def interaction(self, message: Posted, action_id: str, value: str, user: str) -> dict[str, Any]:
        """The payload of one click."""
        return {
            "type": "block_actions",
            "api_app_id": "A02",
            "team": {"id": "T9TK3CUKW", "domain": "example"},
            "user": {"id": user, "username": user.lower(), "team_id": "T9TK3CUKW"},
            "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel},
            "channel": {"id": message.channel, "name": "approvals"},
            "response_url": f"{self.url}/actions/{next(self._numbers)}",
            "actions": [{"type": "button", "block_id": "b", "action_id": action_id, "value": value, "action_ts": "1"}],
        }

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        self.calls.append(method)
        if self.faults:
            return _answer(self.faults.popleft())
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        body = await request.json()
        if problem := block_problem(body):
            return web.json_response({"ok": False, "error": problem})
        return web.json_response(self._post(body) if method == "chat.postMessage" else self._update(body))

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        channel = self.channels.get(body["channel"])
        if channel is None:
            return {"ok": False, "error": "channel_not_found"}
        message = Posted(channel, f"1700000000.{next(self._numbers):06d}", body["text"], body["blocks"])
        self.posted.append(message)
        return {"ok": True, "channel": channel, "ts": message.ts, "message": {"text": message.text}}

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["channel"] not in self.channels.values():  # unlike a post, an update takes ids only
            return {"ok": False, "error": "channel_not_found"}
        for message in self.posted:
            if (message.channel, message.ts) == (body["channel"], body["ts"]):
                message.text, message.blocks = body["text"], body["blocks"]
                message.versions += 1
                return {"ok": True, "channel": message.channel, "ts": message.ts, "text": message.text}
        return {"ok": False, "error": "message_not_found"}

    async def _reply(self, request: web.Request) -> web.Response:
        if self.reply_faults:
            return _answer(self.reply_faults.popleft())
        self.replies.append(await request.json())
        return web.Response(text="ok")


def signed(
    payload: dict[str, Any] | bytes, *, secret: str = SECRET, at: float | None = None
) -> tuple[bytes, dict[str, str]]:
    """A request as Slack signs it: `v0=` + hex HMAC-SHA256 of `v0:{timestamp}:{raw body}`."""
    body = payload if isinstance(payload, bytes) else urlencode({"payload": json.dumps(payload)}).encode()
    timestamp = str(int(time.time() if at is None else at))
    mac = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256)
    return body, {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={mac.hexdigest()}",
    }


def rate_limited(seconds: int) -> Fault:
    return 429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(seconds)}


def refused(error: str) -> Fault:
    """An answer of Slack's that names an error."""
    return 200, {"ok": False, "error": error}, {}


def _answer(fault: Fault) -> web.Response:
    status, body, headers = fault
    if isinstance(body, str):
        return web.Response(text=body, status=status, headers=headers, content_type="text/html")
    return web.json_response(body, status=status, headers=headers)


def block_problem(body: dict[str, Any]) -> str | None:
    """The error that Slack would answer to blocks beyond its limits."""
    if not body.get("text") and not body.get("blocks"):
        return "no_text"
    blocks = body.get("blocks", [])
    if len(json.dumps(blocks, ensure_ascii=False)) > 13_200:
        return "msg_blocks_too_long"
    return None if len(blocks) <= 50 and all(map(_fits, blocks)) else "invalid_blocks"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _text(item: dict[str, Any], limit: int) -> bool:
    return item["type"] in ("plain_text", "mrkdwn") and 1 <= _units(item["text"]) <= limit


def _fits(block: dict[str, Any]) -> bool:
    match block["type"]:
        case "header":
            return block["text"]["type"] == "plain_text" and _text(block["text"], 150)
        case "section":
            fields = block.get("fields")
            if fields is None:
                return _text(block["text"], 3000)
            return 1 <= len(fields) <= 10 and all(_text(item, 2000) for item in fields)
        case "context":
            return len(block["elements"]) <= 10 and all(_text(item, 3000) for item in block["elements"])
        case "actions":
            return 1 <= len(block["elements"]) <= 25 and all(map(_button_fits, block["elements"]))
        case "rich_text":
            return all(1 <= _units(text) <= 3000 for text in _texts(block["elements"]))
    return False


def _button_fits(button: dict[str, Any]) -> bool:
    confirm = button.get("confirm")
    asked = confirm is None or (
        _text(confirm["title"], 100)
        and _text(confirm["text"], 300)
        and _text(confirm["confirm"], 30)
        and _text(confirm["deny"], 30)
    )
    short = _units(button["value"]) <= 2000 and _units(button["action_id"]) <= 255
    return asked and short and _text(button["text"], 75) and button.get("style") in (None, "primary", "danger")


def _texts(item: Any) -> list[str]:
    """Every `text` that is a string, however deep."""
    if isinstance(item, list):
        return [text for part in item for text in _texts(part)]
    if not isinstance(item, dict):
        return []
    own = [item["text"]] if isinstance(item.get("text"), str) else []
    return own + [text for part in item.values() for text in _texts(part)]
