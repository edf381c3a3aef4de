"""Two transactions that meet: what crash runs came upon, made to happen every time."""

from __future__ import annotations

import asyncio
from uuid import UUID

from app.core.db import Database, HotConnection
from app.tasks import queue, waits, waits_sql
from app.tasks.cancelling import cancel_within
from app.tasks.queue import Settled
from app.tasks.waits import NOTHING, Outcome
from tests.core.database import db
from tests.support.waiting import until_async
from tests.tasks.queue_driver import claim, row, running

__all__ = ["db"]

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def suspend(connection: HotConnection, task_id: UUID, fence: int, step: str, due_s: float | None = 0.0) -> None:
    """The task waits at `step`, for a timer."""
    item = Settled(task_id, fence, "waiting", "suspended", "task.waiting", f'{{"step":"{step}"}}', counted=False)
    assert await queue.settle(connection, [item])
    await connection.execute(waits_sql.AWAIT, task_id, "t", "timer", step, due_s, None, None)


async def blocked(db: Database) -> None:
    """Until one statement waits for a lock."""

    async def waits_for_a_lock() -> bool:
        async with db.hot() as connection:
            return bool(await connection.fetchval(BLOCKED))

    await until_async(waits_for_a_lock, "a statement is blocked")


async def test_a_cancel_that_meets_a_suspension_leaves_no_wait_that_is_due_for_ever(db: Database) -> None:
    task_id = await running(db)

    async def cancel() -> None:
        async with db.hot() as connection, connection.transaction():
            assert (await cancel_within(connection, "t", [task_id], "no more")).ids == [task_id]

    async with db.hot() as connection:
        async with connection.transaction():
            await suspend(connection, task_id, 1, "sleep")
            cancelling = asyncio.create_task(cancel())
            await blocked(db)
        await cancelling
        assert (await row(db, task_id))["status"] == "cancelled"
        resumed, _ = await waits.resume_due(connection, 10)
        assert not resumed
        assert await waits.next_due_s(connection) is None, "a loop would turn for nothing"


async def test_a_resume_that_comes_late_does_not_end_another_wait(db: Database) -> None:
    """While it waits for a lock, the task goes on, runs and waits at its next step."""
    first, other = sorted([await running(db), await running(db)])
    async with db.hot() as connection:
        for task_id in (first, other):
            await suspend(connection, task_id, 1, "one")

    async def late() -> None:
        async with db.hot() as connection:
            await waits.resume(connection, [Outcome(task_id, "one", NOTHING) for task_id in (first, other)])

    async with db.hot() as holding:
        async with holding.transaction():
            await holding.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", first)
            resuming = asyncio.create_task(late())
            await blocked(db)
            async with db.hot() as connection:
                await waits.resume(connection, [Outcome(other, "one", NOTHING)])
                assert [item.id for item in await claim(db, 1)] == [other]
                await suspend(connection, other, 2, "two", 3600.0)
        await resuming
        assert (await row(db, other))["status"] == "waiting"
        assert [item["step"] for item in await holding.fetch("SELECT step FROM waits")] == ["two"]
