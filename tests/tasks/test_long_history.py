"""With a long history in the tables: what is read, by which index."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.core.db import Database
from app.tasks import queries, queue_sql, retention
from app.tasks.queue import UsageRow
from tests.tasks.queue_driver import AGENT, claim, failed, insert, retried, settle, succeeded, task, tasks


async def long_history(db: Database) -> None:
    """30,000 finished tasks with three events each, and 300 queued."""
    async with db.hot() as connection:
        await connection.execute(
            """WITH t AS (INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status,
              max_attempts, event_seq, fence, finished_at)
            SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 't', 'k', 'p', 'work', '{}', 0, n,
              'succeeded', 3, 3, 1, now() - interval '9 days' FROM generate_series(1, 30000) n RETURNING id),
            a AS (INSERT INTO attempts (task_id, fence, attempt, pool, outcome, counted)
              SELECT id, 1, 1, 'p', 'succeeded', true FROM t)
            INSERT INTO events (task_id, seq, tenant, type, data)
            SELECT id, seq, 't', 'task.progress', '{}' FROM t CROSS JOIN generate_series(1, 3) seq"""
        )
    await insert(db, *tasks(300))
    async with db.hot() as connection:
        for name in ("tasks", "attempts", "events"):
            await connection.execute(f"ANALYZE {name}")


async def test_a_claim_reads_the_index_of_the_ready_whatever_the_history(db: Database) -> None:
    await long_history(db)
    async with db.hot() as connection:
        for own in (False, True):
            found = await connection.fetch(f"EXPLAIN {queue_sql.READY}", ["p"], [50], [own], 0, 2, [-32768])
            plan = "\n".join(line[0] for line in found)
            assert "using ix_tasks_ready" in plan and "Seq Scan" not in plan and "Sort" not in plan, plan
        found = await connection.fetch(f"EXPLAIN {queue_sql.READY_PAST}", "p", ["kept"], 50, -32768)
        plan = "\n".join(line[0] for line in found)
        assert "using ix_tasks_ready" in plan and "Seq Scan" not in plan, plan


async def test_a_batch_of_retention_finds_every_row_by_its_key(db: Database) -> None:
    await long_history(db)
    values = {"after": retention.FIRST_ID, "before": UUID(int=2**128 - 1), "batch": 1000, "keep_s": 1.0}
    async with db.begin() as connection:
        found = await connection.execute(text(f"EXPLAIN {retention.DELETE.text}"), values)
        plan = "\n".join(line[0] for line in found)
    for name in ("tasks", "attempts", "events"):
        assert f"Seq Scan on {name}" not in plan, plan
        assert f"using pk_{name} on {name}" in plan or f"Bitmap Index Scan on pk_{name}" in plan, plan


async def ended(db: Database, age_s: float, **fields: Any) -> UUID:
    """A task that succeeded on its first attempt, so long ago."""
    new = task(**fields)
    await insert(db, new)
    await claim(db, 1, new.pool)
    await settle(db, succeeded(new.id, 1, usage=(UsageRow("m", 1, 2),)))
    async with db.hot() as connection:
        await connection.execute(
            """UPDATE attempts SET finished_at = now() - make_interval(secs => $2),
              started_at = now() - make_interval(secs => $2 + 2.5) WHERE task_id = $1""",
            new.id,
            age_s,
        )
    return new.id


async def test_recent_attempts_are_those_of_the_age_newest_first(db: Database) -> None:
    for pool, age_s in (("p", 1700.0), ("q", 5.0), ("p", 300.0), ("p", 2000.0)):
        await ended(db, age_s, pool=pool, type=f"{pool}-{age_s:g}")
    found = await queries.recent_attempts(db, max_age_s=1800.0, limit=100)
    assert [record.type for record in found] == ["q-5", "p-300", "p-1700"]
    assert [record.seconds for record in found] == [pytest.approx(2.5)] * 3
    of_p = await queries.recent_attempts(db, max_age_s=1800.0, limit=100, pool="p")
    assert [record.type for record in of_p] == ["p-300", "p-1700"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_no_more_recent_attempts_than_asked_for(db: Database, limit: int) -> None:
    for age_s in (1.0, 20.0, 1000.0):
        await ended(db, age_s, type=f"{age_s:g}")
    found = await queries.recent_attempts(db, max_age_s=1800.0, limit=limit)
    assert [record.type for record in found] == ["1", "20", "1000"][:limit]


async def test_a_recent_attempt_says_what_was_tried_and_how_it_ended(db: Database) -> None:
    new = task(thread_id="talk", complexity=0.9)
    await insert(db, new)
    await claim(db, 1)
    await settle(db, retried(new.id, 1))
    await claim(db, 1)
    await settle(db, failed(new.id, 2))
    last, first = await queries.recent_attempts(db, max_age_s=1800.0, limit=10)
    assert (last.pool, last.type, last.complexity, last.thread_id, last.agent_id) == ("p", "work", 0.9, "talk", AGENT)
    assert (last.outcome, last.counted, last.error_code) == ("failed", True, "bad")
    assert last.queued_at is not None and last.started_at is not None
    assert last.queued_at <= last.started_at <= last.finished_at
    assert first.queued_at is None, "the task was queued again since"
