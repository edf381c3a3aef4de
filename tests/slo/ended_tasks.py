"""Tasks that have ended, their attempts and what was said about them, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Table

from app.core.db import Database
from app.slo.models import Feedback, Slo, SloBucket
from app.slo.verdicts import Verdict

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Ended:
    """A task: by default one that was made and finished at noon, and succeeded at once."""

    finished: datetime | None = NOON
    status: str = "succeeded"
    created: datetime | None = None
    run_at: datetime | None = None
    tenant: str = "default"
    pool: str = "p"
    synthetic: bool = False
    labels: dict[str, str] | None = None
    attempts: tuple[tuple[float | None, str, bool], ...] = ()
    """(seconds, outcome, counted) of each; None: it never started."""
    error_code: str | None = None
    id: UUID = field(default_factory=uuid4)

    @property
    def since_ready(self) -> timedelta:
        assert self.finished is not None
        made = self.created or self.finished
        return self.finished - (made if self.run_at is None else max(made, self.run_at))


async def write(db: Database, tasks: Sequence[Ended]) -> None:
    """Add tasks with their attempts."""
    async with db.hot() as connection:
        await connection.execute("INSERT INTO pools (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING",
                                 sorted({task.pool for task in tasks}))  # fmt: skip
        await connection.executemany(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
              synthetic, labels, created_at, run_at, finished_at, error_code)
            VALUES ($1, $2, 'k1', $3, 't', 'null', 0, 0, $4, 3, $5, $6::text::jsonb, $7, $8, $9, $10)""",
            [
                (t.id, t.tenant, t.pool, t.status, t.synthetic,
                 None if t.labels is None else orjson.dumps(t.labels).decode(), t.created or t.finished or NOON,
                 t.run_at, t.finished, t.error_code)
                for t in tasks
            ],
        )  # fmt: skip
        await connection.executemany(
            """INSERT INTO attempts (task_id, fence, attempt, pool, started_at, finished_at, outcome, counted)
            VALUES ($1, $2::int, $2::int, $3, $4, $5, $6, $7)""",
            [
                (t.id, fence, t.pool, None if lasted is None else NOON - timedelta(seconds=lasted), NOON, outcome,
                 counted)
                for t in tasks
                for fence, (lasted, outcome, counted) in enumerate(t.attempts, 1)
            ],
        )  # fmt: skip


async def create_tables(db: Database) -> None:
    """The tables of objectives, where migrations have not made them."""
    tables = [model.__table__ for model in (Slo, SloBucket, Feedback)]
    async with db.begin() as connection:
        for table in tables:
            assert isinstance(table, Table)
            await connection.run_sync(table.create, checkfirst=True)


async def say(db: Database, verdicts: Sequence[Verdict]) -> None:
    """Add rows of feedback."""
    async with db.hot() as connection:
        await connection.executemany(
            """INSERT INTO feedback (id, task_id, tenant, source, evaluator, version, score, label, said_by, at)
            VALUES ($1, $2, 'default', $3, $4, $5, $6, $7, 'k1', $8)""",
            [
                (v.id, v.task_id, v.source, v.series.evaluator, v.series.version, v.score, v.label, v.at)
                for v in verdicts
            ],
        )
