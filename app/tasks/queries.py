"""Reads of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from app.core.db import Database
from app.tasks.records import TaskRecord

_ONE_ONLY = ("usage", "waiting", "children", "steps")
_FIELDS = tuple(name for name in TaskRecord.__dataclass_fields__ if name not in _ONE_ONLY)
END_OF_TIME = 9999
"""The year of `infinity`: a task that waits for room under its concurrency key."""
_COLUMNS = ", ".join(_FIELDS)
_LIST_COLUMNS = ", ".join("NULL AS " + name if name in ("payload", "result") else name for name in _FIELDS)

_USAGE = """
SELECT model, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens
FROM usage WHERE task_id = $1 AND model <> '' GROUP BY model ORDER BY model
"""

_ONE = f"""
SELECT {_COLUMNS},
  CASE WHEN status = 'waiting' THEN (
    SELECT json_build_object('reason', w.reason, 'step', w.step, 'since', w.since, 'until',
      COALESCE(w.due_at, (SELECT a.expires_at FROM approvals a
        WHERE a.task_id = w.task_id AND a.step = w.step AND a.status = 'pending')),
      'event', w.event_name, 'approval_id', (SELECT a.id FROM approvals a
        WHERE a.task_id = w.task_id AND a.step = w.step AND a.status = 'pending'))
    FROM waits w WHERE w.task_id = t.id)
    WHEN status = 'held' THEN (
    SELECT json_build_object('reason', 'approval', 'step', a.step, 'since', a.created_at, 'until', a.expires_at,
      'event', NULL, 'approval_id', a.id)
    FROM approvals a WHERE a.task_id = t.id AND a.status = 'pending') END AS waiting,
  (SELECT json_object_agg(c.status, c.n) FROM (
    SELECT status, count(*) AS n FROM tasks c WHERE c.parent_id = t.id GROUP BY status) c) AS children,
  CASE WHEN stepped THEN (
    SELECT json_agg(json_build_object('name', s.name, 'at', s.at) ORDER BY s.ordinal, s.name)
    FROM task_steps s WHERE s.task_id = t.id) END AS steps
FROM tasks t WHERE id = $1 AND tenant = $2
"""  # noqa: S608 - only constants

# Windows of this share of the age asked for: where much is going on, the newest attempts fill the count before the rest
# is looked at. The index is a BRIN: it finds a window, it does not sort.
_WINDOWS = (1 / 64, 1 / 8, 1.0)

# A task that failed with tries left was refused for what it is: no other agent would have done better.
_ATTEMPT_COLUMNS = """a.task_id, t.tenant, a.pool, t.type, t.complexity, t.thread_id, a.agent_id, a.manager_id,
  a.outcome, a.counted, NOT (t.status = 'failed' AND t.fence = a.fence AND a.attempt < t.max_attempts) AS agents_fault,
  a.error_code, CASE WHEN t.queued_at <= a.started_at THEN t.queued_at END AS queued_at, a.started_at, a.finished_at,
  extract(epoch FROM a.finished_at - a.started_at)::float8 AS seconds"""

_RECENT_ATTEMPTS = f"""
SELECT {_ATTEMPT_COLUMNS} FROM (
  SELECT * FROM attempts WHERE finished_at > now() - make_interval(secs => $1) AND ($3::text IS NULL OR pool = $3)
  ORDER BY finished_at DESC LIMIT $2
) a JOIN tasks t ON t.id = a.task_id ORDER BY a.finished_at DESC
"""  # noqa: S608 - only constants

# Windows of time to look into, in seconds, one after the other until the page is full.
_SPANS = (60.0, 600.0, 6_000.0, 1e11)

_ATTEMPTS_SINCE = f"""
SELECT {_ATTEMPT_COLUMNS} FROM (
  SELECT * FROM attempts WHERE pool = $1 AND finished_at >= $2 AND (finished_at, task_id) > ($2, $3)
    AND finished_at < $2 + make_interval(secs => $4)
  ORDER BY finished_at, task_id LIMIT $5
) a JOIN tasks t ON t.id = a.task_id ORDER BY a.finished_at, a.task_id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One ended attempt with what its task says about it. `seconds`: from the claim to the end.

    `queued_at` is when the task was last made claimable; None when that was after this attempt.
    """

    task_id: UUID
    tenant: str
    pool: str
    type: str
    complexity: float
    thread_id: str | None
    agent_id: UUID | None
    manager_id: UUID | None
    outcome: str
    counted: bool
    agents_fault: bool
    error_code: str | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime
    seconds: float | None


async def recent_attempts(
    db: Database, *, max_age_s: float, limit: int, pool: str | None = None
) -> list[AttemptRecord]:
    """The newest attempts, newest first, of one pool or of all: at most `limit`, none older than `max_age_s`."""
    rows: list[AttemptRecord] = []
    async with db.read() as connection:
        for share in _WINDOWS:
            found = await connection.fetch(_RECENT_ATTEMPTS, share * max_age_s, limit, pool)
            rows = [AttemptRecord(*row) for row in found]
            if len(rows) >= limit:
                break
    return rows


async def attempts_since(db: Database, pool: str, after: tuple[datetime, UUID], limit: int) -> list[AttemptRecord]:
    """A pool's attempts that ended after this time (and, at that very time, of a later task id), oldest first."""
    rows: list[AttemptRecord] = []
    async with db.read() as connection:
        for span_s in _SPANS:
            found = await connection.fetch(_ATTEMPTS_SINCE, pool, *after, span_s, limit)
            rows = [AttemptRecord(*row) for row in found]
            if len(rows) >= limit:
                break
    return rows


