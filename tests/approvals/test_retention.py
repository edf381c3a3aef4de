"""Approvals go with their tasks, and not before."""

from __future__ import annotations

from app.approvals.retention import NEXT_S, RetentionLoop
from app.approvals.service import Approvals
from app.core.db import Database
from app.core.leader import Leader
from tests.approvals.rows import ANN, RowHooks, ask
from tests.core.database import HandClock


async def test_what_has_no_task_is_deleted_batch_by_batch(db: Database, clock: HandClock) -> None:
    opened = [await ask(db) for _ in range(5)]
    await Approvals(db, RowHooks()).decide(ANN, opened[1].id, approve=False, payload_hash=None, source="api")
    gone = [item.id for item in opened[1:4]]
    async with db.hot() as connection:
        await connection.execute(
            "DELETE FROM tasks WHERE id IN (SELECT task_id FROM approvals WHERE id = ANY($1))", gone
        )
    loop = RetentionLoop(db, Leader(db, clock, "approval-retention", "me"), batch=2)
    assert [await loop.tick() for _ in range(5)] == [NEXT_S, NEXT_S, NEXT_S, None, NEXT_S]
    async with db.hot() as connection:
        left = {row["id"] for row in await connection.fetch("SELECT id FROM approvals")}
        assert left == {opened[0].id, opened[4].id}
        assert await connection.fetchval("SELECT count(*) FROM approval_votes") == 0


async def test_only_the_leader_deletes(db: Database, clock: HandClock) -> None:
    await ask(db)
    async with db.hot() as connection:
        await connection.execute("DELETE FROM tasks")
    first, second = (RetentionLoop(db, Leader(db, clock, "approval-retention", name)) for name in ("a", "b"))
    await Leader(db, clock, "approval-retention", "c").leads()
    assert await first.tick() is None
    assert await second.tick() is None
    async with db.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM approvals") == 1
