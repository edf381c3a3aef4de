"""PagerDuty, by its Events API v2: one alert at PagerDuty for a group of ours, and change events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

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
from app.alerts.notifiers.http import Http, json_object
from app.alerts.notifiers.pace import Pace
from app.alerts.notifiers.pagerduty_event import Change, action_of, change_event, dedup_key, event
from app.alerts.notifiers.reasons import reason
from app.core.clock import Clock
from app.webhooks.addresses import Allows
from app.webhooks.decide import Answer

type Region = Literal["us", "eu"]

URLS: Mapping[str, str] = MappingProxyType(
    {"us": "https://events.pagerduty.com", "eu": "https://events.eu.pagerduty.com"}
)
ENQUEUE, ENQUEUE_CHANGE = "/v2/enqueue", "/v2/change/enqueue"
ACCEPTED = 202
KEY_CHARS = 32
_RECEIPT = re.compile(r"([0-9a-f]{16})/(yardmaster-[0-9a-f]{64})")


class PagerDutyConfig(ReceiverConfig):
    """`routing_key` is the integration key of an Events API v2 integration.

    After a change of keys the old one belongs into `previous_routing_keys` until what it triggered is resolved:
    PagerDuty resolves an alert only through the key that triggered it. `source` names this installation.
    """

    routing_key: SecretStr
    previous_routing_keys: tuple[SecretStr, ...] = Field((), max_length=5)
    region: Region = "us"
    source: Annotated[str, Field(min_length=1, max_length=255)] = "yardmaster"

    @field_validator("routing_key", "previous_routing_keys")
    @classmethod
    def _has_32_characters(cls, value: SecretStr | tuple[SecretStr, ...]) -> SecretStr | tuple[SecretStr, ...]:
        for key in value if isinstance(value, tuple) else (value,):
            held = key.get_secret_value()
            if len(held) != KEY_CHARS or not (held.isascii() and held.isalnum()):
                raise ValueError(f"a routing key has {KEY_CHARS} letters and digits")
        return value


class PagerDutyNotifier:
    """A receipt is "<digest of the routing key>/<dedup key>"."""

    config_type = PagerDutyConfig
    resend_s: float | None = None

    def __init__(self, allows: Allows, clock: Clock, *, timeout_s: float, urls: Mapping[str, str] = URLS) -> None:
        self._http = Http("PagerDuty", allows, clock, timeout_s=timeout_s)
        self._clock, self._urls = clock, urls
        self._pace = Pace(timedelta(0))

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._http.close()

    async def notify(self, config: PagerDutyConfig, notice: Notice) -> Outcome:
        """Triggers or updates; acknowledges what somebody took; resolves once nothing fires."""
        told, triggered_as = _read(notice.receipt)
        routing_key = _key_of(config, told)
        if routing_key is None and action_of(notice) != "trigger":
            return Permanent("PagerDuty: the routing key that triggered is no longer among the receiver's.")
        if routing_key is None or not triggered_as:
            routing_key, triggered_as = (
                config.routing_key.get_secret_value(),
                dedup_key(notice.group_key, config.source),
            )
        body, note = event(notice, routing_key=routing_key, key=triggered_as, source=config.source)
        failure = await self._post(config, ENQUEUE, body, routing_key)
        return failure or Delivered(f"{_digest(routing_key)}/{triggered_as}", note)

    async def change(self, config: PagerDutyConfig, change: Change) -> Outcome:
        """Tells of a change. PagerDuty does not merge them: telling twice shows two."""
        key = config.routing_key.get_secret_value()
        body, note = change_event(change, routing_key=key, source=config.source)
        failure = await self._post(config, ENQUEUE_CHANGE, body, key)
        return failure or Delivered(note=note)

    async def _post(self, config: PagerDutyConfig, path: str, body: bytes, routing_key: str) -> Failure | None:
        """None: accepted."""
        pace_key = _digest(routing_key)
        if (wait := self._pace.take(pace_key, self._clock.monotonic())) is not None:
            return Throttled(wait, "PagerDuty asked for a pause.", own=True)
        answer = await self._http.post(self._urls[config.region].rstrip("/") + path, body, secrets=config.secrets())
        if isinstance(answer, Throttled):
            self._pace.pause(pace_key, answer.pause, self._clock.monotonic())
        return _refusal(answer, config) if isinstance(answer, Answer) else answer


def _refusal(answer: Answer, config: PagerDutyConfig) -> Failure | None:
    """What a 2xx may still say: only 202 is PagerDuty's word that it has the event."""
    found = json_object(answer) or {}
    status = str(found.get("status", "success"))
    if answer.status != ACCEPTED or status != "success":
        words = f"PagerDuty did not accept the event: {answer.status} {answer.text}"
        return Retryable(reason(words, config.secrets()))
    return None


def _key_of(config: PagerDutyConfig, told: str) -> str | None:
    """The key that an earlier notice went through; the present one where there was none. None: it is not known."""
    keys = [key.get_secret_value() for key in (config.routing_key, *config.previous_routing_keys)]
    return next((key for key in keys if not told or _digest(key) == told), None)


def _read(receipt: str) -> tuple[str, str]:
    """The digest and the dedup key of a receipt; empty for what is none."""
    found = _RECEIPT.fullmatch(receipt)
    return (found[1], found[2]) if found else ("", "")


def _digest(routing_key: str) -> str:
    return hashlib.sha256(routing_key.encode()).hexdigest()[:16]
