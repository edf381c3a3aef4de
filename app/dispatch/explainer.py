"""Gathers what an explanation rests on: the tables, and what this manager knows of its agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from uuid import UUID

import orjson

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.costs.accounts import SPENT_NOW
from app.costs.decide import shown
from app.costs.records import Scope
from app.dispatch.explain import Explanation, explain
from app.dispatch.explain_facts import (
    AHEAD_CAP,
    AgentFacts,
    ApprovalFacts,
    BudgetFacts,
    Facts,
    KeyFacts,
    StopFacts,
    TaskFacts,
    WaitFacts,
)
from app.dispatch.timeline import EventFacts
from app.limits.restraints import Hold
from app.registry.stops import Selector
from app.registry.view import RegistryView
from app.tasks.service import TaskNotFound

FIRST_EVENTS, LAST_EVENTS = 50, 150
SHOWN = 20
RATE_WINDOWS_S = (300.0, 30.0, 3.0)
"""Service rates are of so many seconds; a shorter window where more attempts ended than are counted."""
RATE_CAP = 20_000

_TASK_FIELDS = tuple(field.name for field in fields(TaskFacts))
# `infinity` has no datetime of its own.
_WAKE_AT = "CASE WHEN wake_at IS NOT NULL THEN LEAST(wake_at, '9999-12-31Z') END AS wake_at"
_TASK = f"""
SELECT {", ".join(_WAKE_AT if name == "wake_at" else name for name in _TASK_FIELDS)} FROM tasks
WHERE id = $1 AND tenant = $2
"""  # noqa: S608 - only constants
_EVENTS = """
SELECT seq, type, at, data FROM events
WHERE task_id = $1 AND (seq <= $2 OR seq > (SELECT max(seq) FROM events WHERE task_id = $1) - $3) ORDER BY seq
"""
_RUNNING = """
SELECT agent_id, count(*) AS n FROM tasks WHERE status = 'running' AND agent_id = ANY($1) GROUP BY agent_id
"""
_STOPS = """
SELECT id, tenant, pool, agent_id, label_key, label_value, reason, created_by, created_at FROM stops s
WHERE lifted_at IS NULL AND agent_id IS NULL AND label_key IS NULL
  AND (tenant IS NULL OR tenant = $1) AND (pool IS NULL OR pool = $2) ORDER BY created_at
"""
_AGENT_STOPS = """
SELECT id, tenant, pool, agent_id, label_key, label_value, reason, created_by, created_at FROM stops s
WHERE lifted_at IS NULL AND tenant IS NULL AND (agent_id IS NOT NULL OR label_key IS NOT NULL)
  AND EXISTS (SELECT FROM agents a WHERE a.id = ANY($1) AND (s.agent_id IS NULL OR s.agent_id = a.id)
    AND (s.label_key IS NULL OR a.labels ->> s.label_key = s.label_value) AND (s.pool IS NULL OR s.pool = a.pool))
ORDER BY created_at
"""
# Those before it are the first of the queue: no more of it is read than is counted.
_AHEAD = """
SELECT count(*) FROM (
  SELECT t.priority, t.tag, t.id FROM tasks t
  WHERE t.pool = $1 AND t.status = 'queued' AND t.wake_at IS NULL AND t.pinned_agent_id IS NULL
  ORDER BY t.priority DESC, t.tag, t.id LIMIT $5) q
WHERE (-q.priority, q.tag, q.id) < (-$2::int, $3::bigint, $4::uuid)
"""
_AHEAD_PINNED = """
SELECT count(*) FROM (
  SELECT t.priority, t.tag, t.id FROM tasks t
  WHERE t.pinned_agent_id = $1 AND t.status = 'queued' AND t.wake_at IS NULL
  ORDER BY t.priority DESC, t.tag, t.id LIMIT $5) q
WHERE (-q.priority, q.tag, q.id) < (-$2::int, $3::bigint, $4::uuid)
"""
# What was tried and given back unfinished (a refusal, a lost manager) freed no slot by its work.
_DONE = """
SELECT count(*) FROM (
  SELECT FROM attempts
  WHERE pool = $1 AND finished_at > now() - make_interval(secs => $2) AND counted LIMIT $3) a
