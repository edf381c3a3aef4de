"""The autoscale loop, ticked by hand over real rows."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.registry import sizes
from app.registry.view import RegistryView
from app.scaling.autoscale import AutoscaleLoop
from app.scaling.eviction import evict
from app.settings import KubernetesSettings, ScalingSettings
from tests.registry.desk import Desk

COMMAND = {"kind": "process", "command": ["sleep", "1"], "env": {}}


class Scaler(Desk):
    """Managers that judge the same pools."""

    def __init__(self, db: Database, **kubernetes: Any) -> None:
        super().__init__(db)
        self.view, self.clock = RegistryView(db), Clock()
        self.kubernetes = KubernetesSettings(**kubernetes)
        self.loop = self.another("me")

    def another(self, name: str, lease: str = "autoscale") -> AutoscaleLoop:
        leader = Leader(self.db, self.clock, lease, name)
        return AutoscaleLoop(self.db, self.clock, leader, self.view, ScalingSettings(), self.kubernetes)

    async def tick(self, loop: AutoscaleLoop | None = None) -> None:
        await self.view.refresh()
        await (loop or self.loop).tick()
        await self.view.refresh()

    async def launched(self, name: str = "p", *, slots: int = 1, launch: Any = COMMAND, **scale: Any) -> None:
        await self.pool(name, slots=slots, launch=launch, scale={"min": 0, "max": 20, **scale})

    async def queued(self, count: int, pool: str = "p", age_s: float = 0.0) -> None:
        for _ in range(count):
            await self._task(pool, "queued", age_s)

    async def running(self, agent: Any, count: int) -> None:
        for _ in range(count):
            await self._task("p", "running", 0.0, agent.id)

    async def _task(self, pool: str, status: str, age_s: float, agent_id: Any = None) -> None:
        await self.sql(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
            queued_at, agent_id, attempt, fence) VALUES ($1, 't', 'k', $2, 'w', '{}', 0, 0, $3, 3,
            now() - make_interval(secs => $4), $5, 1, 1)""",
            uuid4(),
            pool,
            status,
            age_s,
            agent_id,
        )

    async def ended(self, count: int, seconds: float, pool: str = "p") -> None:
        await self.sql(
            """INSERT INTO attempts (task_id, fence, attempt, pool, started_at, finished_at, outcome, counted)
            SELECT gen_random_uuid(), 1, 1, $1, clock_timestamp() - make_interval(secs => $3), clock_timestamp(),
            'succeeded', true FROM generate_series(1, $2)""",
            pool,
            count,
            seconds,
        )

    def desired(self, pool: str = "p") -> int:
        return self.view.pools[pool].desired

    async def decision(self, pool: str = "p") -> dict[str, Any]:
        async with self.db.hot() as connection:
            value = await connection.fetchval("SELECT decision FROM pool_scaling WHERE pool = $1", pool)
        return dict(orjson.loads(value))

    async def past(self, pool: str = "p") -> list[tuple[int, int, str]]:
        async with self.db.hot() as connection:
            rows = await connection.fetch(
                "SELECT before, desired, code FROM scale_decisions WHERE pool = $1 ORDER BY id", pool
            )
        return [tuple(row) for row in rows]


@pytest.fixture
async def scaler(db: Database) -> Scaler:
    return Scaler(db)


async def test_the_first_task_wakes_a_pool_at_zero(scaler: Scaler) -> None:
    await scaler.launched()
    await scaler.tick()
    assert scaler.desired() == 0
    assert not scaler.loop.due("nobody's") and scaler.loop.due("p")
    assert not scaler.loop.due("p"), "not again within the second"
    await scaler.queued(1)
    await scaler.tick()
    assert scaler.desired() == 1
    assert (await scaler.past())[-1][:2] == (0, 1)


async def test_load_grows_it_and_the_inputs_are_kept(scaler: Scaler) -> None:
    await scaler.launched(slots=2)
    await scaler.tick()
    await scaler.queued(12, age_s=7.0)
    await scaler.ended(30, 20.0)
    await scaler.tick()
    decision = await scaler.decision()
    assert scaler.desired() == decision["desired"] > 1
    inputs = decision["inputs"]
    assert (inputs["queued"], inputs["slots"], inputs["service_s"]) == (12, 2, pytest.approx(20.0, abs=0.1))
    assert inputs["oldest_s"] == pytest.approx(7.0, abs=2.0)
    assert inputs["arrivals_per_s"] > 0 and decision["reason"] and decision["applied"] is True


async def test_an_external_pool_gets_advice_only(scaler: Scaler) -> None:
    await scaler.launched(launch={"kind": "external"})
    await scaler.agent()
    await scaler.queued(9)
    await scaler.tick()
    decision = await scaler.decision()
    assert scaler.desired() == 0 and decision["desired"] >= 1 and decision["applied"] is False


