"""HTTP as the notifiers of alerts need it: one POST, its answer judged. Bounds and address checks are the webhooks'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from app.alerts.notifiers.alerts import Failure, Permanent, Retryable, Throttled
from app.alerts.notifiers.reasons import reason
from app.core.clock import Clock
from app.webhooks.addresses import Allows, BadWebhookUrl, literal_refused
from app.webhooks.decide import Answer, retry_after_s
from app.webhooks.sender import Sender

DEFAULT_PAUSE_S, MAX_PAUSE_S = 30.0, 3600.0
KEPT_CHARS = 65_536
TOO_MANY, TOO_EARLY, REQUEST_TIMEOUT, UNAVAILABLE = 429, 425, 408, 503


class Http:
    """One connection pool of one notifier. `who` is what reasons call the other side."""

    def __init__(self, who: str, allows: Allows, clock: Clock, *, timeout_s: float) -> None:
        self._who, self._allows, self._clock, self._timeout_s = who, allows, clock, timeout_s
        self._sender: Sender | None = None

    async def open(self) -> None:
        self._sender = Sender(self._allows, timeout_s=self._timeout_s, agent="yardmaster-alerts", kept_chars=KEPT_CHARS)
        await self._sender.open()

    async def close(self) -> None:
        if self._sender is not None:
            sender, self._sender = self._sender, None
            await sender.close()

    async def post(
        self, url: str, body: bytes, *, secrets: Iterable[str] = (), headers: Mapping[str, str] | None = None
    ) -> Answer | Failure:
        """The answer where its status is 2xx, else what follows from it."""
        if self._sender is None:
            return Retryable("The service is starting or stopping.")
        try:
            if literal_refused(url, self._allows):
                return Permanent(f"{self._who}: the address is outside the networks that may be called.")
        except BadWebhookUrl as exc:
            return Permanent(reason(f"{self._who}: {exc.detail}", secrets))
        answer = await self._sender.post(url, body, headers or {})
        return judged(answer, self._who, self._clock.now(), secrets) or answer


def judged(answer: Answer, who: str, now: datetime, secrets: Iterable[str] = ()) -> Failure | None:
    """What follows from an answer; None: its status is 2xx.

    429, and 503 with a Retry-After, ask for a pause; no answer, 408, 425 and 5xx may pass; all others stay.
    """
    if answer.status is None:
        return Retryable(reason(f"{who}: {answer.text}", secrets))
    if 200 <= answer.status < 300:
        return None
    said = reason(f"{who} answered {answer.status} {answer.text}", secrets)
    if answer.status == TOO_MANY or (answer.status == UNAVAILABLE and answer.retry_after is not None):
        return Throttled(pause(answer.retry_after, now), said)
    if answer.status >= 500 or answer.status in (REQUEST_TIMEOUT, TOO_EARLY):
        return Retryable(said)
    return Permanent(said)


def pause(retry_after: str | None, now: datetime) -> timedelta:
    """How long a Retry-After asks to wait: DEFAULT_PAUSE_S where it says nothing, at most MAX_PAUSE_S."""
    asked = 0.0 if retry_after is None else retry_after_s(retry_after, now)
    return timedelta(seconds=min(max(1.0, asked or DEFAULT_PAUSE_S), MAX_PAUSE_S))


def encode(value: Any) -> bytes:
    """JSON in UTF-8. A lone surrogate, which UTF-8 cannot carry, becomes U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson's for text that is no Unicode
        return orjson.dumps(mended(value))


def mended(value: Any) -> Any:
    """The same value, every text in it one that UTF-8 can carry."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {mended(name): mended(item) for name, item in value.items()}
    return [mended(item) for item in value] if isinstance(value, list | tuple) else value


def json_object(answer: Answer) -> dict[str, Any] | None:
    """The answer's body, where it is a JSON object."""
    try:
        found = orjson.loads(answer.text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
