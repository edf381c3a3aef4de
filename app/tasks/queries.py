"""Reads of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import orjson

from app.core.db import Database
from app.tasks.records import TaskRecord

_FIELDS = tuple(name for name in TaskRecord.__dataclass_fields__ if name != "usage")
_COLUMNS = ", ".join(_FIELDS)
_LIST_COLUMNS = ", ".join("NULL AS " + name if name in ("payload", "result") else name for name in _FIELDS)

_USAGE = """
SELECT model, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens
FROM usage WHERE task_id = $1 GROUP BY model ORDER BY model
"""


async def get(db: Database, tenant: str, task_id: UUID) -> TaskRecord | None:
    """One task of a tenant, with its usage by model over all attempts."""
    async with db.read() as connection:
        row = await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM tasks WHERE id = $1 AND tenant = $2",  # noqa: S608 - only constants
            task_id,
            tenant,
        )
        if row is None:
            return None
        usage = [dict(found) for found in await connection.fetch(_USAGE, task_id)]
    return TaskRecord(**dict(row), usage=usage)


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
    db: Database, tenant: str, *, status: str | None, pool: str | None, before: UUID | None, limit: int
) -> list[TaskRecord]:
    """Newest first, without payloads and results."""
    where, args = ["tenant = $1"], [tenant, limit]
    for condition, value in (("status = ", status), ("pool = ", pool), ("id < ", before)):
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
        "concurrency_key": task.concurrency_key,
        "run_at": task.run_at,
        "next_attempt_at": task.wake_at,
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
    return shown