async def test_refusals_are_no_arrivals(scaler: Scaler) -> None:
    await scaler.launched()
    await scaler.tick()
    await scaler.sql(
        """INSERT INTO attempts (task_id, fence, attempt, pool, started_at, finished_at, outcome, counted)
        SELECT gen_random_uuid(), 1, 1, 'p', clock_timestamp(), clock_timestamp(), 'refused', false
        FROM generate_series(1, 50)"""
    )
    await scaler.tick()
    assert (await scaler.decision())["inputs"]["arrivals_per_s"] == 0


async def test_a_scale_by_hand_is_held_for_the_window(scaler: Scaler) -> None:
    await scaler.launched(idle_s=0)
    await scaler.tick()
    await scaler.registry.scale("p", 7)
    for _ in range(3):
        await scaler.tick()
    assert scaler.desired() == 7
    assert (await scaler.decision())["code"] == "down_window"


async def test_a_manual_pool_is_left_alone(scaler: Scaler) -> None:
    await scaler.launched(policy="manual")
    await scaler.registry.scale("p", 3)
    await scaler.queued(500)
    await scaler.tick()
    assert scaler.desired() == 3 and not scaler.loop.due("p")


async def test_two_who_both_believe_to_lead_write_once(scaler: Scaler, db: Database) -> None:
    other = scaler.another("other", lease="autoscale-2")
    await scaler.launched()
    await scaler.tick()
    await scaler.queued(5)
    await scaler.view.refresh()
    reading = await scaler.loop._read(scaler.view.pools)
    pool = scaler.view.pools["p"]
    first = await scaler.loop._judge(pool, reading, {})
    second = await other._judge(pool, reading, {})
    assert await scaler.loop._write(first, reading) is True
    assert await other._write(second, reading) is False
    assert len([row for row in await scaler.past() if row[0] != row[1]]) == 1


async def test_a_scale_by_hand_between_measuring_and_writing_counts(scaler: Scaler) -> None:
    await scaler.launched()
    await scaler.tick()
    await scaler.queued(5)
    await scaler.view.refresh()
    reading = await scaler.loop._read(scaler.view.pools)
    judged = await scaler.loop._judge(scaler.view.pools["p"], reading, {})
    await scaler.registry.scale("p", 9)
    assert await scaler.loop._write(judged, reading) is True
    await scaler.tick()
    assert scaler.desired() == 9


async def test_a_new_leader_goes_on_where_the_old_one_was(scaler: Scaler) -> None:
    await scaler.launched()
    await scaler.tick()
    await scaler.ended(40, 30.0)
    await scaler.tick()
    before = (await scaler.decision())["inputs"]
    await scaler.tick(scaler.another("new", lease="autoscale-2"))
    after = (await scaler.decision())["inputs"]
    assert after["service_s"] == before["service_s"] and after["arrivals_per_s"] > 0


async def test_the_quota_is_shared_by_the_pools_of_the_cluster(db: Database) -> None:
    scaler = Scaler(db, max_replicas=6)
    launch = {"kind": "kubernetes", "image": "agents:1"}
    for name in ("a", "b"):
        await scaler.launched(name, launch=launch, min=2)
        await scaler.queued(50, name)
    await scaler.tick()
    assert sum(scaler.desired(name) for name in ("a", "b")) == 6
    assert "quota" in {(await scaler.decision(name))["code"] for name in ("a", "b")}


async def test_who_does_not_lead_does_nothing(scaler: Scaler) -> None:
    await scaler.launched()
    await scaler.tick()
    await scaler.queued(5)
    await scaler.tick(scaler.another("other"))
    assert scaler.desired() == 0


async def test_a_foreign_autoscaler_is_not_fought(scaler: Scaler, db: Database) -> None:
    await scaler.launched()
    async with db.hot() as connection:
        assert await sizes.set_conditions(connection, "p", "kubernetes", [("foreign_autoscaler", "HPA x scales it")])
        assert not await sizes.set_conditions(
            connection, "p", "kubernetes", [("foreign_autoscaler", "HPA x scales it")]
        )
        await sizes.set_conditions(connection, "p", "process", [("crash_loop", "again")])
        await sizes.set_conditions(connection, "p", "kubernetes", [("foreign_autoscaler", "HPA y scales it")])
    await scaler.queued(5)
    await scaler.tick()
    assert scaler.desired() == 0
    shown = {item["code"]: item["message"] for item in scaler.view.pools["p"].conditions}
    assert shown == {"crash_loop": "again", "foreign_autoscaler": "HPA y scales it"}
    with pytest.raises(Exception, match="HPA y scales it"):
        await scaler.registry.scale("p", 2)


async def test_minutes_are_recorded_and_old_ones_forgotten(scaler: Scaler, db: Database) -> None:
    await scaler.launched()
    await scaler.sql("INSERT INTO pool_load VALUES ('p', now() - interval '20 days', 1, 1, 1, 1, 1, 1, 1)")
    await scaler.tick()
    await scaler.ended(4, 10.0)
    await scaler.queued(2)
    await scaler.tick()
    async with db.hot() as connection:
        rows = await connection.fetch("SELECT * FROM pool_load")
    assert sum(row["arrivals"] for row in rows) == 6
    assert sum(row["finished"] for row in rows) == 4 and sum(row["service_s"] for row in rows) == pytest.approx(40, 0.1)


