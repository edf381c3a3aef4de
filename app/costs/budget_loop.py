"""The leader's pass over budgets: thresholds each time, and now and then proof and retention."""

from __future__ import annotations

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.costs import reconcile
from app.costs.thresholds import Thresholds

UPKEEP_S = 60.0
NEXT_S = 1.0


class BudgetLoop:
    """One tick: report thresholds; every minute compare accounts with tasks, and forget those of long ago."""

    def __init__(self, db: Database, leader: Leader, clock: Clock, thresholds: Thresholds, keep_s: float) -> None:
        self._db, self._leader, self._clock = db, leader, clock
        self._thresholds, self._keep_s = thresholds, keep_s
        self._upkeep_at = 0.0

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            self._thresholds.forget()
            return None
        await self._thresholds.run()
        if self._clock.monotonic() < self._upkeep_at:
            return None
        await reconcile.relimit(self._db)
        await reconcile.reconcile(self._db)
        if await reconcile.prune(self._db, self._keep_s) == reconcile.BATCH:
            return NEXT_S
        self._upkeep_at = self._clock.monotonic() + UPKEEP_S
        return None
