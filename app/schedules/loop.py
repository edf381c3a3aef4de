"""The loop of schedules. Every manager runs it; a schedule's row is locked while it fires: each tick is made once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter

from app.core.db import Database, HotConnection
from app.core.http import DATABASE_AWAY
from app.schedules import statements as sql
from app.schedules.firing import Fired, Firing
from app.schedules.records import ScheduleRecord
from app.settings import ScheduleSettings

log = structlog.get_logger()

ERRORS = Counter("yard_schedule_errors", "Schedules that could not be looked at; they are tried again.")

type Now = Callable[[HotConnection], Awaitable[datetime]]


async def database_now(connection: HotConnection) -> datetime:
    """The database's clock: managers whose own clocks differ agree on what is due."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


class ScheduleLoop:
    """One tick: every schedule that has something to do, one transaction each."""

    def __init__(self, db: Database, firing: Firing, settings: ScheduleSettings, *, now: Now = database_now) -> None:
        self._db, self._firing, self._settings, self._now = db, firing, settings, now

    async def tick(self) -> float | None:
        async with self._db.hot() as connection:
            now = await self._now(connection)
            ids = [row["id"] for row in await connection.fetch(sql.DUE, now)]
        more = False
        for schedule_id in ids:
            more |= await self._look_at(schedule_id)
        return 0.0 if more else await self._rest_s()

    async def _look_at(self, schedule_id: UUID) -> bool:
        """Fire one schedule; whether it has more to do at once. One that cannot be fired holds up no other."""
        try:
            fired = await self.fire(schedule_id)
        except DATABASE_AWAY:
            raise
        except Exception as exc:
            ERRORS.inc()
            log.error("schedule_failed", schedule_id=str(schedule_id), exc_info=exc)
            return False
        return fired.more

    async def fire(self, schedule_id: UUID) -> Fired:
        """Make what is due of one schedule; nothing when another manager is at it."""
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(sql.TAKE, schedule_id)
            if row is None:
                return Fired()
            now = await self._now(connection)
            fired = await self._firing.fire(connection, ScheduleRecord(*row), now)
        fired.committed()
        return fired

    async def _rest_s(self) -> float | None:
        """Until the next tick, and no longer than the interval."""
        async with self._db.hot() as connection:
            next_at = await connection.fetchval(sql.NEXT)
            if next_at is None:
                return None
            left = (next_at - await self._now(connection)).total_seconds()
        return None if left >= self._settings.interval_s else max(0.01, left)
