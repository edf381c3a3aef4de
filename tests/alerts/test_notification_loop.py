"""Two leaders at once, a leader that loses its lease, a retry under the same id: nobody is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.alerts import flushing
from app.alerts.claiming import Claims
from app.alerts.flushing import Flushes, LeaseLost
from app.alerts.looking import look, store
from app.alerts.members import Plan
from app.alerts.notification_loop import NotificationLoop
from app.alerts.notifiers.alert_registry import Outside
from app.alerts.notifiers.alerts import Delivered, Notice, Outcome, Permanent, Retryable
from app.alerts.outside import Notifiers
from app.alerts.receiver_health import try_again
from app.alerts.receivers import ReceiverRecord
from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.leader import Leader
from app.settings import AlertSettings
from tests.alerts.watching import Watcher
from tests.support.waiting import until_async

_RECEIVER = """
INSERT INTO receivers (name, kind, config, group_by, group_wait_s, group_interval_s, repeat_interval_s, created_by)
VALUES ($1, 'webhook', '{"url": "https://example.com"}', '{...}', 0, 1, 3600, 'tests')
"""
_DUE = "UPDATE alert_groups SET due_at = now(), next_flush_at = now(), retry_at = NULL"
SETTINGS = AlertSettings(flush_interval_s=0.01)


class Always(Leader):
    """Leads, whoever else does."""

    def __init__(self) -> None:
        pass

    async def leads(self) -> bool:
        return True


@dataclass
class Recorder(Notifiers):
    """Notifiers that only remember; `outcomes` are given first, then everything is delivered."""

    outcomes: list[Outcome] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(Outside(lambda _: True, Clock(), timeout_s=1.0))

    async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
        self.told.append(notice)
        await asyncio.sleep(self.pause_s)
        return self.outcomes.pop(0) if self.outcomes else Delivered("receipt")

    def reasons(self) -> list[tuple[str, str]]:
        return sorted((notice.group_key, notice.reason) for notice in self.told)


@pytest.fixture
async def watcher(db: Database) -> AsyncIterator[Watcher]:
    made = Watcher(db)
    await made.rows(_RECEIVER, "hook")
    yield made


def loop_of(db: Database, notifiers: Notifiers) -> NotificationLoop:
    return NotificationLoop(db, Clock(), Always(), notifiers, SETTINGS)


async def drained(*loops: NotificationLoop) -> None:
    """Ticks until nothing more is due."""
    for _ in range(40):
        for loop in loops:
            loop.hint()
        await asyncio.gather(*(loop.tick() for loop in loops))
        await asyncio.gather(*(loop.idle() for loop in loops))


async def test_two_leaders_tell_each_group_once(db: Database, watcher: Watcher) -> None:
    one, two = Recorder(pause_s=0.01), Recorder(pause_s=0.01)
    for number in range(30):
        await watcher.fire("errors", instance=str(number))
    await drained(loop_of(db, one), loop_of(db, two))
    told = one.reasons() + two.reasons()
    assert len(told) == len(set(told)) == 30
    for number in range(30):
        await watcher.resolve("errors", instance=str(number))
    await watcher.rows(_DUE)
    await drained(loop_of(db, one), loop_of(db, two))
    told = one.reasons() + two.reasons()
    assert len(told) == len(set(told)) == 60
    assert {reason for _, reason in told} == {"first", "resolved"}


async def claimed(db: Database, lease_s: float = 60.0) -> Any:
    seen = await look(db, "")
    assert seen is not None
    (item,) = await Claims(db, lease_s=lease_s, each=4).take({}, 10, seen.alerts, {})
    return item


async def test_who_lost_the_lease_before_telling_tells_nothing(db: Database, watcher: Watcher) -> None:
    notifiers = Recorder()
    await watcher.fire("errors")
    item = await claimed(db)
    assert await Claims(db, lease_s=60, each=4).take({}, 10, {}, {}) == [], "it is leased"
    await watcher.rows("UPDATE alert_groups SET lease = $1", uuid4())
    await Flushes(db, notifiers, SETTINGS).flush(item, {})
    assert notifiers.told == []


async def test_who_lost_the_lease_holds_nothing_back_in_the_record(db: Database, watcher: Watcher) -> None:
    await watcher.fire("errors")
    await watcher.rows(
        "INSERT INTO silences (id, matchers, starts_at, ends_at, created_by)"
        " VALUES (gen_random_uuid(), '{pool=ops}', now(), now() + interval '1 hour', 'tests')"
    )
    item = await claimed(db)
    await watcher.rows("UPDATE alert_groups SET lease = $1", uuid4())
    with pytest.raises(LeaseLost):
        await Flushes(db, Recorder(), SETTINGS).flush(item, {})
    assert await watcher.rows("SELECT 1 FROM notifications") == []


async def test_a_manager_that_died_after_telling_is_followed_by_one_that_says_the_same(
    db: Database, watcher: Watcher
) -> None:
    class Dies(Recorder):
        async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
            self.told.append(notice)
            raise asyncio.CancelledError

    dying, after = Dies(), Recorder()
    await watcher.fire("errors")
    item = await claimed(db)
    with pytest.raises(asyncio.CancelledError):
        await Flushes(db, dying, SETTINGS).flush(item, {})
    await watcher.rows("UPDATE alert_groups SET leased_until = now() - interval '1 second'")
    await drained(loop_of(db, after))
    assert [notice.id for notice in dying.told + after.told] == [after.told[0].id] * 2
    ((tries,),) = await watcher.rows("SELECT tries FROM notifications WHERE outcome = 'delivered'")
    assert tries == 2


async def test_the_end_of_what_a_manager_told_and_died_is_told_by_the_next(db: Database, watcher: Watcher) -> None:
    class Dies(Recorder):
        async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
            await super().notify(receiver, notice)
            raise asyncio.CancelledError

    after = Recorder([Retryable("away")])
    await watcher.fire("errors")
    item = await claimed(db)
    with pytest.raises(asyncio.CancelledError):
        await Flushes(db, Dies(), SETTINGS).flush(item, {})
    await watcher.resolve("errors")
    await watcher.rows("UPDATE alert_groups SET leased_until = now() - interval '1 second'")
    for _ in range(3):
        await drained_once(loop_of(db, after))
        await watcher.rows(_DUE)
    assert [notice.reason for notice in after.told] == ["resolved", "resolved"], "until it is delivered"
    assert len({notice.id for notice in after.told}) == 1
    assert await watcher.rows("SELECT 1 FROM alert_group_members") == []


async def test_a_retry_keeps_its_id_and_news_get_one_of_their_own(db: Database, watcher: Watcher) -> None:
    notifiers = Recorder([Retryable("away"), Retryable("away"), Retryable("away")])
    loop = loop_of(db, notifiers)
    await watcher.rows("UPDATE receivers SET group_by = '{pool}'")
    await watcher.fire("errors")
    for _ in range(2):
        await drained_once(loop)
        await watcher.rows(_DUE)
    await watcher.fire("latency")
    for _ in range(2):
        await drained_once(loop)
        await watcher.rows(_DUE)
    ids = [notice.id for notice in notifiers.told]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert [len(notice.alerts) for notice in notifiers.told] == [1, 1, 2, 2]


async def test_a_lease_covers_a_send_however_long_after_the_claim_it_begins(db: Database, watcher: Watcher) -> None:
    class Late(Recorder):
        async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
            ((left,),) = await watcher.rows("SELECT extract(epoch FROM leased_until - now()) FROM alert_groups")
            assert 59 < left <= 60
            return await super().notify(receiver, notice)

    await watcher.fire("errors")
    item, late = await claimed(db, 60.0), Late()
    await watcher.rows("UPDATE alert_groups SET leased_until = now() + interval '1 second'")
    await Flushes(db, late, SETTINGS).flush(item, {})
    assert len(late.told) == 1


def test_a_lease_is_long_enough_to_wait_for_the_database(db: Database) -> None:
    notifiers = Recorder()
    assert loop_of(db, notifiers).lease_s >= notifiers.bound_s + 3 * db.settings.acquire_timeout_s


async def test_a_switch_that_hangs_gets_one_beat_at_a_time_and_takes_no_alerts_place(
    db: Database, watcher: Watcher
) -> None:
    over = asyncio.Event()

    class Hangs(Recorder):
        async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
            if "Watchdog" in notice.group_labels.values():
                self.told.append(notice)
                await over.wait()
                return Delivered()
            return await super().notify(receiver, notice)

    notifiers = Hangs()
    few = AlertSettings(flush_interval_s=0.01, max_in_flight=1, max_in_flight_per_receiver=1)
    loop = NotificationLoop(db, Clock(), Always(), notifiers, few)
    await watcher.rows("UPDATE receivers SET heartbeat_s = 1")
    await watcher.rule("errors")
    for _ in range(5):
        loop.hint()
        await watcher.rows("UPDATE receivers SET heartbeat_at = NULL")
        await loop.tick()
    assert [notice.group_labels for notice in notifiers.told] == [{"alertname": "Watchdog"}]
    await watcher.fire("errors")

    async def told() -> bool:
        loop.hint()
        await loop.tick()
        return len(notifiers.told) == 2

    await until_async(told, "the alert is told meanwhile", 10)
    over.set()
    await loop.idle()
    loop.hint()
    await watcher.rows("UPDATE receivers SET heartbeat_at = NULL")
    await loop.tick()
    await loop.idle()
    assert len(notifiers.told) == 3, "and when the first is over there is another"
    await loop.close(1)


async def hurry(connection: HotConnection, notice: Notice) -> None:
    """What an escalation does."""
    at = await connection.fetchval("SELECT now()")
    await store(connection, Plan(hurried={notice.group_key: at}))


async def put(connection: HotConnection, notice: Notice) -> None:
    """What a change of the receiver does."""
    await try_again(connection, notice.receiver)


@pytest.mark.parametrize("at_once", [hurry, put])
@pytest.mark.parametrize("outcome", [Delivered(), Retryable("away"), Permanent("no such key")])
async def test_what_is_wanted_at_once_is_not_lost_on_a_group_under_way(
    db: Database, watcher: Watcher, at_once: Any, outcome: Outcome
) -> None:
    class Meanwhile(Recorder):
        async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
            async with db.hot() as connection:
                await at_once(connection, notice)
            return await super().notify(receiver, notice)

    await watcher.rows("UPDATE receivers SET group_interval_s = 3600")
    await watcher.fire("errors")
    await Flushes(db, Meanwhile([outcome]), SETTINGS).flush(await claimed(db), {})
    await claimed(db)  # it is due

    await watcher.rows("UPDATE alert_groups SET leased_until = NULL")
    await Flushes(db, Recorder(), SETTINGS).flush(await claimed(db), {})
    (later,) = await watcher.rows("SELECT due_at > now() + interval '59 minutes' AS later FROM alert_groups")
    assert later["later"], "and once is enough"


async def drained_once(loop: NotificationLoop) -> None:
    loop.hint()
    await loop.tick()
    await loop.idle()


async def test_what_is_not_stored_because_the_database_is_away_is_stored_when_it_is_back(
    db: Database, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = flushing.STORE_AGAIN_S
    monkeypatch.setattr(flushing, "STORE_AGAIN_S", (0.0,) * len(flushing.STORE_AGAIN_S))
    assert sum(pauses) >= 60
    await watcher.fire("errors")
    item = await claimed(db)
    notifiers = Recorder()
    flushes, failures = Flushes(db, notifiers, SETTINGS), [OSError("away")] * 20
    hot = db.hot

    def flaky() -> Any:
        if notifiers.told and failures:
            raise failures.pop()
        return hot()

    monkeypatch.setattr(db, "hot", flaky)
    await flushes.flush(item, {})
    (row,) = await watcher.rows("SELECT id, outcome FROM notifications")
    assert (UUID(str(row["id"])), row["outcome"]) == (notifiers.told[0].id, "delivered")
