"""Two managers, two hundred alerts, kills at random: everybody is told everything, once for each reason.

What a crash between a provider's answer and our commit may cost is one duplicate of a notice, under the same id or the
same dedup key: it is recognised by that, counted, and no more than the kills explain.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.core.db import Database
from app.settings import DatabaseSettings
from tests.alerts.desk import HOOK_SECRET, KEY
from tests.alerts.watching import Watcher
from tests.fakes.pagerduty import PagerDuty
from tests.support.service import Fleet, Manager
from tests.support.slack_server import SlackServer
from tests.support.waiting import until_async
from tests.support.webhook_receiver import WebhookReceiver

ALERTS, POOLS, SEED = 200, 8, 7
IN_FLIGHT = 4
"""Notices to one receiver at once: what one kill may interrupt."""
RECEIVERS: dict[str, dict[str, Any]] = {
    "on-call": {"kind": "pagerduty", "config": {"routing_key": KEY}, "group_by": ["..."]},
    "chat": {"kind": "slack", "config": {"channel": "C0OPS"}, "group_by": ["pool"]},
    "hook": {"kind": "webhook", "config": {}, "group_by": ["..."]},
}
QUICK = {"group_wait_s": 0.5, "group_interval_s": 1, "repeat_interval_s": 36_000}


class World:
    """Providers, managers, and what is killed of them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.random = fleet, random.Random(SEED)
        self.pagerduty, self.slack, self.hook = PagerDuty(keys={KEY}), SlackServer(), WebhookReceiver()
        self.managers: list[Manager] = []
        self.kills = 0

    async def start(self, **environment: str) -> None:
        """One more manager. In a thread: the providers answer meanwhile."""
        values = {
            **self.slack.environment(),
            "YARD_ALERTS_PAGERDUTY_URL": self.pagerduty.url,
            "YARD_ALERTS_FLUSH_INTERVAL_S": "0.1",
            "YARD_ALERTS_TIMEOUT_S": "5",
            "YARD_ALERTS_INTERVAL_S": "300",
            "YARD_ALERTS_MAX_IN_FLIGHT_PER_RECEIVER": str(IN_FLIGHT),
            "YARD_WEBHOOKS_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
            "YARD_LOG_LEVEL": "warning",
            **environment,
        }
        self.managers.append(await asyncio.to_thread(lambda: self.fleet.manager(**values)))

    async def kill(self) -> None:
        """kill -9 of a random manager, and another one instead."""
        victim = self.managers.pop(self.random.randrange(len(self.managers)))
        if victim.process.poll() is None:  # else it has come to its failpoint
            await asyncio.to_thread(victim.kill)
        self.kills += 1
        await self.start()

    async def fallen(self, manager: Manager) -> None:
        """Wait until it has come to its failpoint and died of it; then another one instead."""
        await asyncio.to_thread(manager.process.wait, 120)
        self.managers.remove(manager)
        self.kills += 1
        await self.start()


@pytest.fixture
async def world(managers: Fleet) -> AsyncIterator[World]:
    made = World(managers)
    await made.pagerduty.start()
    await made.slack.start()
    await made.hook.start()
    yield made
    await asyncio.to_thread(managers.close)
    await made.pagerduty.stop()
    await made.slack.stop()
    await made.hook.stop()


@pytest.fixture
async def watcher(managers: Fleet) -> AsyncIterator[Watcher]:
    db = Database(DatabaseSettings(url=managers.backing.database_url, hot_connections=2, cold_connections=2))
    await db.start()
    yield Watcher(db)
    await db.stop()


async def test_two_hundred_alerts_are_told_once_for_each_reason_whoever_dies(world: World, watcher: Watcher) -> None:
    await world.start()
    await world.start(YARD_FAILPOINTS="notifications.sent=9")
    doomed = world.managers[-1]
    await _receivers(world)
    names = [f"alert_{number:03}" for number in range(ALERTS)]
    labels: dict[str, Any] = {name: {"pool": f"pool{number % POOLS}"} for number, name in enumerate(names)}
    await watcher.rule("errors")

    async def fire() -> None:
        for name in names:
            await watcher.fire("errors", instance=name, **labels[name])
            await asyncio.sleep(world.random.uniform(0, 0.04))

    async def resolve() -> None:
        for name in world.random.sample(names, ALERTS):
            await watcher.resolve("errors", instance=name, **labels[name])
            await asyncio.sleep(world.random.uniform(0, 0.04))

    firing = asyncio.create_task(fire())
    await _until_told(world, 20, "firing")
    await world.kill()
    await firing
    await _until_told(world, ALERTS, "firing")
    await _until_recorded(watcher)
    resolving = asyncio.create_task(resolve())
    await _until_told(world, 20, "resolved")
    await world.kill()
    if doomed in world.managers and doomed.process.poll() is not None:
        await world.fallen(doomed)
    await resolving
    await _until_told(world, ALERTS, "resolved")
    await _until_quiet(watcher)
    assert world.kills >= 2
    assert world.pagerduty.refused == []
    _check_pagerduty(world)
    _check_webhooks(world)
    _check_slack(world)
    await _check_notifications(watcher)


