"""Any HTTP receiver: Alertmanager's payload, signed as Standard Webhooks are."""

from __future__ import annotations

import base64
import binascii

from pydantic import Field, SecretStr, field_validator

from app.alerts.notifiers.alerts import Delivered, Notice, Outcome, ReceiverConfig
from app.alerts.notifiers.http import Http, encode
from app.alerts.notifiers.webhook_payload import payload
from app.core.clock import Clock
from app.webhooks.addresses import Allows, split_url
from app.webhooks.decide import Answer
from app.webhooks.signing import PREFIX, headers


class WebhookConfig(ReceiverConfig):
    """`url` is secret: receivers put tokens into it. `secret`: `whsec_` and 24 to 64 bytes in base64; without one
    nothing is signed. `max_alerts`: so many are sent and the rest counted; 0: all."""

    url: SecretStr
    secret: SecretStr | None = None
    max_alerts: int = Field(0, ge=0)

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        return checked_url(value)

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _key(value)
        return value


class WebhookNotifier:
    """A receipt says nothing: each notice stands alone. `webhook-id` is the notice's id, the same in all its tries."""

    config_type = WebhookConfig
    resend_s: float | None = None

    def __init__(self, allows: Allows, clock: Clock, *, timeout_s: float) -> None:
        self._http = Http("The webhook's receiver", allows, clock, timeout_s=timeout_s)
        self._clock = clock

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._http.close()

    async def notify(self, config: WebhookConfig, notice: Notice) -> Outcome:
        if notice.reason == "acknowledged":  # the payload has no word for it
            return Delivered(notice.receipt)
        body = encode(payload(notice, config.max_alerts))
        signed: dict[str, str] = {}
        if config.secret is not None:
            signed = headers([_key(config.secret)], notice.id, int(self._clock.now().timestamp()), body)
        answer = await self._http.post(config.url.get_secret_value(), body, secrets=config.secrets(), headers=signed)
        return Delivered() if isinstance(answer, Answer) else answer


def checked_url(value: SecretStr) -> SecretStr:
    """A URL that may be called, as far as its text tells; ValueError, without the URL in it."""
    try:
        split_url(value.get_secret_value())
    except Exception as exc:
        raise ValueError("not a URL that can be called") from exc
    return value


def _key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a signing secret is whsec_ and 24 to 64 bytes in base64")
    return key
