"""The health loop, ticked by hand: whom it asks, whom it fails, whom it welcomes back."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest

from app.core.db import Database
from app.core.leader import Leader
from app.registry import queries
from app.registry.loop import BATCH, HealthLoop
from app.registry.records import AgentRecord
from app.settings import RegistrySettings
from tests.core.database import HandClock
from tests.registry.desk import Desk

SETTINGS = RegistrySettings(
    silent_after_s=60.0, probe_interval_s=15.0, gone_retention_s=3600.0, failed_retention_s=7200.0
)


class Ward(Desk):
    """A registry with a health loop whose probes the test answers."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.answering: set[UUID] = set()
        self.asked: list[UUID] = []
        self.pause_s: float | None = None
        self.clock = HandClock()
        self.leader = Leader(db, self.clock, "health", "me")
        self.loop = HealthLoop(db, self.registry, self.leader, self.probe, SETTINGS)

    async def probe(self, agent: AgentRecord) -> bool:
        self.asked.append(agent.id)
        return agent.id in self.answering

    async def tick(self) -> set[UUID]:
        """Who was asked in one pass."""
        self.asked.clear()
        self.pause_s = await self.loop.tick()
        return set(self.asked)

    async def later(self, seconds: float) -> None:
        """So much time passes for all agents."""
        await self.sql(
            """UPDATE agents SET probed_at = probed_at - a, updated_at = updated_at - a,
            last_seen_at = last_seen_at - a, registered_at = registered_at - a FROM make_interval(secs => $1) AS a""",
            seconds,
        )

    async def crowd(self, count: int, status: str, silent_s: float, probed_s: float | None) -> None:
        """Many agents that nobody has heard of for `silent_s`; the last probe of each was `probed_s` ago."""
        await self.sql(
            """INSERT INTO agents (id, pool, url, slots, weight, status, token_digest, registered_at, last_seen_at,
              probed_at, updated_at)
            SELECT gen_random_uuid(), 'p', 'http://127.0.0.2:' || n, 1, 5, $2, ''::bytea, now() - a, now() - a,
              now() - make_interval(secs => $4), now() - a
            FROM generate_series(1, $1::int) n, make_interval(secs => $3) AS a""",
            count,
            status,
            silent_s,
            probed_s,
        )


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
    assert await ward.tick() == set(), "after a pause"
    await ward.later(15)
    assert await ward.tick() == {agent.id}, "it is asked again"
    await ward.later(30)
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
    await ward.later(1)
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
    await ward.later(4)
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


async def test_many_dead_do_not_keep_the_living_from_being_asked(ward: Ward) -> None:
    await ward.crowd(600, "failed", 600, probed_s=500)
    live = await ward.agent(1)
    await ward.silent(live.id, 40)
    await ward.sql("UPDATE agents SET probed_at = now() - interval '16 s' WHERE id = $1", live.id)
    ward.answering.add(live.id)
    assert live.id in await ward.tick()
    assert ward.pause_s == 0.0, "a full batch: more may be due"


@pytest.mark.parametrize("status", ["failed", "idle", "starting"])
async def test_a_full_batch_goes_on_until_everybody_was_asked_once(ward: Ward, status: str) -> None:
    await ward.crowd(BATCH + 100, status, 50, probed_s=None)
    first = await ward.tick()
    assert (len(first), ward.pause_s) == (BATCH, 0.0)
    second = await ward.tick()
    assert (len(second), ward.pause_s) == (100, None) and not first & second
    assert await ward.tick() == set()


async def test_who_was_asked_longest_ago_is_asked_first(ward: Ward) -> None:
    await ward.crowd(BATCH, "failed", 7000, probed_s=200)
    waited = await ward.agent()
    await ward.silent(waited.id, 6900)
    await ward.sql("UPDATE agents SET status = 'failed', probed_at = now() - interval '300 s' WHERE id = $1", waited.id)
    await ward.sql("UPDATE agents SET updated_at = now() - interval '6900 s'")
    assert waited.id in await ward.tick()
    assert ward.asked[0] == waited.id


async def test_the_failed_are_asked_ever_more_rarely(ward: Ward) -> None:
    agent = await ward.agent()
    await ward.silent(agent.id, 61)
    assert await ward.tick() == {agent.id}
    step, at = 5, [0]
    for passed in range(step, 600, step):
        await ward.later(step)
        if await ward.tick():
            at.append(passed)
    for last, then in pairwise(at):  # as long as it had been failed, from 15 s to eight times as much
        pause = min(max(last, 15), 120)
        assert pause <= then - last <= pause + step, at
    assert len(at) >= 7


async def test_the_living_are_asked_again_before_the_usual_pause_is_over(ward: Ward) -> None:
    agent = await ward.agent()
    await ward.silent(agent.id, 30)
    assert await ward.tick() == {agent.id}
    await ward.later(3)
    assert await ward.tick() == set()
    await ward.later(1)
    assert await ward.tick() == {agent.id}


async def test_who_failed_for_too_long_is_gone(ward: Ward) -> None:
    old, new, beating = await ward.agent(1), await ward.agent(2), await ward.agent(3)
    for agent, failed_s, seen_s in ((old, 7201, 7300), (new, 7199, 7300), (beating, 7201, 10)):
        await ward.silent(agent.id, seen_s)
        await ward.sql(
            "UPDATE agents SET status = 'failed', updated_at = now() - make_interval(secs => $2) WHERE id = $1",
            agent.id,
            float(failed_s),
        )
    await ward.tick()
    read = await ward.read(old.id)
    assert (read.status, read.status_reason) == ("gone", "failed for too long")
    assert await ward.status(new.id) == await ward.status(beating.id) == "failed"
    ward.answering.add(old.id)
    await ward.later(100)
    assert old.id not in await ward.tick(), "gone is for good"


async def test_one_that_failed_long_ago_and_answers_works_again(ward: Ward) -> None:
    await ward.crowd(1, "failed", 9999, probed_s=200)
    (agent,) = await queries.agents(ward.db)
    ward.answering.add(agent.id)
    await ward.tick()
    assert await ward.status(agent.id) == "idle"
