"""Reads of schedules and their runs."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from app.core.db import Database
from app.schedules import statements as sql
from app.schedules.records import RunRecord, ScheduleRecord


async def schedules(db: Database, tenant: str, *, after: str, limit: int) -> list[ScheduleRecord]:
    """A tenant's, by name."""
    async with db.read() as connection:
        return [ScheduleRecord(*row) for row in await connection.fetch(sql.PAGE, tenant, after, limit)]


async def schedule(db: Database, tenant: str, name: str) -> ScheduleRecord | None:
    async with db.read() as connection:
        row = await connection.fetchrow(sql.ONE, tenant, name)
    return None if row is None else ScheduleRecord(*row)


async def runs(db: Database, schedule_id: UUID, *, before: datetime | None, limit: int) -> list[RunRecord]:
    """Of one schedule, the latest tick first."""
    async with db.read() as connection:
        return [RunRecord(*row) for row in await connection.fetch(sql.RUNS, schedule_id, before, limit)]
