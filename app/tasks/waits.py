"""What a task waits for, and going on when it came. Every verb takes a connection of the hot pool.

A task waits while it has a row in `waits`; `resume` takes the row, stores the outcome as a step and queues the task
again, in one statement. All who may resume it (an approval, its sub-tasks, an event, the clock) go through it, so the
first one counts and the others change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from app.core.db import HotConnection
from app.core.jsonbody import dump_json
from app.tasks import queue
from app.tasks import waits_sql as sql
from app.tasks.queue import Key, concurrency_keys

NOTHING = "null"
_FORGET_LEFT = """
DELETE FROM waits w WHERE NOT EXISTS (
  SELECT FROM tasks t WHERE t.id = w.task_id AND t.status NOT IN ('succeeded', 'failed', 'cancelled', 'expired'))
"""


class Outcome(NamedTuple):
    """How the wait of a task at `step` ended. `result` is JSON text; `failed`: a retried task waits anew."""

    task_id: UUID
    step: str
    result: str
    failed: bool = False


@dataclass(slots=True)
class Resumed:
    """Tasks that go on. `pools` have claimable ones now; under `keys` some ask for room first."""

    ids: list[UUID] = field(default_factory=list)
    pools: set[str] = field(default_factory=set)
    keys: set[Key] = field(default_factory=set)

    def __iadd__(self, other: Resumed) -> Resumed:
        self.ids += other.ids
        self.pools |= other.pools
        self.keys |= other.keys
        return self

    def __bool__(self) -> bool:
        return bool(self.ids)


async def resume(connection: HotConnection, outcomes: Sequence[Outcome]) -> Resumed:
    """Let those of these tasks go on that still wait at this step."""
    if not outcomes:
        return Resumed()
    rows = await connection.fetch(
        sql.RESUME,
        [item.task_id for item in outcomes],
        [item.step for item in outcomes],
        [item.result for item in outcomes],
        [item.failed for item in outcomes],
    )
    return Resumed(
        [row["id"] for row in rows],
        {row["pool"] for row in rows if row["key"] is None},
        concurrency_keys(rows),
    )


async def resume_due(connection: HotConnection, limit: int) -> tuple[Resumed, bool]:
    """Timers that are over, and events that did not come in time; and whether there may be more."""
    rows = await connection.fetch(sql.DUE, limit)
    resumed = await resume(connection, [Outcome(row["task_id"], row["step"], NOTHING) for row in rows])
    if len(resumed.ids) < len(rows):  # else they would be due for ever, before all others
        await forget_left(connection)
    return resumed, len(rows) == limit


async def forget_left(connection: HotConnection) -> None:
    """Delete the waits of tasks that do not wait. There should be none; but one would keep the loop busy for ever."""
    await connection.execute(_FORGET_LEFT)


async def next_due_s(connection: HotConnection) -> float | None:
    """Seconds until the next wait is due; None when none waits for the clock."""
    value = await connection.fetchval(sql.NEXT_DUE)
    return None if value is None else float(value)


async def resume_answered(
    connection: HotConnection, parents: Collection[UUID] | None, limit: int, max_bytes: int, max_result_bytes: int
) -> tuple[Resumed, bool]:
    """Parents all of whose called tasks are final: of these, or (None) of all; and whether there may be more."""
    rows = await connection.fetch(sql.ANSWERED, None if parents is None else list(parents), limit)
    outcomes = []
    for row in rows:
        found = await connection.fetch(sql.ANSWERS, row["task_id"], row["step"], max_result_bytes, max_bytes)
        shown = [_answer(answer) for answer in found]
        failed = any(item["error"] is not None for item in shown)
        outcomes.append(Outcome(row["task_id"], row["step"], dump_json(shown), failed))
    return await resume(connection, outcomes), len(rows) == limit


async def note_progress(connection: HotConnection, parents: Collection[UUID]) -> list[UUID]:
    """Tell on these parents, as far as they wait, how many of the called tasks have ended; the ids of those."""
    rows = await connection.fetch(sql.CALLED, list(parents))
    for row in rows:
        data = {name: row[name] for name in ("step", "calls", "ended", "failed")}
        await queue.note(connection, row["task_id"], "task.children", dump_json(data))
    return [row["task_id"] for row in rows]


def _answer(row: asyncpg.Record) -> dict[str, Any]:
    error: dict[str, object] | None = None
    if not row["fits"]:
        message = f"The result is too large for its caller; read task {row['id']}."
        error = {"code": "result_too_large", "message": message}
    elif row["status"] != "succeeded":
        error = {"code": row["error_code"] or row["status"], "message": row["error_message"]}
    result = None if row["result"] is None else orjson.Fragment(row["result"])
    return {"task_id": str(row["id"]), "pool": row["pool"], "status": row["status"], "result": result, "error": error}


async def lock_event(connection: HotConnection, tenant: str, name: str) -> None:
    """Take turns with all who send or begin to wait for events of this name, until the transaction ends. Taken before
    any row is locked."""
    await connection.execute(sql.EVENT_LOCK, tenant, name)


async def resume_matched(
    connection: HotConnection, *, signal_id: UUID | None = None, task_id: UUID | None = None
) -> Resumed:
    """All tasks for which this event was sent, or this task if its event was; in a transaction with `lock_event`."""
    rows = await connection.fetch(sql.MATCHES, signal_id, task_id)
    resumed = await resume(connection, [Outcome(row["task_id"], row["step"], row["data"]) for row in rows])
    gone_on = set(resumed.ids)
    used = [row for row in rows if row["task_id"] in gone_on]
    if used:
        await connection.execute(sql.USE, [row["signal_id"] for row in used], [row["task_id"] for row in used])
    return resumed


async def steps_of(connection: HotConnection, task_id: UUID) -> dict[str, str]:
    """A task's finished steps by name, in the order in which they were stored; each result is JSON text."""
    return {row["name"]: row["result"] for row in await connection.fetch(sql.STEPS, task_id)}