"""
_KEY_LIMIT = """
SELECT kind, concurrency FROM limits
WHERE ((kind = 'pool' AND name = $1) OR (kind = 'tenant' AND name = $2)) AND concurrency IS NOT NULL
ORDER BY kind = 'pool' DESC LIMIT 1
"""
_HOLDERS = """
SELECT id FROM tasks WHERE pool = $1 AND tenant = $2 AND concurrency_key = $3
  AND (status = 'running' OR (status = 'queued' AND wake_at IS NULL))
ORDER BY status DESC, id LIMIT $4
"""
_BUDGET = f"""
SELECT COALESCE(b.name, '(deleted)') AS name, b.tenant, b.pool, b.model, b.label_key, b.label_value, b.per, a.key,
  a.unit, a."limit", {SPENT_NOW} AS spent, a.reserved, a.window_end, (
    SELECT e.data FROM events e WHERE e.task_id = $1 AND e.type = 'task.parked' ORDER BY e.seq DESC LIMIT 1) AS told
FROM budget_accounts a LEFT JOIN budgets b ON b.id = a.budget_id WHERE a.id = $2
"""  # noqa: S608 - only constants
_WAIT = "SELECT reason, step, since, due_at, event_name, event_match FROM waits WHERE task_id = $1"
_APPROVALS = """
SELECT a.id, a.action, a.scope, a.groups, a.quorum, a.expires_at, a.risk, (SELECT count(*) FROM approval_votes v
  WHERE v.approval_id = a.id AND v.decision = 'approve' AND NOT v.void) AS votes
