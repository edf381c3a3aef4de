"""Alertmanagers of the receiver's own: alerts are pushed to each, as Prometheus does."""

from __future__ import annotations

import asyncio

from pydantic import Field, SecretStr, field_validator

from app.alerts.notifiers.alertmanager_alerts import RESEND_S, alerts_of
from app.alerts.notifiers.alerts import (
    Delivered,
    Failure,
    Notice,
    Outcome,
    Permanent,
    ReceiverConfig,
    Retryable,
    Throttled,
)
from app.alerts.notifiers.http import Http, encode
from app.alerts.notifiers.reasons import reason
from app.alerts.notifiers.webhook import checked_url
from app.core.clock import Clock
from app.webhooks.addresses import Allows

MAX_URLS = 10
PATH = "/api/v2/alerts"


class AlertmanagerConfig(ReceiverConfig):
    """`urls` are the bases of the members of one cluster, which tell each other; `token` is sent as a bearer's."""

    urls: tuple[SecretStr, ...] = Field(min_length=1, max_length=MAX_URLS)
    token: SecretStr | None = None

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return tuple(checked_url(url) for url in value)

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        held = "" if value is None else value.get_secret_value()
        if not held.isascii() or not held.isprintable():
            raise ValueError("a token is printable ASCII")
        return value


class AlertmanagerNotifier:
    """Delivered if one member took it. An Alertmanager forgets what is not told again: see `resend_s`."""

    config_type = AlertmanagerConfig
    resend_s: float | None = RESEND_S

    def __init__(self, allows: Allows, clock: Clock, *, timeout_s: float) -> None:
        self._http = Http("Alertmanager", allows, clock, timeout_s=timeout_s)
        self._clock = clock

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._http.close()

    async def notify(self, config: AlertmanagerConfig, notice: Notice) -> Outcome:
        if notice.reason == "acknowledged":  # it has no notion of that
            return Delivered(notice.receipt)
        body = encode(alerts_of(notice, self._clock.now()))
        headers = {} if config.token is None else {"Authorization": f"Bearer {config.token.get_secret_value()}"}
        urls = [url.get_secret_value().rstrip("/") + PATH for url in config.urls]
        answers = await asyncio.gather(
            *(self._http.post(url, body, secrets=config.secrets(), headers=headers) for url in urls)
        )
        failures = [answer for answer in answers if isinstance(answer, Retryable | Throttled | Permanent)]
        if not failures:
            return Delivered()
        if len(failures) == len(answers):
            return _worth_most(failures)
        missed = f"{len(failures)} of {len(answers)} Alertmanagers did not take it. {failures[0].reason}"
        return Delivered(note=reason(missed, config.secrets()))


def _worth_most(failures: list[Failure]) -> Failure:
    """Of several failures the one that promises most: any that may pass, then the shortest pause."""
    for failure in failures:
        if isinstance(failure, Retryable):
            return failure
    throttled = [failure for failure in failures if isinstance(failure, Throttled)]
    return min(throttled, key=lambda failure: failure.pause) if throttled else failures[0]
