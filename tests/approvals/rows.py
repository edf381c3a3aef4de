"""Tasks that wait for approvals, and what decisions do to their rows, small and by plain SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

from app.approvals.hooks import Decided
from app.approvals.opening import Opened, Question, open_many
from app.approvals.policy import Policy
from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Invalid
from app.core.jsonbody import dump_json

TENANT, POOL, SUBMITTER = "t", "p", "sam"
ANN, BOB, EVE = (Caller(name, TENANT, frozenset({"approvals:decide"})) for name in ("ann", "bob", "eve"))


class RowHooks:
    """The hooks over the real tables. `told` is what was committed; `refuse` makes the next decision fail."""

    def __init__(self) -> None:
        self.told: list[UUID] = []
        self.refuse: Exception | None = None

    async def lock(self, connection: HotConnection, task_id: UUID) -> str | None:
        found: str | None = await connection.fetchval("SELECT status FROM tasks WHERE id = $1 FOR UPDATE", task_id)
        return found

    async def record(self, connection: HotConnection, task_id: UUID, event_type: str, data: dict[str, Any]) -> None:
        await connection.execute(
            """WITH t AS (UPDATE tasks SET event_seq = event_seq + 1
              WHERE id = $1 AND status IN ('held', 'queued', 'running', 'waiting') RETURNING id, event_seq, tenant)
            INSERT INTO events (task_id, seq, tenant, type, data) SELECT id, event_seq, tenant, $2, $3 FROM t""",
            task_id,
            event_type,
            dump_json(data),
        )

    async def decided(self, connection: HotConnection, decided: Decided) -> None:
        if self.refuse is not None:
            refused, self.refuse = self.refuse, None
            raise refused
        if decided.kind == "action":
            await connection.execute(
                "INSERT INTO task_steps (task_id, name, ordinal, result, fence) VALUES ($1, $2, 1, $3, 0)",
                decided.task_id,
                decided.step,
                decided.outcome(),
            )
        goes_on = decided.kind == "action" or decided.granted
        status = "queued" if goes_on else "failed"
        await connection.execute("UPDATE tasks SET status = $2 WHERE id = $1", decided.task_id, status)

    def committed(self, task_ids: Collection[UUID], pools: Collection[str]) -> None:
        assert set(pools) == {POOL}
        self.told += task_ids


class Refusing(Invalid):
    code = "contract_violation"


async def add_task(db: Database, status: str = "waiting", tenant: str = TENANT, submitted_by: str = SUBMITTER) -> UUID:
    """A task in this state, with its first event."""
    task_id = uuid4()
    async with db.hot() as connection:
        await connection.execute(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts)
            VALUES ($1, $2, $3, 'p', 'work', '{}', 0, 1, $4, 3)""",
            task_id,
            tenant,
            submitted_by,
            status,
        )
        await connection.execute(
            """INSERT INTO waits (task_id, tenant, reason, step)
            SELECT $1, $2, 'approval', 'approve:shell' WHERE $3 = 'waiting'""",
            task_id,
            tenant,
            status,
        )
        await connection.execute(
            "INSERT INTO events (task_id, seq, tenant, type, data) VALUES ($1, 1, $2, 'task.queued', '{}')",
            task_id,
            tenant,
        )
    return task_id


def question(task_id: UUID, policy: Policy | None = None, **fields: Any) -> Question:
    values: dict[str, Any] = {
        "tenant": TENANT, "pool": POOL, "kind": "action", "step": "approve:shell", "action": "shell",
        "args_json": '{"command": ["df", "-h"]}', "submitted_by": SUBMITTER, "policy": policy or Policy(3600.0),
        "risk": "high",
    }  # fmt: skip
    return Question(task_id=task_id, **{**values, **fields})


async def ask(db: Database, policy: Policy | None = None, *, status: str = "waiting", **fields: Any) -> Opened:
    """A task that waits, and its approval."""
    tenant = fields.get("tenant", TENANT)
    task_id = await add_task(db, status, tenant, fields.get("submitted_by", SUBMITTER))
    async with db.hot() as connection, connection.transaction():
        return (await open_many(connection, [question(task_id, policy, **fields)]))[task_id]


async def row(db: Database, approval_id: UUID) -> dict[str, Any]:
    async with db.hot() as connection:
        found = await connection.fetchrow("SELECT * FROM approvals WHERE id = $1", approval_id)
    assert found is not None
    return dict(found)


async def events(db: Database, task_id: UUID) -> list[tuple[str, Any]]:
    """The task's events after its first, (type, JSON text); asserts that they are numbered 1..n."""
    async with db.hot() as connection:
        found = await connection.fetch("SELECT seq, type, data FROM events WHERE task_id = $1 ORDER BY seq", task_id)
    assert [item["seq"] for item in found] == list(range(1, len(found) + 1))
    return [(item["type"], item["data"]) for item in found[1:]]


async def task_status(db: Database, task_id: UUID) -> str:
    async with db.hot() as connection:
        return str(await connection.fetchval("SELECT status FROM tasks WHERE id = $1", task_id))


async def move_expiry(db: Database, approval_id: UUID, seconds: float = -1.0) -> None:
    """As if it had been opened so that it expires in `seconds`."""
    async with db.hot() as connection:
        await connection.execute(
            "UPDATE approvals SET expires_at = now() + make_interval(secs => $2) WHERE id = $1", approval_id, seconds
        )


async def all_of(*work: Any) -> list[Any]:
    """Run together; results and exceptions."""
    return list(await asyncio.gather(*work, return_exceptions=True))
