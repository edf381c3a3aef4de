"""The loop of objectives: under one leader it counts minutes, judges budgets, tightens what an exhausted one tightens.

Each pass looks at every objective as it is now, so it may be made twice or by two managers. The newest minutes of all
objectives come first; what time is left goes to the past of those that are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import structlog
from prometheus_client import Counter

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.limits import tightening
from app.slo import progress
from app.slo import statements as sql
from app.slo.counting import Counting
from app.slo.numbers import Numbers, numbers
from app.slo.records import SloRecord, record

log = structlog.get_logger()

BACKFILL_S = 2.0
"""So long a pass fills in the past, at most."""
PRUNE_EVERY_S = 600.0
PRUNE_BATCH = 5_000
MORE_S = 0.05

_GIVEN_UP = (TimeoutError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
"""A statement took too long, or somebody else had the objective's row for too long."""

LATE = Counter("yard_slo_slow", "Counts of objectives that were given up because they took too long.")


class SloLoop:
    """`tasks_kept_s`: so long are tasks kept after their end; 0: for ever."""

    def __init__(
        self, db: Database, clock: Clock, leader: Leader, *, tasks_kept_s: float, prune_batch: int = PRUNE_BATCH
    ) -> None:
        self._db, self._clock, self._leader = db, clock, leader
        self._counting = Counting(db, tasks_kept_s, clock.monotonic)
        self._prune_at, self._prune_batch = 0.0, prune_batch

    async def tick(self) -> float | None:
        """One pass, if this manager leads; another at once where the past is not counted yet."""
        if not await self._leader.leads():
            return None
        return MORE_S if await self.run_once() else None

    async def run_once(self, now: datetime | None = None) -> bool:
        """One pass as of `now` (database time); True: there is more to count than there was time for."""
        if now is None:
            async with self._db.read() as connection:
                now = await connection.fetchval("SELECT clock_timestamp()")
        assert now is not None
        slos = await self._all()
        self._counting.only({slo.id for slo in slos})
        for slo in slos:
            await self._forward(slo, now)
        more = await self._backward(now)
        await self._tighten(now)
        await self._prune(slos, now)
        return more

    async def _all(self) -> list[SloRecord]:
        async with self._db.read() as connection:
            return [record(row) for row in await connection.fetch(sql.ALL)]

    async def _forward(self, slo: SloRecord, now: datetime) -> None:
        try:
            await self._counting.forward(slo, now)
        except _GIVEN_UP:  # shorter stretches are counted the next time; the other objectives do not wait
            LATE.inc()
            log.warning("slo_count_slow", slo=slo.name, owner=slo.owner)

    async def _backward(self, now: datetime) -> bool:
        until = self._clock.monotonic() + BACKFILL_S
        more = await self._all()
        while more and self._clock.monotonic() < until:
            more = [slo for slo in more if await self._back(slo, now)]
            if more:
                living = {slo.id: slo for slo in await self._all()}
                more = [living[slo.id] for slo in more if slo.id in living]
        return bool(more)

    async def _back(self, slo: SloRecord, now: datetime) -> bool:
        try:
            return await self._counting.backward(slo, now)
        except _GIVEN_UP:
            LATE.inc()
            log.warning("slo_count_slow", slo=slo.name, owner=slo.owner)
            return True

    async def _tighten(self, now: datetime) -> None:
        for slo in await self._all():
            if not slo.on_exhausted:
                continue
            async with self._db.read() as connection:
                found = await numbers(connection, slo, now)
            await self._hold_to(found)

    async def _hold_to(self, found: Numbers) -> None:
        """An exhausted budget tightens, one that is whole again lifts; where there is no judgement nothing changes."""
        slo, state = found.slo, found.standing.budget.state
        if not found.judged or state == "insufficient_evidence":
            return
        wanted = slo.on_exhausted if state == "exhausted" else ()
        pool = slo.objective.scope.pool
        assert pool is not None
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(sql.LOCK, slo.id)
            if row is None or record(row).on_exhausted != slo.on_exhausted:
                return  # it is another one by now, which the next pass judges
            begun, lifted = await tightening.put(connection, slo.id, wanted, pool=pool, owner=slo.owner, slo=slo.name)
        if begun or lifted:
            log.warning("slo_tightened", slo=slo.name, owner=slo.owner, pool=pool, begun=begun, lifted=lifted)

    async def _prune(self, slos: Sequence[SloRecord], now: datetime) -> None:
        """Drop what no window needs, a batch of each objective now and then; and verdicts about tasks that are gone.
        Where a batch was full there is more, which goes at the next pass."""
        if self._clock.monotonic() < self._prune_at:
            return
        more = False
        for slo in slos:
            before = progress.dropped_before(slo.objective, slo.rules, now)
            more |= await self._delete(sql.DROP, slo.id, before, self._prune_batch)
        kept_since = self._counting.kept_since(now)
        if kept_since is not None:
            more |= await self._delete(sql.FORGET_FEEDBACK, kept_since, self._prune_batch)
        if not more:
            self._prune_at = self._clock.monotonic() + PRUNE_EVERY_S

    async def _delete(self, statement: str, *values: object) -> bool:
        """Whether the batch was full."""
        async with self._db.read() as connection:
            status = await connection.execute(statement, *values)
        return int(status.split()[-1]) >= self._prune_batch
