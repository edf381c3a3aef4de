"""The health loop, ticked by hand: whom it asks, whom it fails, whom it welcomes back."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.core.db import Database
from app.core.leader import Leader
from app.registry.loop import HealthLoop
from app.registry.records import AgentRecord
from app.settings import RegistrySettings
from tests.core.database import HandClock
from tests.registry.desk import Desk

SETTINGS = RegistrySettings(silent_after_s=60.0, probe_interval_s=15.0, gone_retention_s=3600.0)


class Ward(Desk):
    """A registry with a health loop whose probes the test answers."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.answering: set[UUID] = set()
        self.asked: list[UUID] = []
        self.clock = HandClock()
        self.leader = Leader(db, self.clock, "health", "me")
        self.loop = HealthLoop(db, self.registry, self.leader, self.probe, SETTINGS)

    async def probe(self, agent: AgentRecord) -> bool:
        self.asked.append(agent.id)
        return agent.id in self.answering

    async def tick(self) -> set[UUID]:
        """Who was asked in one pass."""
        self.asked.clear()
        await self.loop.tick()
        return set(self.asked)


@pytest.fixture
async def ward(db: Database) -> Ward:
    made = Ward(db)
    await made.pool()
    return made


async def test_only_the_quiet_are_asked(ward: Ward) -> None:
    loud, quiet = await ward.agent(1), await ward.agent(2)
    await ward.silent(quiet.id, 50)
    assert await ward.tick() == {quiet.id}
    assert await ward.status(loud.id) == await ward.status(quiet.id) == "idle", "not silent for long enough"


async def test_the_silent_fail_and_work_again_when_they_answer(ward: Ward) -> None:
    agent = await ward.agent()
    await ward.silent(agent.id, 61)
    await ward.tick()
    read = await ward.read(agent.id)
    assert read.status == "failed" and "60 s" in read.status_reason
    assert await ward.tick() == {agent.id}, "it is asked again"
    ward.answering.add(agent.id)
    await ward.tick()
    assert await ward.status(agent.id) == "idle"
    assert await ward.tick() == set()


async def test_one_that_answers_is_never_failed_however_long_it_sent_nothing(ward: Ward) -> None:
    agent = await ward.agent()
    ward.answering.add(agent.id)
    await ward.silent(agent.id, 9999)
    await ward.tick()
    assert await ward.status(agent.id) == "idle"


async def test_a_new_agent_is_asked_at_once(ward: Ward) -> None:
    record, _ = await ward.registry.register("p", "http://127.0.0.1:5", slots=1, weight=5.0, version="", labels={})
    assert record.status == "starting"
    assert await ward.tick() == {record.id}
    assert await ward.status(record.id) == "starting"
    ward.answering.add(record.id)
    await ward.tick()
    assert await ward.status(record.id) == "idle"


@pytest.mark.parametrize(("status", "then"), [("draining", "gone"), ("maintenance", "failed"), ("starting", "failed")])
async def test_silence_in_other_states(ward: Ward, status: str, then: str) -> None:
    agent = await ward.agent()
    await ward.sql("UPDATE agents SET status = $1", status)
    await ward.silent(agent.id, 59)
    await ward.tick()
    assert await ward.status(agent.id) == status
    await ward.silent(agent.id, 61)
    await ward.tick()
    assert await ward.status(agent.id) == then


@pytest.mark.parametrize("status", ["draining", "maintenance", "busy"])
async def test_an_answer_does_not_end_what_somebody_set(ward: Ward, status: str) -> None:
    agent = await ward.agent()
    ward.answering.add(agent.id)
    await ward.sql("UPDATE agents SET status = $1", status)
    await ward.silent(agent.id, 100)
    await ward.tick()
    assert await ward.status(agent.id) == status
    assert await ward.tick() == set(), "but it was heard"


async def test_a_beat_during_the_probe_saves_it(ward: Ward) -> None:
    agent = await ward.agent()
    await ward.silent(agent.id, 100)

    async def probe(_: AgentRecord) -> bool:
        await ward.sql("UPDATE agents SET last_seen_at = clock_timestamp()")
        return False

    await HealthLoop(ward.db, ward.registry, ward.leader, probe, SETTINGS).tick()
    assert await ward.status(agent.id) == "idle"


async def test_who_does_not_lead_does_nothing(ward: Ward) -> None:
    agent = await ward.agent()
    await ward.silent(agent.id, 100)
    assert await Leader(ward.db, ward.clock, "health", "another").leads()
    assert await ward.tick() == set()
    assert await ward.status(agent.id) == "idle"


async def test_those_gone_for_long_are_forgotten(ward: Ward) -> None:
    old, new = await ward.agent(1), await ward.agent(2)
    await ward.registry.remove(old.id)
    await ward.registry.remove(new.id)
    await ward.sql("UPDATE agents SET updated_at = now() - interval '3601 s' WHERE id = $1", old.id)
    await ward.tick()
    async with ward.db.hot() as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM agents")] == [new.id]
    assert await ward.tick() == set()
