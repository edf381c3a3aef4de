"""Calls of Slack's Web API and of its incoming webhooks, and what their errors mean.

Both name an error by a code: the API in the JSON of a 200 (https://docs.slack.dev/reference/methods/chat.postMessage),
a webhook as the text of its answer, where only `ok` is success.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.alerts.notifiers.alerts import Failure, Permanent, Retryable, Throttled
from app.alerts.notifiers.http import Http, encode, json_object, pause
from app.alerts.notifiers.reasons import reason
from app.core.clock import Clock
from app.webhooks.decide import Answer

RATE_LIMITED = frozenset({"ratelimited", "rate_limited"})
PASSING = frozenset(
    {
        "external_channel_migrating",
        "fatal_error",
        "internal_error",
        "request_timeout",
        "rollup_error",
        "service_unavailable",
        "team_added_to_org",
    }
)
"""Errors that may pass by themselves; all others of Slack's stay until somebody changes something."""
_CODE = re.compile(r"[a-z][a-z_]{2,59}")


@dataclass(frozen=True, slots=True)
class Refused:
    """Slack said no: its error's `code`, and what follows from it."""

    code: str
    failure: Failure


class SlackCalls:
    """Every call ends with a value."""

    def __init__(self, http: Http, clock: Clock, api_url: str) -> None:
        self._http, self._clock, self._api_url = http, clock, api_url.rstrip("/")

    async def api(
        self, method: str, token: str, body: dict[str, Any], secrets: Iterable[str]
    ) -> dict[str, Any] | Refused | Failure:
        """The answer of a method, where it says `ok`."""
        secrets = [*secrets, token]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
        answer = await self._http.post(f"{self._api_url}/{method}", encode(body), secrets=secrets, headers=headers)
        if not isinstance(answer, Answer):
            return answer
        found = json_object(answer)
        if found is not None and found.get("ok") is True:
            return found
        return self._refused("" if found is None else str(found.get("error", "")), answer, secrets)

    async def webhook(self, url: str, body: dict[str, Any], secrets: Iterable[str]) -> Refused | Failure | None:
        """None: posted."""
        answer = await self._http.post(url, encode(body), secrets=secrets)
        if not isinstance(answer, Answer):
            return answer
        said = answer.text.strip()
        return None if said == "ok" else self._refused(said, answer, secrets)

    def _refused(self, code: str, answer: Answer, secrets: Iterable[str]) -> Refused:
        words = reason(f"Slack answered {answer.status} {code or answer.text}", secrets)
        if code in RATE_LIMITED:
            return Refused(code, Throttled(pause(answer.retry_after, self._clock.now()), words))
        # what is no code is not Slack's own word: a proxy's page, an answer that was cut
        lasting = code not in PASSING and _CODE.fullmatch(code) is not None
        return Refused(code, Permanent(words) if lasting else Retryable(words))
