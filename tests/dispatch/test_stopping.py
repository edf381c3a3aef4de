"""Stops against real tables: what is revoked, who is asked, what may start, what lifting brings back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.auth.callers import Caller
from app.auth.service import Forbidden
from app.core.db import Database
from app.dispatch.stop_report import report
from app.dispatch.stopping import SelectorInvalid, StopNotYours, Stopping
from app.registry import queries as registry_queries
from app.registry import stops
from app.registry.service import AgentNotFound, PoolNotFound
from app.registry.stops import Selector, StopNotFound, StopRecord
from app.tasks import queue, revocation, spending
from app.tasks.queue import UsageRow
from app.tasks.spending import Spent
from tests.tasks import queue_driver as driver
from tests.tasks.queue_driver import AGENT, MANAGER

ADMIN = Caller("boss", "ops", frozenset({"admin"}))
OPERATOR = Caller("op", "t", frozenset({"pools:admin"}))
OTHER_AGENT = UUID(int=0xC)


class Attempt:
    """What stopping sees of an attempt that this manager makes."""

    def __init__(self, fence: int) -> None:
        self.fence, self.revoked = fence, ""

    def revoke(self, why: str) -> None:
        self.revoked = why


class Bench:
    """A `Stopping` over fakes of the attempts and of the agents; `silent` are the URLs that do not answer."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.held: dict[UUID, Attempt] = {}
        self.asked: list[tuple[str, UUID]] = []
        self.silent: set[str] = set()
        self.moved: list[UUID] = []
        self.live: list[str] = [str(MANAGER)]
        self.stopping = self.manager(MANAGER)

    def manager(self, me: UUID) -> Stopping:
        return Stopping(
            self.db,
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            me,
            live=lambda: self.live,
            on_moved=self.moved.extend,
            queued_topic="queued",
        )

    async def stop(self, url: str, task_id: UUID) -> bool:
        self.asked.append((url, task_id))
        return url not in self.silent

    async def make(self, caller: Caller = ADMIN, reason: str = "bad", **selected: Any) -> StopRecord:
        return await self.stopping.stop(caller, Selector(**selected), reason)

    async def report(self, stop: StopRecord) -> dict[str, Any]:
        async with self.db.read() as connection:
            found = await report(connection, stop)
        return {name: getattr(found, name) for name in ("asked", "stopped", "no_answer", "held", "input_tokens")}


@pytest.fixture
async def bench(db: Database) -> Bench:
    async with db.hot() as connection:
        await connection.execute("INSERT INTO pools (name) VALUES ('p'), ('q')")
        for number, (agent, zone) in enumerate([(AGENT, "eu"), (OTHER_AGENT, "us")]):
            await connection.execute(
                """INSERT INTO agents (id, pool, url, slots, weight, labels, status, token_digest)
                VALUES ($1, 'p', $2, 9, 1, jsonb_build_object('zone', $3::text), 'idle', '')""",
                agent,
                f"http://a{number}",
                zone,
            )
    return Bench(db)


async def start(bench: Bench, count: int = 1, agent: UUID = AGENT, **fields: Any) -> list[UUID]:
    """Tasks that this manager runs on the agent."""
    made = driver.tasks(count, **fields)
    await driver.insert(bench.db, *made)
    claimed = await driver.claim(bench.db, count, pool=fields.get("pool", "p"), agent=agent)
    for task in claimed:
        bench.held[task.id] = Attempt(task.fence + 1)
    assert len(claimed) == count
    return [task.id for task in claimed]


async def status(bench: Bench, task_id: UUID) -> str:
    return str((await driver.row(bench.db, task_id))["status"])


async def startable(bench: Bench, pool: str = "p", agent: UUID = AGENT) -> int:
    """How many more tasks would start now on the agent; they do."""
    return len(await driver.claim(bench.db, 100, pool=pool, agent=agent))


async def test_what_runs_goes_back_uncounted_and_its_late_result_is_refused(bench: Bench) -> None:
    (task_id,) = await start(bench)
    stop = await bench.make(tenant="t", reason="it deletes files")
    row = await driver.row(bench.db, task_id)
    assert (row["status"], row["attempt"], row["fence"], row["rejoin"], row["manager_id"]) == (
        "queued", 0, 1, False, None,
    )  # fmt: skip
    assert await driver.settle(bench.db, driver.succeeded(task_id, 1)) in (set(), [])
    assert await status(bench, task_id) == "queued"
    (attempt,) = await driver.table(bench.db, "attempts", task_id)
    assert (attempt["outcome"], attempt["counted"], attempt["attempt"]) == ("stopped", False, 1)
    assert attempt["error_message"] == "Stopped by boss: it deletes files"
    assert (await driver.event_types(bench.db, task_id))[-1] == "task.stopped"
    assert bench.moved == [task_id]
    assert await bench.report(stop) == {"asked": 1, "stopped": 0, "no_answer": 0, "held": 1, "input_tokens": 0}