FROM approvals a WHERE a.task_id = $1 AND a.status = 'pending' ORDER BY a.id
"""
_CHILDREN = """
SELECT id, status FROM tasks WHERE parent_id = $1 AND parent_step = $2
ORDER BY status IN ('succeeded', 'failed', 'cancelled', 'expired'), id LIMIT 1000
"""


class Explainer:
    """`explain` for one manager; `paused(agent id)`: whether this one offers nothing of a well agent for a moment.
    `hold(pool)`: what holds the pool back."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        view: RegistryView,
        paused: Callable[[str], bool],
        hold: Callable[[str], Hold | None] = lambda _pool: None,
    ) -> None:
        self._db, self._clock, self._view, self._paused, self._hold = db, clock, view, paused, hold

    async def explain(self, tenant: str, task_id: UUID) -> tuple[TaskFacts, Explanation]:
        """The task and why it is where it is; raises TaskNotFound, for another tenant's too."""
        async with self._db.read() as connection:
            facts = await self._facts(connection, tenant, task_id)
        return facts.task, explain(facts)

    async def _facts(self, connection: HotConnection, tenant: str, task_id: UUID) -> Facts:
        row = await connection.fetchrow(_TASK, task_id, tenant)
        if row is None:
            raise TaskNotFound("There is no task with this id.")
        task = TaskFacts(*row)
        events = await connection.fetch(_EVENTS, task_id, FIRST_EVENTS, LAST_EVENTS)
        told = [EventFacts(item["seq"], item["type"], item["at"], orjson.loads(item["data"])) for item in events]
        now = self._clock.now()
        if task.status in ("held", "waiting"):
            return await self._of_waiting(connection, Facts(now, task, told))
        if task.status == "queued":
            return await self._of_queued(connection, Facts(now, task, told))
        return Facts(now, task, told)

    async def _of_waiting(self, connection: HotConnection, facts: Facts) -> Facts:
        task = facts.task
        row = await connection.fetchrow(_WAIT, task.id)
        wait = None if row is None else WaitFacts(*row)
        asked = await connection.fetch(_APPROVALS, task.id)
        children: Mapping[UUID, str] = {}
        if wait is not None and wait.reason == "call":
            rows = await connection.fetch(_CHILDREN, task.id, wait.step)
            children = {item["id"]: item["status"] for item in rows}
        approvals = [
            ApprovalFacts(
                item["id"],
                item["action"],
                item["scope"],
                tuple(item["groups"]),
                item["quorum"],
                item["votes"],
                item["expires_at"],
                item["risk"],
            )
            for item in asked
        ]
        stops = await self._stops(connection, _STOPS, task.tenant, task.pool)
        return Facts(facts.now, task, facts.events, stops=stops, wait=wait, approvals=approvals, children=children)

    async def _of_queued(self, connection: HotConnection, facts: Facts) -> Facts:
        task = facts.task
        stops = await self._stops(connection, _STOPS, task.tenant, task.pool)
        if task.gated:
            key = await self._key(connection, task)
            return Facts(facts.now, task, facts.events, stops=stops, key=key)
        if not task.claimable:
            budget = await self._budget(connection, task) if task.parked else None
            return Facts(facts.now, task, facts.events, stops=stops, budget=budget)
        ahead = await self._ahead(connection, task)
        done, span_s = await self._done(connection, task.pool)
        agents = await self._agents(connection, task)
        stopped = [agent.id for agent in agents if agent.stopped]
        return Facts(
            facts.now,
            task,
            facts.events,
            agents=agents,
            stops=stops,
            hold=self._hold(task.pool),
            agent_stops=await self._stops(connection, _AGENT_STOPS, stopped) if stopped else (),
            ahead=ahead,
            done=done,
            done_s=span_s,
        )

    @staticmethod
    async def _budget(connection: HotConnection, task: TaskFacts) -> BudgetFacts | None:
        row = await connection.fetchrow(_BUDGET, task.id, task.parked_by)
        if row is None:
            return None
        told = {} if row["told"] is None else orjson.loads(row["told"])
        scope = Scope(*(row[name] for name in ("tenant", "pool", "model", "label_key", "label_value", "per")))
        same = told.get("budget") == row["name"]  # what was parked with others has no event of its own
        return BudgetFacts(
            row["name"],
            scope.described(row["key"]),
            row["unit"],
            shown(row["limit"]),
            shown(row["spent"]),
            shown(row["reserved"]),
            told.get("needed") if same else None,
            told.get("reason", "exhausted") if same else "exhausted",
            row["window_end"],
        )

    async def _agents(self, connection: HotConnection, task: TaskFacts) -> list[AgentFacts]:
        known = list(self._view.agents_of(task.pool).values())
        rows = await connection.fetch(_RUNNING, [agent.id for agent in known])
        running = {row["agent_id"]: row["n"] for row in rows}
        return [
            AgentFacts(
                agent.id,
                agent.status,
                agent.slots,
                running.get(agent.id, 0),
                agent.stopped,
                agent.ejected_until,
                self._paused(agent.key),
            )
            for agent in known
        ]

    @staticmethod
    async def _stops(connection: HotConnection, query: str, *values: object) -> list[StopFacts]:
        rows = await connection.fetch(query, *values)
        return [StopFacts(row["id"], str(Selector(*tuple(row)[1:6])), *tuple(row)[6:]) for row in rows]

    @staticmethod
    async def _ahead(connection: HotConnection, task: TaskFacts) -> int:
        query = _AHEAD if task.pinned_agent_id is None else _AHEAD_PINNED
        of = task.pool if task.pinned_agent_id is None else task.pinned_agent_id
        return int(await connection.fetchval(query, of, task.priority, task.tag, task.id, AHEAD_CAP + 1))

    @staticmethod
    async def _done(connection: HotConnection, pool: str) -> tuple[int, float]:
        """How many attempts ended lately, and in how many seconds."""
        count, span_s = 0, RATE_WINDOWS_S[0]
        for span_s in RATE_WINDOWS_S:
            count = int(await connection.fetchval(_DONE, pool, span_s, RATE_CAP))
            if count < RATE_CAP:
                break
        return count, span_s

    @staticmethod
    async def _key(connection: HotConnection, task: TaskFacts) -> KeyFacts:
        limit = await connection.fetchrow(_KEY_LIMIT, task.pool, task.tenant)
        holders = await connection.fetch(_HOLDERS, task.pool, task.tenant, task.concurrency_key, AHEAD_CAP)
        ids = tuple(row["id"] for row in holders[:SHOWN])
        if limit is None:
            return KeyFacts(None, "pool", ids, len(holders))
        return KeyFacts(limit["concurrency"], limit["kind"], ids, len(holders))
