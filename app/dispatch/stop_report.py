"""What a stop did: who stopped, who did not answer, what was spent, what it holds back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.db import HotConnection
from app.registry.stops import StopRecord
from app.tasks import queue

HELD_CAP = 10_000
SHOWN = 100

_STATES = "SELECT state, count(*) AS n FROM stopped_attempts WHERE stop_id = $1 GROUP BY state"
_ATTEMPTS = """
SELECT task_id, fence, agent_id, manager_id, state, asked_at, answered_at FROM stopped_attempts WHERE stop_id = $1
ORDER BY state, asked_at, task_id LIMIT $2
"""
_SPENT = """
SELECT COALESCE(sum(u.input_tokens), 0)::bigint AS input_tokens,
  COALESCE(sum(u.output_tokens), 0)::bigint AS output_tokens
FROM stopped_attempts a JOIN usage u ON u.task_id = a.task_id AND u.fence = a.fence WHERE a.stop_id = $1
"""
# What these tasks have cost so far, earlier attempts included: a price is kept by task.
_COST = """
SELECT sum(t.cost_usd) FROM (SELECT DISTINCT task_id FROM stopped_attempts WHERE stop_id = $1) a
JOIN tasks t ON t.id = a.task_id
"""
_HELD_OF_TENANT = """
SELECT count(*) FROM (SELECT FROM tasks WHERE tenant = $1 AND status = 'queued' LIMIT $2) q
"""
_HELD_OF_BOTH = """
SELECT count(*) FROM (SELECT FROM tasks WHERE tenant = $1 AND status = 'queued' AND pool = $3 LIMIT $2) q
"""
# A stop of agents holds back the tasks that only those may run; others find another agent, or wait for one.
_HELD_PINNED = """
SELECT count(*) FROM (SELECT FROM tasks t JOIN agents g ON g.id = t.pinned_agent_id
  WHERE t.status = 'queued' AND t.wake_at IS NULL AND t.pinned_agent_id IS NOT NULL
    AND ($1::text IS NULL OR g.pool = $1) AND ($2::uuid IS NULL OR g.id = $2)
    AND ($3::text IS NULL OR g.labels ->> $3 = $4) LIMIT $5) q
"""


@dataclass(frozen=True, slots=True)
class StoppedAttempt:
    """One revoked attempt; `state` is asked, stopped or no_answer."""

    task_id: UUID
    fence: int
    agent_id: UUID | None
    manager_id: UUID | None
    state: str
    asked_at: datetime
    answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """`attempts` are the first `SHOWN`; `held` counts up to `HELD_CAP` queued tasks; `cost_usd` None: no prices."""

    asked: int
    stopped: int
    no_answer: int
    attempts: list[StoppedAttempt]
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    held: int
    held_more: bool


async def report(connection: HotConnection, stop: StopRecord) -> Report:
    """The report as of now."""
    states = {row["state"]: row["n"] for row in await connection.fetch(_STATES, stop.id)}
    attempts = [StoppedAttempt(*row) for row in await connection.fetch(_ATTEMPTS, stop.id, SHOWN)]
    spent = await connection.fetchrow(_SPENT, stop.id)
    assert spent is not None
    cost = await connection.fetchval(_COST, stop.id)
    held = await _held(connection, stop)
    return Report(
        states.get("asked", 0),
        states.get("stopped", 0),
        states.get("no_answer", 0),
        attempts,
        spent["input_tokens"],
        spent["output_tokens"],
        None if cost is None else str(cost),
        min(held, HELD_CAP),
        held > HELD_CAP,
    )


async def _held(connection: HotConnection, stop: StopRecord) -> int:
    if not stop.standing:
        return 0
    if stop.selector.of_agents:
        found = await connection.fetchval(
            _HELD_PINNED, stop.pool, stop.agent_id, stop.label_key, stop.label_value, HELD_CAP + 1
        )
    elif stop.tenant is None:
        assert stop.pool is not None
        found = await queue.depth(connection, stop.pool, HELD_CAP + 1)
    elif stop.pool is None:
        found = await connection.fetchval(_HELD_OF_TENANT, stop.tenant, HELD_CAP + 1)
    else:
        found = await connection.fetchval(_HELD_OF_BOTH, stop.tenant, HELD_CAP + 1, stop.pool)
    return int(found)
