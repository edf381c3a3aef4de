"""Deploys and rotations reach PagerDuty as change events, each once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from app.alerts.changes import MAX_TRIES, Changes, fate_of, see, told
from app.alerts.notifiers.alert_registry import Outside
from app.alerts.notifiers.alerts import Delivered, Outcome, Permanent, Retryable, Throttled
from app.alerts.notifiers.pagerduty_event import Change
from app.alerts.outside import Notifiers
from app.alerts.receivers import ReceiverRecord
from app.core.clock import Clock
from app.core.leader import Leader
from tests.alerts.desk import Desk, desk_of
from tests.api.verbs import register
from tests.fakes.faults import Reply
from tests.support.service import Backing

NOW = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)


_LAUNCH = """
INSERT INTO pools (name, launch) VALUES ('echo', $1) ON CONFLICT (name) DO UPDATE SET launch = EXCLUDED.launch
"""


async def launch(desk: Desk, number: int) -> None:
    """The pool's launch is this one; the row is written as `PUT /v1/pools` of a launched pool does."""
    async with desk.yard.db.hot() as connection:
        given = {"kind": "kubernetes", "image": f"registry.example/agent:{number}"}
        await connection.execute(_LAUNCH, json.dumps(given))


@pytest.fixture
async def desk(backing: Backing) -> AsyncIterator[Desk]:
    async with desk_of(backing) as made:
        yield made


@pytest.mark.parametrize(
    ("outcome", "tries", "fate", "least_s"),
    [
        (Delivered(), 1, "delivered", 0.0),
        (Permanent("no such key"), 1, "given_up", 0.0),
        (Retryable("500"), 1, "pending", 0.5),
        (Throttled(timedelta(seconds=5), "429"), 1, "pending", 30.0),
        (Retryable("500"), MAX_TRIES, "given_up", 0.0),
    ],
)
def test_what_follows_from_an_outcome(outcome: Outcome, tries: int, fate: str, least_s: float) -> None:
    found, detail, pause_s = fate_of(outcome, tries, 0.0)
    assert (found, pause_s >= least_s) == (fate, True)
    assert detail == getattr(outcome, "reason", "")


@pytest.mark.parametrize("kind", ["launch", "version", "rotation"])
def test_people_read_what_changed_and_where(kind: str) -> None:
    change = told(kind, "echo", "7", NOW, "https://yard.example")
    assert "echo" in change.summary
    assert change.links[0][0].startswith("https://yard.example/v1/")
    assert change.at == NOW
    assert told(kind, "echo", "7", NOW, "").links == ()


async def test_a_launch_a_version_and_a_rotation_are_told_once(desk: Desk) -> None:
    await desk.receiver("on-call")
    await desk.receiver("chat", "slack")  # has no such thing
    changes = desk.yard.notifying.changes
    await launch(desk, 1)
    await register(desk.client, "http://127.0.0.1:9/", version="1")
    made = await desk.client.post("/v1/webhooks", json={"url": desk.hook.url})
    await changes.tick()
    assert desk.pagerduty.changes == [], "what is seen first is no change"

    await launch(desk, 2)
    await register(desk.client, "http://127.0.0.1:10/", version="2")
    await desk.client.post(f"/v1/webhooks/{made.json()['id']}/rotate")
    for _ in range(3):
        await changes.tick()
    told_of = sorted(item["payload"]["custom_details"]["kind"] for item in desk.pagerduty.changes)
    assert told_of == ["launch", "rotation", "version"], desk.pagerduty.refused
    assert len(desk.slack.posted) == 0


async def test_back_to_an_earlier_launch_is_a_change_too(desk: Desk) -> None:
    await desk.receiver("on-call")
    changes = desk.yard.notifying.changes
    for number in (1, 2, 1):
        await launch(desk, number)
        await changes.tick()
    assert len(desk.pagerduty.changes) == 2


async def test_a_provider_that_is_down_hears_of_it_later(desk: Desk) -> None:
    await desk.receiver("on-call")
    changes = desk.yard.notifying.changes
    desk.pagerduty.faults.next.append(Reply(500, "down"))
    for number in (1, 2):
        await launch(desk, number)
        await changes.tick()
    assert desk.pagerduty.changes == []
    async with desk.yard.db.hot() as connection:
        assert await connection.fetchval("SELECT detail FROM change_sends") != ""
        await connection.execute("UPDATE change_sends SET due_at = now()")
    await changes.tick()
    assert len(desk.pagerduty.changes) == 1


class Hanging(Notifiers):
    """The receiver `hangs` answers only after every other one was told."""

    def __init__(self, others: int) -> None:
        super().__init__(Outside(lambda _: True, Clock(), timeout_s=1.0))
        self.others, self.all_told = others, asyncio.Event()

    async def change(self, receiver: ReceiverRecord, change: Change) -> Outcome:
        if receiver.name == "a-hangs":
            await asyncio.wait_for(self.all_told.wait(), 5)
        else:
            self.others -= 1
            if not self.others:
                self.all_told.set()
        return Delivered()


class Always(Leader):
    def __init__(self) -> None:
        pass

    async def leads(self) -> bool:
        return True


async def test_a_receiver_that_hangs_holds_up_no_other(desk: Desk) -> None:
    for name in ("a-hangs", "b", "c"):
        await desk.receiver(name)
    db = desk.yard.db
    changes = Changes(db, Always(), Hanging(others=2), retention_s=60, url="")
    for number in (1, 2):
        await launch(desk, number)
        await see(db, ["pagerduty"], 60)
    await changes.tick()
    async with db.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM change_sends WHERE outcome = 'delivered'") == 3


async def test_two_that_look_at_once_store_a_change_once(desk: Desk) -> None:
    await launch(desk, 1)
    db = desk.yard.db
    await see(db, ["pagerduty"], 60)
    await launch(desk, 2)
    assert sum(await asyncio.gather(*(see(db, ["pagerduty"], 60) for _ in range(4)))) <= 1
    await see(db, ["pagerduty"], 60)
    async with db.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM changes") == 1
