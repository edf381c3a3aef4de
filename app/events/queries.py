"""Reads of events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.db import Database


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event; `data` is JSON text."""

    seq: int
    type: str
    at: datetime
    data: str


async def of_task(db: Database, task_id: UUID, after: int, limit: int) -> list[EventRecord]:
    """Events of a task with a number greater than `after`, in order."""
    async with db.read() as connection:
        rows = await connection.fetch(
            "SELECT seq, type, at, data FROM events WHERE task_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            task_id,
            after,
            limit,
        )
    return [EventRecord(*row) for row in rows]
