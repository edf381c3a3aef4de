"""A Slack of a test's own, over real HTTP: its Web API, its answers to clicks, its limits, and its signature.

It also has incoming webhooks. `YARD_SLACK_API_URL` is `server.api_url`. A click is
`server.press(message, "approval.approve", "U1")`: the body and the headers that Slack would send to
`/v1/slack/interactions`.
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

from tests.fakes.faults import Faults
from tests.support.slack_limits import block_problem, texts

TOKEN, SECRET = "xoxb-test-token", "8f742231b10e8888abcd99yyyzzz85a5"

type Fault = tuple[int, dict[str, Any] | str, dict[str, str]]


@dataclass
class Posted:
    """A message as a channel shows it now; `versions` counts the post and its updates, `thread_ts` is of a reply."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    versions: int = 1
    attachments: list[dict[str, Any]] = field(default_factory=list)
    thread_ts: str = ""

    @property
    def all_blocks(self) -> list[dict[str, Any]]:
        """Its own and those of its attachments."""
        return [*self.blocks, *(block for attachment in self.attachments for block in attachment["blocks"])]

    @property
    def colours(self) -> list[str]:
        return [attachment["color"] for attachment in self.attachments]

    def buttons(self) -> dict[str, dict[str, Any]]:
        """By action id."""
        rows = [block["elements"] for block in self.all_blocks if block["type"] == "actions"]
        return {button["action_id"]: button for row in rows for button in row}

    def seen(self) -> str:
        """Every text in it, markup and all."""
        return "\n".join(texts(self.all_blocks))


@dataclass
class SlackServer:
    """`faults` are answered first, one a call; `channels` maps names to ids (others do not exist).

    `replies` are what was sent to response_urls, `calls` the methods called, in order. `webhooks` are the secret paths
    of incoming webhooks and the channels they post into.
    """

    channels: dict[str, str] = field(default_factory=lambda: {"#approvals": "C0APPROVALS", "C0OPS": "C0OPS"})
    posted: list[Posted] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    reply_faults: deque[Fault] = field(default_factory=deque)
    webhooks: dict[str, str] = field(default_factory=dict)
    provider: Faults = field(default_factory=Faults)
    port: int = 0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _runner: web.AppRunner | None = None

    async def start(self) -> SlackServer:
        """Listen; after `stop` on the same port again."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/api/{method}", self._api)
        app.router.add_post("/services/{path:.*}", self._webhook)
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

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls.append(method)
        if self.faults:
            return _answer(self.faults.popleft())
        if (played := await self.provider.play(request)) is not None:
            return played
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        body = await request.json()
        if problem := block_problem(body):
            return web.json_response({"ok": False, "error": problem})
        return web.json_response(self._post(body) if method == "chat.postMessage" else self._update(body))

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        """An incoming webhook: its errors are texts, and only `ok` is success."""
        self.calls.append("webhook")
        if (played := await self.provider.play(request)) is not None:
            return played
        channel = self.webhooks.get(request.match_info["path"])
        if channel is None:
            return web.Response(status=404, text="no_service")
        try:
            body = await request.json()
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        if problem := block_problem(body):
            return web.Response(status=400, text=problem)
        self._keep(channel, body)
        return web.Response(text="ok")

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        channel = self.channels.get(body["channel"], body["channel"])
        if channel not in self.channels.values():
            return {"ok": False, "error": "channel_not_found"}
        thread = body.get("thread_ts", "")
        if thread and (channel, thread) not in {(message.channel, message.ts) for message in self.posted}:
            return {"ok": False, "error": "cannot_reply_to_message"}
        message = self._keep(channel, body)
        # as Slack does: the whole message comes back
        shown = {"text": message.text, "blocks": message.blocks, "attachments": message.attachments}
        return {"ok": True, "channel": channel, "ts": message.ts, "message": shown}

    def _keep(self, channel: str, body: dict[str, Any]) -> Posted:
        message = Posted(
            channel,
            f"1700000000.{next(self._numbers):06d}",
            body.get("text", ""),
            body.get("blocks", []),
            attachments=body.get("attachments", []),
            thread_ts=body.get("thread_ts", ""),
        )
        self.posted.append(message)
        return message

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["channel"] not in self.channels.values():  # unlike a post, an update takes ids only
            return {"ok": False, "error": "channel_not_found"}
        for message in self.posted:
            if (message.channel, message.ts) == (body["channel"], body["ts"]):
                message.text, message.blocks = body["text"], body["blocks"]
                message.attachments = body.get("attachments", [])
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
