"""Every manager's copy of the budgets: read by a hint and by time, so that asking them costs no query."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from app.core.batch import Batcher
from app.core.db import Database
from app.costs.records import BudgetRecord

TOPIC = "budgets"

COLUMNS = """name, id, tenant, pool, model, label_key, label_value, per, window_kind, zone, rolling_s, unit, "limit",
  thresholds, on_exhausted, control, created_by, created_by_tenant, created_at, updated_at"""
# One statement, so the epoch is that of the budgets.
_ALL = f"""
SELECT e.epoch, b.* FROM budget_epoch e LEFT JOIN (SELECT {COLUMNS} FROM budgets) b ON true
WHERE e.id = 1 ORDER BY b.name
"""  # noqa: S608 - only constants


class BudgetView:
    """All budgets as of the last `refresh`. Read it freely; never change it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # One read at a time: an older one must not replace a newer one.
        self._reads: Batcher[None, None] = Batcher(self._read_for, limit=10_000)
        self.epoch = -1
        self.budgets: tuple[BudgetRecord, ...] = ()

    async def refresh(self) -> None:
        """Read them, in a read that begins after this call; callers that come together share one."""
        await self._reads.put(None)

    async def tick(self) -> float | None:
        """The loop's pass: what a lost hint would have told."""
        await self.refresh()
        return None

    async def _read_for(self, callers: Sequence[None]) -> Sequence[None]:
        async with self._db.read() as connection:
            rows = await connection.fetch(_ALL)
        self.epoch = rows[0]["epoch"] if rows else 0
        self.budgets = tuple(
            BudgetRecord.of({**dict(row), "thresholds": orjson.loads(row["thresholds"])})
            for row in rows
            if row["name"] is not None
        )
        return callers
