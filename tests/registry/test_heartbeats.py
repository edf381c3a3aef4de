"""Heartbeats: in batches to PostgreSQL, in time order, never for an agent that is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

import pytest

from app.core.clock import Clock
from app.core.db import Database
from app.registry.heartbeats import Heartbeats
from app.settings import DatabaseSettings
from tests.core.database import HandClock
from tests.registry.desk import Desk
from tests.support.service import Backing

type Make = Callable[..., Heartbeats]


class Ahead(Clock):
    """The clock of a host that is an hour ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


async def database_now(desk: Desk) -> datetime:
    async with desk.db.hot() as connection:
        return cast(datetime, await connection.fetchval("SELECT clock_timestamp()"))


@pytest.fixture
def make(db: Database, clock: HandClock) -> Make:
    """Builds the heartbeats of one manager after another."""

    def made(database: Database = db) -> Heartbeats:
        return Heartbeats(database, clock)

    return made


@pytest.fixture
async def desk(db: Database) -> Desk:
    made = Desk(db)
    await made.pool()
    return made


async def test_the_newest_of_each_agent_is_written(make: Make, desk: Desk, clock: HandClock) -> None:
    beats = make()
    first, second = await desk.agent(1), await desk.agent(2)
    beats.record(first.id, 3)
    clock.forward(1)
    beats.record(second.id, 0)
    beats.record(first.id, 2)
    assert (await desk.read(first.id)).running == 0, "nothing was written yet"
    await beats.flush()
    read = await desk.read(first.id)
    assert (read.running, read.status, read.heartbeat_at) == (2, "busy", clock.now())
    read = await desk.read(second.id)
    assert (read.running, read.status) == (0, "idle")


async def test_an_older_beat_does_not_undo_a_newer(make: Make, desk: Desk, clock: HandClock) -> None:
    old, new, agent = make(), make(), await desk.agent()
    old._kept[agent.id] = (agent.id, clock.now(), 9)
    clock.forward(5)
    new.record(agent.id, 1)
    await new.flush()
    await old.flush()
    read = await desk.read(agent.id)
    assert (read.running, read.heartbeat_at) == (1, clock.now())


async def test_a_host_whose_clock_is_ahead_makes_nobody_look_alive(make: Make, desk: Desk) -> None:
    ahead, right, agent = make(), make(), await desk.agent()
    ahead._clock, right._clock = Ahead(), Clock()
    ahead.record(agent.id, 1)
    await ahead.flush()
    read = await desk.read(agent.id)
    assert read.running == 1 and read.heartbeat_at is not None
    now = await database_now(desk)
    assert max(read.heartbeat_at, read.last_seen_at) <= now
    right.record(agent.id, 2)
    await right.flush()
    assert (await desk.read(agent.id)).running == 2, "and the beats that others hear count"


async def test_a_beat_already_noted_in_the_future_does_not_hold_up_the_next(make: Make, desk: Desk) -> None:
    beats, agent = make(), await desk.agent()
    beats._clock = Clock()
    await desk.sql("UPDATE agents SET heartbeat_at = now() + interval '1 hour'")
    # A beat of the same moment, heard by a host that is ahead as well: nothing is later than now.
    beats._kept[agent.id] = (agent.id, Ahead().now(), 3)
    await beats.flush()
    read = await desk.read(agent.id)
    assert read.running == 3 and read.heartbeat_at is not None and read.heartbeat_at <= await database_now(desk)


@pytest.mark.parametrize("status", ["failed", "maintenance", "draining", "starting", "gone"])
async def test_they_do_not_change_a_status_that_somebody_set(make: Make, desk: Desk, status: str) -> None:
    beats, agent = make(), await desk.agent()
    await desk.sql("UPDATE agents SET status = $1", status)
    beats.record(agent.id, 7)
    await beats.flush()
    read = await desk.read(agent.id)
    assert read.status == status
    assert read.running == (0 if status == "gone" else 7)


async def test_what_the_database_did_not_take_is_kept(
    make: Make, desk: Desk, backing: Backing, clock: HandClock
) -> None:
    agent, closed = await desk.agent(), Database(DatabaseSettings(url=backing.database_url))
    beats = make(closed)
    beats.record(agent.id, 6)
    with pytest.raises(Exception, match="starting or stopping"):
        await beats.flush()
    await closed.start()
    await beats.flush()
    assert (await desk.read(agent.id)).running == 6
    await closed.stop()


async def test_last_seen_never_steps_back(make: Make, desk: Desk, clock: HandClock) -> None:
    beats, agent = make(), await desk.agent()
    beats.record(agent.id, 0)  # the clock of this test is far behind the database's
    await beats.flush()
    assert (await desk.read(agent.id)).last_seen_at == agent.last_seen_at


async def test_removed_and_unknown_agents_do_not_disturb_the_others(make: Make, desk: Desk) -> None:
    beats, agent, removed = make(), await desk.agent(1), await desk.agent(2)
    await desk.registry.remove(removed.id)
    await desk.sql("DELETE FROM agents WHERE id = $1", removed.id)
    beats.record(removed.id, 1)
    beats.record(agent.id, 1)
    await beats.flush()
    assert (await desk.read(agent.id)).running == 1
