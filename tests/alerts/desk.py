"""A manager that tells people, with a PagerDuty, a Slack and a webhook's receiver of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from app.settings import AlertSettings, SlackSettings, WebhookSettings
from app.wiring import Yard
from tests.alerts.watching import Watcher, unwatched
from tests.conftest import running_app, settings_for
from tests.fakes.pagerduty import PagerDuty
from tests.support.service import Backing
from tests.support.slack_server import SECRET, TOKEN, SlackServer
from tests.support.waiting import until_async
from tests.support.webhook_receiver import WebhookReceiver

KEY = "0123456789abcdef0123456789abcdef"
HOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
QUICK: dict[str, Any] = {"group_wait_s": 0, "group_interval_s": 1, "repeat_interval_s": 3600, "group_by": ["pool"]}


@dataclass
class Desk:
    client: httpx.AsyncClient
    yard: Yard
    watcher: Watcher
    pagerduty: PagerDuty
    slack: SlackServer
    hook: WebhookReceiver

    async def receiver(self, name: str, kind: str = "pagerduty", **fields: Any) -> dict[str, Any]:
        config = {
            "pagerduty": {"routing_key": KEY},
            "slack": {"channel": "C0OPS"},
            "webhook": {"url": f"{self.hook.url}/hook", "secret": HOOK_SECRET},
        }.get(kind, {})
        body = {"kind": kind, "config": config, **QUICK, **fields}
        answer = await self.client.put(f"/v1/receivers/{name}", json=body)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def group(self, receiver: str) -> dict[str, Any]:
        """Its only group."""
        (found,) = (await self.get(f"/v1/alert-groups?receiver={receiver}"))["items"]
        return dict(found)

    async def notifications(self, receiver: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return list(reversed((await self.get(f"/v1/notifications?receiver={receiver}&page_size=500"))["items"]))

    async def noted(self, receiver: str, outcome: str, reason: str = "") -> dict[str, Any]:
        """The first notification that came out so, once it is there."""

        async def there() -> dict[str, Any] | None:
            found = await self.notifications(receiver)
            return next((n for n in found if n["outcome"] == outcome and reason in ("", n["reason"])), None)

        return await until_async(there, f"a notification {outcome} {reason} of {receiver}", 20)

    async def until(self, condition: Callable[[], object], what: str, timeout_s: float = 20) -> None:
        async def met() -> bool:
            return bool(condition())

        await until_async(met, what, timeout_s)

    def actions(self) -> list[str]:
        """What came to PagerDuty, in order of its incidents."""
        return [event["event_action"] for incident in self.pagerduty.incidents.values() for event in incident.events]


@asynccontextmanager
async def desk_of(backing: Backing, **alerts: Any) -> AsyncIterator[Desk]:
    """`alerts` are settings of alerts."""
    pagerduty, slack, hook = PagerDuty(keys={KEY}), SlackServer(), WebhookReceiver()
    await pagerduty.start()
    await slack.start()
    await hook.start()
    values = {"flush_interval_s": 0.05, "timeout_s": 2.0, "pagerduty_url": pagerduty.url, **alerts}
    settings = settings_for(
        backing,
        alerts=AlertSettings(**values),
        webhooks=WebhookSettings(allowed_networks=["127.0.0.0/8"]),
        slack=SlackSettings(token=SecretStr(TOKEN), signing_secret=SecretStr(SECRET), api_url=slack.api_url),
    )
    try:
        async with running_app(settings, backing.admin_key) as (client, yard):
            await unwatched(yard)
            yield Desk(client, yard, Watcher(yard.db), pagerduty, slack, hook)
    finally:
        await pagerduty.stop()
        await slack.stop()
        await hook.stop()
