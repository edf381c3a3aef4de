"""The sweep: what becomes due is made claimable, what missed its start deadline expires."""

from __future__ import annotations

from collections.abc import Callable

from app.core.db import Database
from app.events.hub import Hub
from app.tasks import queue
from app.tasks.queue import Freed

BATCH = 1000


class SweepLoop:
    """Every manager runs it; rows are locked with SKIP LOCKED, so each is moved once."""

    def __init__(
        self,
        db: Database,
        hub: Hub,
        on_queued: Callable[[set[str]], None],
        interval_s: float,
        on_freed: Callable[[Freed], None] = lambda _freed: None,
    ) -> None:
        self._db, self._hub, self._on_queued, self._interval_s = db, hub, on_queued, interval_s
        self._on_freed = on_freed

    async def tick(self) -> float | None:
        freed = Freed()
        async with self._db.hot() as connection:
            pools = await queue.wake_due(connection, BATCH, freed)
            expired = await queue.expire(connection, BATCH, freed)
            next_s = await queue.next_wake_s(connection)
        if pools:
            self._on_queued(set(pools))
        self._hub.changed(expired)
        if freed:
            self._on_freed(freed)
        if len(expired) == BATCH:
            return 0.0
        return self._interval_s if next_s is None else min(self._interval_s, max(0.001, next_s))