async def get(db: Database, tenant: str, task_id: UUID) -> TaskRecord | None:
    """One task of a tenant, with its usage by model over all attempts."""
    async with db.read() as connection:
        row = await connection.fetchrow(_ONE, task_id, tenant)
        if row is None:
            return None
        usage = [dict(found) for found in await connection.fetch(_USAGE, task_id)]
    return TaskRecord(**dict(row), usage=usage)


async def steps_of(db: Database, task_id: UUID) -> list[dict[str, object]]:
    """A task's finished steps in order, with their results as a replay or a resume hands them out."""
    async with db.read() as connection:
        rows = await connection.fetch(
            "SELECT name, at, failed, result FROM task_steps WHERE task_id = $1 ORDER BY ordinal, name", task_id
        )
    return [{**dict(row), "result": orjson.Fragment(row["result"])} for row in rows]


async def by_idempotency_keys(db: Database, tenant: str, keys: Sequence[str]) -> dict[str, TaskRecord]:
    """Tasks that hold these idempotency keys."""
    async with db.read() as connection:
        rows = await connection.fetch(
            f"SELECT {_COLUMNS} FROM tasks WHERE tenant = $1 AND idempotency_key = ANY($2)",  # noqa: S608
            tenant,
            list(keys),
        )
    return {row["idempotency_key"]: TaskRecord(*row) for row in rows}


async def page(
    db: Database,
    tenant: str,
    *,
    status: str | None,
    pool: str | None,
    before: UUID | None,
    limit: int,
    parent_id: UUID | None = None,
) -> list[TaskRecord]:
    """Newest first, without payloads and results."""
    where, args = ["tenant = $1"], [tenant, limit]
    for condition, value in (
        ("status = ", status),
        ("pool = ", pool),
        ("parent_id = ", parent_id),
        ("id < ", before),
    ):
        if value is not None:
            args.append(value)
            where.append(f"{condition}${len(args)}")
    query = f"SELECT {_LIST_COLUMNS} FROM tasks WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT $2"  # noqa: S608
    async with db.read() as connection:
        return [TaskRecord(*row) for row in await connection.fetch(query, *args)]


def task_json(task: TaskRecord, notice: dict[str, str] | None = None, *, whole: bool = True) -> dict[str, object]:
    """A task as the API shows it; `whole` adds payload, result and usage."""
    shown: dict[str, object] = {
        "id": task.id,
        "status": task.status,
        "pool": task.pool,
        "type": task.type,
        "priority": task.priority,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "agent_id": task.agent_id,
        "error": {"code": task.error_code, "message": task.error_message} if task.error_code else None,
        "cost_usd": None if task.cost_usd is None else str(task.cost_usd),
        "complexity": task.complexity,
        "synthetic": task.synthetic,
        "labels": {} if task.labels is None else orjson.Fragment(task.labels),
        "concurrency_key": task.concurrency_key,
        "thread_id": task.thread_id,
        "parent_id": task.parent_id,
        "root_id": task.root_id,
        "depth": task.depth,
        "waited_s": round(task.waited_s, 3),
        "run_at": task.run_at,
        "next_attempt_at": None if task.wake_at is None or task.wake_at.year == END_OF_TIME else task.wake_at,
        "start_deadline_at": task.start_deadline_at,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "notice": notice,
    }
    if whole:
        shown["payload"] = orjson.Fragment(task.payload)
        shown["result"] = None if task.result is None else orjson.Fragment(task.result)
        shown["usage"] = task.usage
        shown["waiting"] = None if task.waiting is None else orjson.Fragment(task.waiting)
        shown["children"] = {} if task.children is None else orjson.Fragment(task.children)
        shown["steps"] = [] if task.steps is None else orjson.Fragment(task.steps)
    return shown
