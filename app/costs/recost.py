"""Usage is priced again after a price was put right: what it costs more or less is a new row, never an edit.

A job (`recosts`) is one model's usage of a span of time. Its usage is looked at in the order of time; each batch writes
the differences and how far it came in one transaction, under a lock of the model, so a job that is cut short goes on
where it was and two managers never price the same usage at once. A row that costs what it should gets nothing, so a
span that is priced twice is right as well.

A price never takes a cost away: usage that the present prices do not cover keeps what it cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app.core.db import Database, HotConnection
from app.costs.prices import PriceBook
from app.costs.rollup import add_dirty

BATCH = 2000
LAG_S = 5.0
"""Usage becomes visible when its transaction ends; none takes longer (`idle_in_transaction_session_timeout`)."""
FIRST_SLICE = timedelta(hours=1)
LEAST_SLICE = timedelta(seconds=10)

type OnRecost = Callable[[HotConnection, Mapping[UUID, Decimal]], Awaitable[None]]
"""Called in the transaction that writes the rows, with what each task costs more (or less) now: the place where other
domains follow (`tasks.cost_usd`, budgets). What it raises undoes the batch, which is tried again."""

# Of each model the oldest job, and only one that nobody works on.
_TAKE = """
SELECT id, model, coalesce(after_at, from_at) AS after_at, after_at IS NULL AS first, until_at,
  least(until_at, clock_timestamp() - $1 * interval '1 second') AS reach
FROM recosts r
WHERE finished_at IS NULL AND NOT (id = ANY($2::uuid[]))
  AND NOT EXISTS (SELECT FROM recosts o WHERE o.finished_at IS NULL AND o.model = r.model AND o.id < r.id)
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('recost ' || $1, 0))"
# `$2` itself belongs to the slice when the job begins, and was done with the slice before otherwise.
_ROWS = """
WITH slice AS (
  SELECT task_id, fence, ordinal, model, input_tokens, output_tokens, quantities, at, cost_usd FROM usage
  WHERE model = $1 AND kind IN ('reported', 'correction') AND at >= $2 AND ($3 OR at > $2) AND at < $4
  ORDER BY at FETCH FIRST $5 ROWS WITH TIES
)
SELECT s.*, c.cost_usd AS recosted
FROM slice s, LATERAL (
  SELECT sum(cost_usd) AS cost_usd FROM usage u
  WHERE u.task_id = s.task_id AND u.fence = s.fence AND u.of_ordinal = s.ordinal
) c
"""
_WRITE = """
INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities, at, kind,
  type, outcome, complexity, synthetic, labels, cost_usd, price_version, of_ordinal)
SELECT u.task_id, u.fence,
  (SELECT max(m.ordinal) FROM usage m WHERE m.task_id = u.task_id AND m.fence = u.fence)
    + row_number() OVER (PARTITION BY u.task_id, u.fence ORDER BY u.ordinal),
  u.tenant, u.pool, u.model, 0, 0, '{}', u.at, 'recost', u.type, u.outcome, u.complexity, u.synthetic, u.labels,
  n.delta, n.version, u.ordinal
FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::numeric[], $5::text[])
    AS n(task_id, fence, ordinal, delta, version)
  JOIN usage u ON u.task_id = n.task_id AND u.fence = n.fence AND u.ordinal = n.ordinal
"""
_PROGRESS = """
UPDATE recosts SET after_at = $2, rows = rows + $3, delta_usd = delta_usd + $4,
  finished_at = CASE WHEN $5 THEN clock_timestamp() END
WHERE id = $1
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A usage row that costs `delta` USD more than was counted so far."""

    task_id: UUID
    fence: int
    ordinal: int
    at: datetime
    delta: Decimal
    version: str


@dataclass(frozen=True, slots=True)
class _Done:
    """One batch: how many rows were written, and whether the job can go on now."""

    job: UUID
    written: int
    more: bool


