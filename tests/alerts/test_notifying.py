"""From an alert's state to PagerDuty, Slack and webhooks, over real HTTP and a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.alerts.desk import HOOK_SECRET, Desk, desk_of
from tests.support.service import Backing


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    async with desk_of(backing) as made:
        yield made


async def test_an_alert_is_told_once_when_it_fires_and_once_when_it_ends(desk: Desk) -> None:
    await desk.receiver("on-call")
    await desk.receiver("chat", "slack")
    await desk.receiver("hook", "webhook")
    await desk.watcher.fire("errors")
    for name in ("on-call", "chat", "hook"):
        await desk.noted(name, "delivered", "first")
    await desk.watcher.resolve("errors")
    for name in ("on-call", "chat", "hook"):
        await desk.noted(name, "delivered", "resolved")
    assert desk.actions() == ["trigger", "resolve"]
    (incident,) = desk.pagerduty.incidents.values()
    assert incident.state == "resolved"
    (message,) = desk.slack.posted
    assert message.versions == 2, "the same message says that it is over"
    assert "RESOLVED" in message.text
    statuses = [got.verified(HOOK_SECRET)["status"] for got in desk.hook.got]
    assert statuses == ["firing", "resolved"]
    assert len({got.id for got in desk.hook.got}) == 2
