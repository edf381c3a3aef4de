"""How full each pool's queue is: counted now and then, and carried forward by what we added ourselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.approvals.queries import held_starts
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Unavailable
from app.tasks import queue

CLOSE = 0.8
RECOUNT_CLOSE_S, RECOUNT_FAR_S = 0.5, 5.0


class QueueFull(Unavailable):
    code, title = "queue_full", "The pool's queue is full"


@dataclass(slots=True)
class _Estimate:
    queued: int
    added: int
    counted_at: float
    due: float


class Depth:
    """Refuses submissions past `max_queued` per pool: of the tasks that are queued or held until people agree to them.

    The bound is kept by counts at most 5 s old (0.5 s near the bound) plus what this manager added since, so several
    managers together may overshoot it by what the others accept in that time.
    """

    def __init__(self, db: Database, clock: Clock, max_queued: int) -> None:
        self._db, self._clock, self._max = db, clock, max_queued
        self._estimates: dict[str, _Estimate] = {}

    async def admit(self, counts: Mapping[str, int]) -> None:
        """Note submissions by pool; raises QueueFull, having noted none, when those of one pool do not fit."""
        estimates = {pool: await self._estimate(pool, count) for pool, count in counts.items()}
        for pool, estimate in estimates.items():
            if not self._fits(estimate, counts[pool]):
                raise QueueFull(
                    f"The queue of {pool!r} holds its {self._max} tasks; try again later.", retry_after_s=2.0
                )
        for pool, estimate in estimates.items():
            estimate.added += counts[pool]

    async def _estimate(self, pool: str, count: int) -> _Estimate:
        estimate = self._estimates.get(pool)
        if estimate is None or not self._fits(estimate, count):
            return await self._recount(pool, estimate, count)
        if self._clock.monotonic() >= estimate.due:
            # One of those that come counts; the others need not all do the same work.
            estimate.due = self._clock.monotonic() + RECOUNT_CLOSE_S
            return await self._recount(pool, estimate, count)
        return estimate

    def _fits(self, estimate: _Estimate, count: int) -> bool:
        return estimate.queued + estimate.added + count <= self._max

    async def _recount(self, pool: str, last: _Estimate | None, count: int) -> _Estimate:
        now = self._clock.monotonic()
        if last is not None and now - last.counted_at < RECOUNT_CLOSE_S and not self._fits(last, count):
            return last  # counted a moment ago: full is full
        async with self._db.hot() as connection:
            queued = await queue.depth(connection, pool, self._max + 1)
            queued += await held_starts(connection, pool, self._max + 1)
        close = queued + count >= CLOSE * self._max
        fresh = _Estimate(queued, 0, now, now + (RECOUNT_CLOSE_S if close else RECOUNT_FAR_S))
        self._estimates[pool] = fresh
        return fresh