async def test_eviction_returns_what_runs_uncounted(scaler: Scaler, db: Database) -> None:
    await scaler.launched()
    agent = await scaler.agent()
    await scaler.running(agent, 3)
    assert await evict(db, [agent.id], "its grace is over") == 3
    assert await evict(db, [agent.id], "its grace is over") == 0
    async with db.hot() as connection:
        rows = await connection.fetch("SELECT status, attempt FROM tasks")
        tried = await connection.fetch("SELECT outcome, counted, error_code FROM attempts")
        events = await connection.fetch("SELECT type, data FROM events")
    assert {tuple(row) for row in rows} == {("queued", 0)}
    assert {tuple(row) for row in tried} == {("returned", False, "agent_taken_away")}
    assert {row["type"] for row in events} == {"task.returned"}
    assert orjson.loads(events[0]["data"])["code"] == "agent_taken_away"


async def test_a_pool_at_rest_is_written_now_and_then(scaler: Scaler, db: Database) -> None:
    async def version() -> int:
        async with db.hot() as connection:
            return int(await connection.fetchval("SELECT version FROM pool_scaling WHERE pool = 'p'"))

    await scaler.launched()
    await scaler.tick()
    first = await version()
    await scaler.tick()
    assert await version() == first
    await scaler.sql(
        "UPDATE pool_scaling SET state = jsonb_set(state::jsonb, '{at}', to_jsonb((state->>'at')::float8 - 20))"
    )
    await scaler.tick()
    assert await version() == first + 1
    await scaler.queued(1)
    await scaler.tick()
    assert await version() == first + 2


async def test_advice_is_noted_once(scaler: Scaler) -> None:
    await scaler.launched(launch={"kind": "external"})
    await scaler.queued(9)
    for _ in range(4):
        await scaler.tick()
    assert len(await scaler.past()) == 1


async def test_a_pool_that_was_deleted_meanwhile_holds_up_no_other(scaler: Scaler) -> None:
    await scaler.launched("a")
    await scaler.launched("b")
    await scaler.queued(1, "b")
    await scaler.view.refresh()
    await scaler.sql("DELETE FROM pools WHERE name = 'a'")
    await scaler.loop.tick()
    await scaler.view.refresh()
    assert scaler.desired("b") == 1


async def test_what_a_stop_holds_asks_for_no_replicas(scaler: Scaler) -> None:
    await scaler.launched()
    await scaler.tick()
    await scaler.sql(
        """INSERT INTO stops (id, pool, reason, created_by, created_by_tenant)
        VALUES (gen_random_uuid(), 'p', 'incident', 'k', 't')"""
    )
    await scaler.queued(50)
    await scaler.tick()
    assert scaler.desired() == 0
    await scaler.sql("UPDATE stops SET pool = NULL, tenant = 'somebody'")
    await scaler.tick()
    assert scaler.desired() > 0, "another tenant's stop holds none of these"


async def test_what_only_one_agent_may_run_asks_for_no_replicas(scaler: Scaler) -> None:
    await scaler.launched()
    agent = await scaler.agent()
    await scaler.tick()
    await scaler.queued(50)
    await scaler.sql("UPDATE tasks SET pinned_agent_id = $1", agent.id)
    await scaler.tick()
    assert (await scaler.decision())["inputs"]["queued"] == 0


async def test_a_quota_that_was_lowered_takes_nothing_from_what_runs(db: Database) -> None:
    scaler = Scaler(db, max_replicas=6)
    launch = {"kind": "kubernetes", "image": "agents:1"}
    for name, port in (("p", 1), ("q", 2)):
        await scaler.launched(name, launch=launch, min=1)
        await scaler.sql("UPDATE pools SET desired = 10 WHERE name = $1", name)
        await scaler.agent(port, name)
    agents = {name: next(iter(scaler.view.agents_of(name).values()), None) for name in ("p", "q")}
    assert set(agents.values()) == {None}, "not read yet"
    await scaler.view.refresh()
    await scaler.running(next(iter(scaler.view.agents_of("p").values())), 5)
    await scaler.tick()
    assert scaler.desired("p") == 5 and scaler.desired("q") >= 1


async def test_what_earlier_days_say_is_found(scaler: Scaler, db: Database) -> None:
    await scaler.launched(forecast=True)
    await scaler.sql(
        """INSERT INTO pool_load
        SELECT 'p', date_trunc('minute', now()) - d * interval '1 day' + m * interval '1 minute',
        30, 30, 60, 60, 0, 0, 1 FROM generate_series(1, 13) d, generate_series(-8, 8) m"""
    )
    await scaler.tick()
    assert (await scaler.decision())["inputs"]["forecast_per_s"] == pytest.approx(0.5)
