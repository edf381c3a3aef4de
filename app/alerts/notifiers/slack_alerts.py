"""Slack for alerts: by a bot, which keeps one message a group up to date, or by an incoming webhook, which posts.

https://docs.slack.dev/apis/web-api/rate-limits: about one message a second and channel, by either way. A bot's message
is updated on every notice of the group, so that it never says what is no longer so; of new alerts and repetitions its
channel is told by a line below it, as an update rings no bell. A message that is gone, or is in a channel that is no
longer the receiver's, is posted anew.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from app.alerts.notifiers.alerts import Delivered, Notice, Outcome, Permanent, ReceiverConfig, Retryable, Throttled
from app.alerts.notifiers.http import Http
from app.alerts.notifiers.pace import Pace
from app.alerts.notifiers.slack_alert_message import message, reminder
from app.alerts.notifiers.slack_calls import Refused, SlackCalls
from app.alerts.notifiers.webhook import checked_url
from app.core.clock import Clock
from app.webhooks.addresses import Allows

API_URL = "https://slack.com/api/"
INTERVAL = timedelta(seconds=1)
GONE = frozenset({"cant_update_message", "channel_not_found", "edit_window_closed", "message_not_found"})
"""Answers to an update after which the message is posted anew."""
_TOKEN = re.compile(r"xox[a-z][.-][A-Za-z0-9.-]{1,250}")


class SlackConfig(ReceiverConfig):
    """Either an incoming webhook's URL, or a channel; with the token of a bot, or that of this installation.

    `buttons`: leave them out where the app's interactivity does not lead here.
    """

    webhook_url: SecretStr | None = None
    channel: str = Field("", max_length=100)
    token: SecretStr | None = None
    buttons: bool = True

    @field_validator("webhook_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else checked_url(value)

    @field_validator("token")
    @classmethod
    def _is_a_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("a bot's token begins with xoxb-")
        return value

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if (self.webhook_url is None) == (not self.channel) or (
            self.webhook_url is not None and self.token is not None
        ):
            raise ValueError("either webhook_url alone, or channel with or without token")
        return self


class SlackAlertNotifier:
    """A bot's receipt is "<digest of the configured channel>/<channel id>/<ts>" of the message; a webhook's is empty:
    it cannot change what it posted.

    `token` is this installation's bot, for receivers without one of their own.
    """

    config_type = SlackConfig
    resend_s: float | None = None

    def __init__(
        self, allows: Allows, clock: Clock, *, timeout_s: float, token: str = "", api_url: str = API_URL
    ) -> None:
        self._http = Http("Slack", allows, clock, timeout_s=timeout_s)
        self._calls = SlackCalls(self._http, clock, api_url)
        self._clock, self._token = clock, token
        self._pace = Pace(INTERVAL)

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._http.close()

    async def notify(self, config: SlackConfig, notice: Notice) -> Outcome:
        url = "" if config.webhook_url is None else config.webhook_url.get_secret_value()
        if url and notice.reason == "acknowledged":  # a webhook could only post once more
            return Delivered(notice.receipt)
        token = self._token if config.token is None else config.token.get_secret_value()
        if not url and not token:
            return Permanent("Slack: neither the receiver nor this installation has a bot token.")
        channel = url or f"{token} {config.channel}"
        if (wait := self._pace.take(channel, self._clock.monotonic())) is not None:
            return Throttled(wait, "Slack takes about one message a second in a channel.", own=True)
        outcome = await (self._hook(config, url, notice) if url else self._tell(config, token, notice))
        if isinstance(outcome, Throttled):
            self._pace.pause(channel, outcome.pause, self._clock.monotonic())
        return outcome

    async def _hook(self, config: SlackConfig, url: str, notice: Notice) -> Outcome:
        failed = await self._calls.webhook(url, message(notice, buttons=config.buttons), config.secrets())
        if failed is None:
            return Delivered()
        return failed.failure if isinstance(failed, Refused) else failed

    async def _tell(self, config: SlackConfig, token: str, notice: Notice) -> Outcome:
        configured, _, posted = notice.receipt.partition("/")
        channel, _, at = posted.partition("/")
        if not at or configured != _digest(config.channel):
            return await self._post(config, token, notice)
        body = {"channel": channel, "ts": at, **message(notice, buttons=config.buttons)}
        found = await self._calls.api("chat.update", token, body, config.secrets())
        if isinstance(found, Refused):
            return await self._post(config, token, notice) if found.code in GONE else found.failure
        if not isinstance(found, dict):
            return found
        if notice.firing and notice.reason in ("new_alerts", "repeat"):
            below = {"channel": channel, "thread_ts": at, "reply_broadcast": True, **reminder(notice)}
            found = await self._calls.api("chat.postMessage", token, below, config.secrets())
        return _outcome(found, notice.receipt)

    async def _post(self, config: SlackConfig, token: str, notice: Notice) -> Outcome:
        body = {"channel": config.channel, "unfurl_links": False, **message(notice, buttons=config.buttons)}
        found = await self._calls.api("chat.postMessage", token, body, config.secrets())
        if not isinstance(found, dict):
            return _outcome(found, "")
        channel, at = found.get("channel"), found.get("ts")
        if not isinstance(channel, str) or not isinstance(at, str):
            return Retryable("Slack's answer does not name the message.")
        return Delivered(f"{_digest(config.channel)}/{channel}/{at}")


def _digest(channel: str) -> str:
    return hashlib.sha256(channel.encode()).hexdigest()[:16]


def _outcome(found: object, receipt: str) -> Outcome:
    match found:
        case Refused():
            return found.failure
        case Retryable() | Throttled() | Permanent():
            return found
    return Delivered(receipt)