def difference(row: Mapping[str, Any], book: PriceBook) -> Difference | None:
    """What a usage row (with `recosted`, the sum of its recosts so far) should cost more; None: nothing."""
    quantities = row["quantities"]
    quantities = orjson.loads(quantities) if isinstance(quantities, str | bytes) else quantities
    counted = {name: value for name, value in quantities.items() if type(value) in (int, float)}
    priced = book.price(row["model"], row["input_tokens"], row["output_tokens"], counted, row["at"])
    if priced.cost_usd is None or priced.version is None:
        return None
    unpriced = row["cost_usd"] is None and row["recosted"] is None
    delta = priced.cost_usd - (row["cost_usd"] or Decimal(0)) - (row["recosted"] or Decimal(0))
    # Usage that was unpriced and turns out to be free needs a row all the same: it has a price now.
    if not delta and not unpriced:
        return None
    return Difference(row["task_id"], row["fence"], row["ordinal"], row["at"], delta, priced.version)


class Recosts:
    """`tick()` until every open job is done. Any manager may tick; two do no harm."""

    def __init__(
        self,
        db: Database,
        book: PriceBook,
        *,
        on_recost: OnRecost | None = None,
        batch: int = BATCH,
        lag_s: float = LAG_S,
    ) -> None:
        self._db, self._book, self._batch, self._lag_s = db, book, batch, lag_s
        self.on_recost = on_recost
        # How far the next look at a job reaches; of no consequence for what it finds.
        self._slices: dict[UUID, timedelta] = {}

    async def tick(self) -> float | None:
        """Work on the open jobs until none can go on now."""
        waiting: list[UUID] = []
        while (done := await self.run_once(waiting)) is not None:
            if not done.more:
                waiting.append(done.job)
                self._slices.pop(done.job, None)
        return None

    async def run_once(self, skipped: Sequence[UUID] = ()) -> _Done | None:
        """One batch of the oldest job that is not in `skipped`; None: there is none."""
        async with self._db.hot() as connection, connection.transaction():
            job = await connection.fetchrow(_TAKE, self._lag_s, list(skipped))
            if job is None:
                return None
            if not await connection.fetchval(_LOCK, job["model"]):
                return _Done(job["id"], 0, more=False)
            # The price that opened the job was committed before it.
            await self._book.refresh()
            return await self._batch_of(connection, job)

    async def _batch_of(self, connection: HotConnection, job: asyncpg.Record) -> _Done:
        after, reach, first = job["after_at"], job["reach"], job["first"]
        if after >= reach:
            if after >= job["until_at"]:
                return await self._keep(connection, job, after, [], done=True)
            return _Done(job["id"], 0, more=False)
        slice_ = self._slices.get(job["id"], FIRST_SLICE)
        end = min(reach, after + slice_) if reach - after > slice_ else reach
        rows = await connection.fetch(_ROWS, job["model"], after, first, end, self._batch)
        full = len(rows) >= self._batch
        self._slices[job["id"]] = max(LEAST_SLICE, slice_ / 4) if full else slice_ * 2
        found = [item for row in rows if (item := difference(dict(row), self._book)) is not None]
        # What stands at `end` itself is still to come, so the next look begins just before it.
        reached = max(row["at"] for row in rows) if full else end - timedelta(microseconds=1)
        done = not full and end >= job["until_at"]
        return await self._keep(connection, job, reached, found, done=done)

    async def _keep(
        self, connection: HotConnection, job: asyncpg.Record, reached: datetime, found: list[Difference], *, done: bool
    ) -> _Done:
        if found:
            rows = [(item.task_id, item.fence, item.ordinal, item.delta, item.version) for item in found]
            await connection.execute(_WRITE, *map(list, zip(*rows, strict=True)))
            await add_dirty(connection, [item.at for item in found])
            if self.on_recost is not None:
                await self.on_recost(connection, _by_task(found))
        total = sum((item.delta for item in found), Decimal(0))
        await connection.execute(_PROGRESS, job["id"], reached, len(found), total, done)
        stuck = not done and reached >= job["reach"] - timedelta(microseconds=1)
        return _Done(job["id"], len(found), more=not done and not stuck)


def _by_task(found: Sequence[Difference]) -> dict[UUID, Decimal]:
    deltas: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    for item in found:
        deltas[item.task_id] += item.delta
    return dict(deltas)