async def _receivers(world: World) -> None:
    async with httpx.AsyncClient(
        base_url=world.managers[0].url, headers={"Authorization": f"Bearer {world.fleet.backing.admin_key}"}
    ) as client:
        for name, fields in RECEIVERS.items():
            body = {**QUICK, **fields}
            if name == "hook":
                body["config"] = {"url": f"{world.hook.url}/hook", "secret": HOOK_SECRET}
            answer = await client.put(f"/v1/receivers/{name}", json=body)
            assert answer.status_code == 201, answer.text


async def _until_told(world: World, count: int, status: str) -> None:
    """So many alerts are known to be so, at PagerDuty and at the webhook."""
    states = {"firing": ("trigger",), "resolved": ("resolve",)}[status]

    async def told() -> bool:
        incidents = sum(
            any(event["event_action"] in states for event in incident.events)
            for incident in world.pagerduty.incidents.values()
        )
        hooks = len({got.json["groupKey"] for got in world.hook.got if got.json["status"] == status})
        return incidents >= count and hooks >= count

    await until_async(told, f"{count} alerts are told as {status}", 240)


async def _until_recorded(watcher: Watcher) -> None:
    """Every group has its first notice, and we know it. Alerts that end before are another story: they are told to
    nobody while Slack's turn has not come, and told as ended only where a kill took the answer."""

    async def recorded() -> bool:
        (row,) = await watcher.rows(
            "SELECT count(DISTINCT (receiver, group_key)) AS groups FROM notifications"
            " WHERE outcome = 'delivered' AND reason = 'first'"
        )
        return int(row["groups"]) == 2 * ALERTS + POOLS

    await until_async(recorded, "every first notice is recorded", 240)


async def _until_quiet(watcher: Watcher) -> None:
    async def quiet() -> bool:
        (row,) = await watcher.rows("SELECT count(*) AS left FROM alert_group_members")
        return int(row["left"]) == 0

    await until_async(quiet, "every group is settled", 240)


def _check_pagerduty(world: World) -> None:
    assert len(world.pagerduty.incidents) == ALERTS
    duplicates = 0
    for incident in world.pagerduty.incidents.values():
        actions = [event["event_action"] for event in incident.events]
        assert list(dict.fromkeys(actions)) == ["trigger", "resolve"], actions
        assert actions == sorted(actions, reverse=True), "no trigger after its resolve"
        assert incident.opened == 1
        assert max(Counter(actions).values()) <= 1 + world.kills
        duplicates += len(actions) - 2
    assert duplicates <= world.kills * IN_FLIGHT, f"{duplicates} duplicates, {world.kills} kills"


def _check_webhooks(world: World) -> None:
    ids: dict[tuple[str, str], list[str]] = defaultdict(list)
    for got in world.hook.got:
        body = got.verified(HOOK_SECRET)
        ids[body["groupKey"], body["status"]].append(got.id)
    assert len(ids) == 2 * ALERTS
    assert [key for key, found in ids.items() if len(set(found)) != 1] == [], "one notice for each reason"
    duplicates = sum(len(found) - 1 for found in ids.values())
    assert duplicates <= world.kills * IN_FLIGHT, f"{duplicates} duplicates, {world.kills} kills"


def _check_slack(world: World) -> None:
    """One message a group, which says at last that it is over; one that a crash made us forget may be left."""
    posted = [message for message in world.slack.posted if not message.thread_ts]
    assert POOLS <= len(posted) <= POOLS + world.kills
    by_pool = Counter(pool for message in posted for pool in _pools(message.seen() + message.text))
    assert set(by_pool) == {f"pool{number}" for number in range(POOLS)}
    over = {pool for message in posted if "RESOLVED" in message.text for pool in _pools(message.seen() + message.text)}
    assert len(over) == POOLS, "each group's message says that it is over"
    assert sum("RESOLVED" not in message.text for message in posted) <= world.kills


def _pools(text: str) -> set[str]:
    return {f"pool{number}" for number in range(POOLS) if f"pool{number}" in text}


async def _check_notifications(watcher: Watcher) -> None:
    """Our own record says the same: one delivered notification for each group and reason of single alerts."""
    rows = await watcher.rows(
        "SELECT receiver, group_key, reason, count(*) AS times FROM notifications"
        " WHERE outcome = 'delivered' AND receiver <> 'chat' GROUP BY 1, 2, 3"
    )
    assert {row["reason"] for row in rows} == {"first", "resolved"}
    assert {row["times"] for row in rows} == {1}
    assert len(rows) == 2 * 2 * ALERTS
