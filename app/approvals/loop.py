"""Ends approvals whose time is over, in every manager."""

from __future__ import annotations

from app.approvals import queries
from app.approvals.service import Approvals
from app.approvals.telemetry import PENDING
from app.core.clock import Clock
from app.core.db import Database

BATCH = 100
COUNT_INTERVAL_S = 10.0


class ExpiryLoop:
    """Every manager runs it: an approval is seen to by one, and is right when two see to it."""

    def __init__(self, db: Database, clock: Clock, approvals: Approvals) -> None:
        self._db, self._clock, self._approvals = db, clock, approvals
        self._count_at = clock.monotonic()

    async def tick(self) -> float | None:
        found = await self._approvals.expire_due(BATCH)
        if self._clock.monotonic() >= self._count_at:
            PENDING.set(await queries.pending(self._db))
            self._count_at = self._clock.monotonic() + COUNT_INTERVAL_S
        return 0.0 if found == BATCH else None
