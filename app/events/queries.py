"""Reads of events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.db import Database
from app.events.catalog import ENDINGS, NOTES, START

_ANCHORS = sorted({START} | NOTES | ENDINGS)


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


async def anchor(db: Database, task_id: UUID, seq: int) -> EventRecord | None:
    """The last event up to `seq` that starts, notes or ends an attempt."""
    async with db.read() as connection:
        row = await connection.fetchrow(
            """SELECT seq, type, at, data FROM events
            WHERE task_id = $1 AND seq <= $2 AND type = ANY($3) ORDER BY seq DESC LIMIT 1""",
            task_id,
            seq,
            _ANCHORS,
        )
    return None if row is None else EventRecord(*row)
