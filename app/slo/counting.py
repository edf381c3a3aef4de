"""Counting an objective's minutes into its buckets, one stretch a transaction.

Whoever counts has the objective's row alone and reads tasks after that, so a stretch that two managers count at once is
counted twice and right. What is written says how far it goes: cut short, the next pass goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from app.core.db import Database, HotConnection
from app.core.failpoints import reach
from app.slo import buckets, counts, progress
from app.slo import statements as sql
from app.slo.records import SloRecord, record
from app.slo.windows import Span, bucket_of

log = structlog.get_logger()


class Counting:
    """`kept_s`: tasks are kept so long after their end; 0: for ever. `monotonic` times statements."""

    def __init__(self, db: Database, kept_s: float, monotonic: Callable[[], float]) -> None:
        self._db, self._kept_s, self._monotonic = db, kept_s, monotonic
        self._chunks: dict[UUID, int] = {}

    def only(self, living: set[UUID]) -> None:
        """Forget what was learnt about objectives that are no more."""
        self._chunks = {slo_id: chunk_s for slo_id, chunk_s in self._chunks.items() if slo_id in living}

    async def forward(self, slo: SloRecord, now: datetime) -> None:
        """Count what ended up to now, and again what may have changed; then settle what nobody judged in time."""
        until = min(slo.counted_until or now, now)
        if slo.counted_from is None:
            until = progress.first_minute(now) + timedelta(seconds=progress.LATE_S)
        elif slo.objective.kind == "accuracy":
            await self._reopened(slo, until, now)
        for span in progress.ahead(until, now, self._chunk(slo)):
            await self._count(slo.id, span, now, counted_until=min(span.end, now))
        if slo.objective.kind == "accuracy":
            async with self._db.read() as connection:
                await connection.execute(sql.SETTLE, slo.id, counts.settled_before(slo.objective, now))

    async def backward(self, slo: SloRecord, now: datetime) -> bool:
        """Count one stretch of the past; False: there is none left that is needed."""
        if slo.counted_from is None:
            return False
        needed, kept_since = progress.needed_from(slo.objective, slo.rules, now), self.kept_since(now)
        oldest = needed if kept_since is None else max(needed, bucket_of(kept_since))
        span = progress.behind(slo.counted_from, oldest, self._chunk(slo))
        if span is not None:
            await self._count(slo.id, span, now, counted_from=span.start)
            return True
        if slo.counted_from > needed:  # there are no tasks to count
            async with self._db.read() as connection:
                await connection.execute(sql.REACHED, slo.id, needed)
        return False

    def kept_since(self, now: datetime) -> datetime | None:
        """Tasks that ended before it may be deleted; None: none are."""
        return now - timedelta(seconds=self._kept_s) if self._kept_s else None

    async def _reopened(self, slo: SloRecord, heard_until: datetime, now: datetime) -> None:
        """Count again the minutes about whose tasks something was said since."""
        objective, scope = slo.objective, slo.objective.scope
        assert slo.counted_from is not None
        # Of a minute some of whose tasks are deleted already, what is left is not what it was.
        whole_since = self.kept_since(now + timedelta(hours=1)) or slo.counted_from
        oldest = max(slo.counted_from, whole_since)
        again = progress.again_from(heard_until)
        async with self._db.read() as connection:
            rows = await connection.fetch(
                sql.REOPENED, again, now, oldest, again, objective.settle_after_s,
                scope.tenant, scope.pool, scope.label_key, scope.label_value,
            )  # fmt: skip
        for span in progress.stretches(row["start"] for row in rows):
            await self._count(slo.id, span, now)

    async def _count(
        self,
        slo_id: UUID,
        span: Span,
        now: datetime,
        *,
        counted_from: datetime | None = None,
        counted_until: datetime | None = None,
    ) -> None:
        began, chunk_s = self._monotonic(), self._chunks.get(slo_id, progress.FIRST_CHUNK_S)
        try:
            async with self._db.read() as connection, connection.transaction():
                await _replace(connection, slo_id, span, now, counted_from, counted_until)
        finally:  # a statement that was given up took longest
            took_s = self._monotonic() - began
            if span.seconds >= chunk_s or took_s > progress.SLOW_S:  # a short one says nothing about a long one
                self._chunks[slo_id] = progress.chunk_after(chunk_s, took_s)
        reach("slo.counted")

    def _chunk(self, slo: SloRecord) -> int:
        return self._chunks.get(slo.id, progress.FIRST_CHUNK_S)


async def _replace(
    connection: HotConnection,
    slo_id: UUID,
    span: Span,
    now: datetime,
    counted_from: datetime | None,
    counted_until: datetime | None,
) -> None:
    row = await connection.fetchrow(sql.LOCK, slo_id)
    if row is None:  # deleted, or it counts something else by now
        return
    slo = record(row)
    # A statement after the lock sees all that another manager saw before us.
    found = await counts.read(connection, slo.objective, span, now)
    await buckets.replace(connection, slo_id, span, found)
    reach("slo.replaced")
    # What lies after now is from before the clock was set back: it was counted empty.
    begun, until = slo.counted_from or span.start, min(slo.counted_until or span.end, now)
    if counted_from is not None:
        begun = min(begun, counted_from)
    if counted_until is not None:
        until = max(until, counted_until)
    if (begun, until) != (slo.counted_from, slo.counted_until):
        await connection.execute(sql.COUNTED, slo_id, begun, until)