async def test_the_agents_are_told_and_their_answers_kept(bench: Bench) -> None:
    (one,) = await start(bench)
    (two,) = await start(bench, agent=OTHER_AGENT)
    bench.silent = {"http://a1"}
    stop = await bench.make(pool="p")
    await bench.stopping.tick()
    assert {bench.held[one].revoked, bench.held[two].revoked} == {"stopped"}
    assert sorted(bench.asked) == [("http://a0", one), ("http://a1", two)]
    await bench.stopping.tick()
    assert len(bench.asked) == 2
    found = await bench.report(stop)
    assert (found["asked"], found["stopped"], found["no_answer"]) == (0, 1, 1)


SELECTORS: list[tuple[dict[str, Any], dict[str, bool]]] = [
    ({"tenant": "t"}, {"mine": True, "theirs": False, "away": True, "elsewhere": True}),
    ({"tenant": "t", "pool": "p"}, {"mine": True, "theirs": False, "away": True, "elsewhere": False}),
    ({"pool": "p"}, {"mine": True, "theirs": True, "away": True, "elsewhere": False}),
    ({"agent_id": AGENT}, {"mine": True, "theirs": True, "away": False, "elsewhere": True}),
    ({"label_key": "zone", "label_value": "us"}, {"mine": False, "theirs": False, "away": True, "elsewhere": False}),
    ({"label_key": "zone", "label_value": "us", "pool": "q"}, dict.fromkeys(("mine", "theirs", "away"), False)),
]


@pytest.mark.parametrize(("selector", "fits"), SELECTORS)
async def test_a_stop_is_of_what_fits_all_it_names_running_or_queued(
    bench: Bench, selector: dict[str, Any], fits: dict[str, bool]
) -> None:
    running = {
        "mine": (await start(bench))[0],
        "theirs": (await start(bench, tenant="u"))[0],
        "away": (await start(bench, agent=OTHER_AGENT))[0],
        "elsewhere": (await start(bench, pool="q"))[0],
    }
    await bench.make(**selector)
    assert {name: await status(bench, running[name]) == "queued" for name in fits} == fits
    again: Sequence[tuple[str, dict[str, Any], UUID]] = [
        ("mine", {}, AGENT),
        ("theirs", {"tenant": "u"}, AGENT),
        ("away", {}, OTHER_AGENT),
        ("elsewhere", {"pool": "q"}, AGENT),
    ]
    for name, fields, agent in again:
        if name not in fits:
            continue
        async with bench.db.hot() as connection:
            await connection.execute("DELETE FROM tasks WHERE status = 'queued'")
        await driver.insert(bench.db, driver.task(**fields))
        assert (await startable(bench, fields.get("pool", "p"), agent) == 0) == fits[name], name


async def test_lifting_lets_all_start_again_and_once_is_enough(bench: Bench) -> None:
    tasks = await start(bench, 3)
    stop = await bench.make(tenant="t")
    assert await startable(bench) == 0
    lifted = await bench.stopping.lift(ADMIN, stop.id)
    assert (lifted.standing, lifted.lifted_by) == (False, "boss")
    assert await bench.stopping.lift(ADMIN, stop.id) == lifted
    assert await startable(bench) == len(tasks)
    assert (await bench.report(lifted))["held"] == 0


async def test_an_attempt_that_slipped_through_is_caught_by_the_next_pass(bench: Bench) -> None:
    """A claim that began before the stop's commit and ended after it."""
    async with bench.db.hot() as slow, bench.db.hot() as quick:
        await driver.insert(bench.db, task := driver.task())
        found = await queue.ready(quick, [("p", 1, False)])
        transaction = slow.transaction()
        await transaction.start()
        await queue.start(slow, MANAGER, [(found[0].id, 0, AGENT)])
        stop = await bench.make(tenant="t")
        await transaction.commit()
    assert await status(bench, task.id) == "running"
    bench.held[task.id] = Attempt(1)
    await bench.stopping.tick()
    assert await status(bench, task.id) == "queued"
    await bench.stopping.tick()
    assert bench.held[task.id].revoked == "stopped"
    assert (await bench.report(stop))["stopped"] == 1


async def test_an_attempt_about_to_begin_is_asked_for_a_moment_later(bench: Bench) -> None:
    (task_id,) = await start(bench)
    begun = bench.held.pop(task_id)
    await bench.make(tenant="t")
    soon = await bench.stopping.tick()
    assert soon is not None
    assert bench.asked == []
    bench.held[task_id] = begun
    await bench.stopping.tick()
    assert (begun.revoked, len(bench.asked)) == ("stopped", 1)


async def test_the_agents_of_a_dead_manager_are_asked_by_another(bench: Bench) -> None:
    (task_id,) = await start(bench)
    other = uuid4()
    bench.held.clear()
    stop = await bench.make(tenant="t")
    bench.live = [str(MANAGER), str(other)]
    await bench.manager(other).tick()
    assert bench.asked == []
    bench.live = [str(other)]
    await bench.manager(other).tick()
    assert bench.asked == [("http://a0", task_id)]
    assert (await bench.report(stop))["stopped"] == 1


