"""The loop of probes: judge what has ended, then run what is due. One manager leads; two would do no harm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.errors import Problem
from app.core.http import DATABASE_AWAY
from app.core.leader import Leader
from app.settings import SloSettings
from app.slo import probe_firing, probe_judging, probe_queries, probe_timing
from app.slo import probe_sql as sql
from app.slo.probe_firing import Submit
from app.slo.probe_judging import AT_ONCE, Cancel

log = structlog.get_logger()

ERRORS = Counter("yard_probe_errors", "Probes that could not be looked at; they are tried again.")
UPKEEP_S = 60.0

type Now = Callable[[HotConnection], Awaitable[datetime]]


async def database_now(connection: HotConnection) -> datetime:
    """The database's clock: managers whose own clocks differ agree on what is due."""
    now: datetime = await connection.fetchval(sql.NOW)
    return now


class ProbeLoop:
    """`submit` inserts tasks in a transaction, `cancel` ends them in one of its own."""

    def __init__(
        self,
        db: Database,
        leader: Leader,
        clock: Clock,
        submit: Submit,
        cancel: Cancel,
        settings: SloSettings,
        *,
        now: Now = database_now,
    ) -> None:
        self._db, self._leader, self._clock, self._settings, self._now = db, leader, clock, settings, now
        self._submit, self._cancel = submit, cancel
        self._upkeep_at = 0.0

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            return None
        more = await probe_judging.cancel_late(self._db, self._cancel) == AT_ONCE
        more |= await probe_judging.judge_ended(self._db) == AT_ONCE
        async with self._db.hot() as connection:
            ids = [row["id"] for row in await connection.fetch(sql.DUE, await self._now(connection))]
        for probe_id in ids:
            await self._look_at(probe_id)
        await self._keep_up()
        return 0.0 if more else await self._rest_s()

    async def _look_at(self, probe_id: UUID) -> None:
        """Run one probe. One that cannot be looked at holds up no other."""
        try:
            await self.run(probe_id)
        except DATABASE_AWAY:
            raise
        except Exception as exc:
            ERRORS.inc()
            log.error("probe_failed", probe_id=str(probe_id), exc_info=exc)

    async def run(self, probe_id: UUID) -> None:
        """Make its run if it is due; nothing when another manager is at it or was."""
        async with self._db.hot() as connection, connection.transaction():
            now = await self._now(connection)
            row = await connection.fetchrow(sql.TAKE, probe_id, now)
            if row is None:
                return
            probe = probe_queries.record(row)
            due = probe_timing.due(probe.name, probe.every_s, probe.next_at, now)
            committed = None
            if due.planned_at is not None:
                try:
                    fired = await probe_firing.fire(connection, self._submit, probe, due.planned_at, by_hand=False)
                    committed = fired.committed
                except Problem as problem:
                    if problem.status >= 500:
                        raise  # a fault of ours that passes: the next pass tries again
                    await probe_firing.refuse(connection, probe, due.planned_at, problem)
            await connection.execute(sql.MOVE, probe.id, due.next_at)
        if committed is not None:
            committed()

    async def _keep_up(self) -> None:
        if self._clock.monotonic() < self._upkeep_at:
            return
        async with self._db.hot() as connection:
            await connection.execute(sql.TRIM, self._settings.probe_runs)
        self._upkeep_at = self._clock.monotonic() + UPKEEP_S

    async def _rest_s(self) -> float | None:
        """Until the next planned time, and no longer than the interval."""
        async with self._db.hot() as connection:
            next_at = await connection.fetchval(sql.NEXT)
            if next_at is None:
                return None
            left = (next_at - await self._now(connection)).total_seconds()
        # Not at once: one that cannot be run stays due.
        return None if left >= self._settings.probe_interval_s else max(0.1, left)
