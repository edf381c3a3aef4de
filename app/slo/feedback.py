"""Verdicts about what tasks answered. They are kept as they come; what they count for is judged by the objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import uuid_utils

from app.auth.callers import Caller
from app.core.db import Database
from app.core.errors import Conflict
from app.slo import statements as sql
from app.slo.verdicts import Source
from app.tasks.models import FINAL_STATUSES
from app.tasks.service import TaskNotFound

PERSON, FIRST_VERSION = "human", "1"
"""The evaluator of a person who names none, and its version."""


class TaskNotFinal(Conflict):
    code, title = "task_not_final", "The task has no result yet"


class TooMuchFeedback(Conflict):
    code, title = "too_much_feedback", "Too much feedback about one task"


@dataclass(frozen=True, slots=True)
class Said:
    """What is said about a task."""

    source: Source
    evaluator: str
    version: str
    score: Decimal | None
    label: str | None
    comment: str


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """A verdict as it is kept. `said_by`: a caller's id."""

    id: UUID
    task_id: UUID
    source: Source
    evaluator: str
    version: str
    score: Decimal | None
    label: str | None
    comment: str
    said_by: str
    at: datetime


class Feedbacks:
    """Add and list verdicts. `most` there may be about one task."""

    def __init__(self, db: Database, most: int) -> None:
        self._db, self._most = db, most

    async def add(self, caller: Caller, task_id: UUID, said: Said) -> FeedbackRecord:
        """Keep a verdict; raises TaskNotFound (another tenant's too), TaskNotFinal or TooMuchFeedback."""
        async with self._db.hot() as connection, connection.transaction():
            status = await connection.fetchval(sql.JUDGED_TASK, task_id, caller.tenant)
            if status is None:
                raise _missing()
            if status not in FINAL_STATUSES:
                raise TaskNotFinal(f"The task is {status}: wait for its end.", extra={"task_status": status})
            if await connection.fetchval(sql.SAID_COUNT, task_id) >= self._most:
                raise TooMuchFeedback(f"There are {self._most} verdicts about this task already.")
            row = await connection.fetchrow(
                sql.SAY, UUID(bytes=uuid_utils.uuid7().bytes), task_id, caller.tenant, said.source, said.evaluator,
                said.version, said.score, said.label, said.comment, caller.id,
            )  # fmt: skip
        assert row is not None
        return FeedbackRecord(*row)

    async def page(self, caller: Caller, task_id: UUID, before: UUID | None, limit: int) -> Sequence[FeedbackRecord]:
        """What was said about a task, the newest first; raises TaskNotFound."""
        async with self._db.read() as connection:
            if await connection.fetchval(sql.TASK_EXISTS, task_id, caller.tenant) is None:
                raise _missing()
            rows = await connection.fetch(sql.SAID, task_id, caller.tenant, before, limit)
        return [FeedbackRecord(*row) for row in rows]


def _missing() -> TaskNotFound:
    return TaskNotFound("There is no task with this id.")