async def test_an_agent_that_runs_a_later_attempt_is_left_alone(bench: Bench) -> None:
    (task_id,) = await start(bench)
    stop = await bench.make(tenant="t")
    await bench.stopping.lift(ADMIN, stop.id)
    assert await startable(bench) == 1
    bench.held[task_id] = Attempt(2)
    async with bench.db.hot() as connection:
        await connection.execute("UPDATE stopped_attempts SET asked_at = asked_at - interval '5 s'")
    await bench.stopping.tick()
    assert (bench.asked, bench.held[task_id].revoked) == ([], "")
    assert (await bench.report(stop))["no_answer"] == 1


async def test_views_learn_that_an_agent_is_stopped_and_that_it_is_not(bench: Bench) -> None:
    _, agents, since = await registry_queries.changed_since(bench.db, None, {})
    assert {agent.id: agent.works for agent in agents} == {AGENT: True, OTHER_AGENT: True}
    stop = await bench.make(label_key="zone", label_value="eu")
    known = {agent.id: agent for agent in agents}
    _, changed, since = await registry_queries.changed_since(bench.db, since, known)
    assert [(agent.id, agent.stopped, agent.works) for agent in changed] == [(AGENT, True, False)]
    known[AGENT] = changed[0]
    await bench.stopping.lift(ADMIN, stop.id)
    _, changed, _ = await registry_queries.changed_since(bench.db, since, known)
    assert [(agent.id, agent.works) for agent in changed] == [(AGENT, True)]


async def test_a_tenants_operator_stops_that_tenant_only(bench: Bench) -> None:
    own = await bench.make(OPERATOR, tenant="t", pool="p")
    for selected in ({"tenant": "u"}, {"pool": "p"}, {"agent_id": AGENT}, {"label_key": "zone", "label_value": "eu"}):
        with pytest.raises(Forbidden):
            await bench.make(OPERATOR, **selected)
    foreign, imposed = await bench.make(tenant="u"), await bench.make(tenant="t")
    async with bench.db.read() as connection:
        seen = await stops.page(connection, "t", None, None, 10)
        assert [stop.id for stop in seen] == [imposed.id, own.id]
        everything = await stops.page(connection, None, None, True, 10)
        assert [stop.id for stop in everything] == [imposed.id, foreign.id, own.id]
    assert not (await bench.stopping.lift(OPERATOR, own.id)).standing
    with pytest.raises(StopNotFound):
        await bench.stopping.lift(OPERATOR, foreign.id)
    with pytest.raises(StopNotYours):
        await bench.stopping.lift(OPERATOR, imposed.id)


async def test_what_cannot_be_stopped_is_refused_and_nothing_is_written(bench: Bench) -> None:
    with pytest.raises(PoolNotFound):
        await bench.make(pool="nowhere")
    with pytest.raises(AgentNotFound):
        await bench.make(agent_id=uuid4())
    with pytest.raises(AgentNotFound):
        await bench.make(agent_id=AGENT, pool="q")
    with pytest.raises(SelectorInvalid):
        await bench.make(tenant="t", agent_id=AGENT)
    async with bench.db.read() as connection:
        assert await stops.page(connection, None, None, None, 10) == []


async def test_what_a_revoked_attempt_had_used_is_in_the_report(bench: Bench) -> None:
    (task_id,) = await start(bench)
    stop = await bench.make(tenant="t")
    async with bench.db.hot() as connection:
        usage = [UsageRow("m", 700, 30), UsageRow("n", 7, 3)]
        await spending.spend(connection, Spent(task_id, 1, "t", "p", usage, "stopped", True))
        await spending.spend(connection, Spent(task_id, 2, "t", "p", [UsageRow("m", 9, 9)], "stopped", True))
    assert (await bench.report(stop))["input_tokens"] == 707


async def test_revoking_twice_or_with_another_fence_changes_nothing(bench: Bench) -> None:
    (task_id,) = await start(bench)
    async with bench.db.hot() as connection:
        assert await revocation.revoke(connection, [(task_id, 7)], "stopped", "m") == []
        assert len(await revocation.revoke(connection, [(task_id, 1)], "stopped", "m")) == 1
        before = await driver.everything(bench.db)
        assert await revocation.revoke(connection, [(task_id, 1)], "stopped", "m") == []
    assert await driver.everything(bench.db) == before


async def test_two_passes_at_once_revoke_once(bench: Bench) -> None:
    import asyncio

    tasks = await start(bench, 20)
    async with bench.db.hot() as connection:
        await stops.insert(connection, Selector(tenant="t"), "r", "boss", "ops")
    await asyncio.gather(*(bench.manager(uuid4()).tick() for _ in range(4)))
    assert sorted(bench.moved) == sorted(tasks)
    for task_id in tasks:
        assert await driver.event_types(bench.db, task_id) == ["task.queued", "task.running", "task.stopped"]
