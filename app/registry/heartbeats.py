"""Heartbeats: kept in memory, written to PostgreSQL in batches. Losing some only makes an agent look a little older.

They do not pass Redis: a manager that dies takes at most one interval of them with it, the agent's next one goes to
another manager, and a call of Redis would cost more than all the rest of a heartbeat.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database

# The time of a beat is the clock of the host that heard it. One that is ahead must not make an agent look alive in the
# future, nor let its beats outlast those that other hosts hear: no time counts as later than the database's own.
_FLUSH = """
UPDATE agents a SET heartbeat_at = h.at, last_seen_at = GREATEST(a.last_seen_at, h.at), running = h.running,
  status = CASE WHEN a.status NOT IN ('idle', 'busy') THEN a.status WHEN h.running > 0 THEN 'busy' ELSE 'idle' END
FROM (SELECT id, LEAST(at, now()) AS at, running
  FROM unnest($1::uuid[], $2::timestamptz[], $3::int[]) AS given(id, at, running)) h
WHERE a.id = h.id AND a.status <> 'gone' AND (a.heartbeat_at IS NULL OR LEAST(a.heartbeat_at, now()) <= h.at)
"""

type Beat = tuple[UUID, datetime, int]


class Heartbeats:
    """`record` is called by the edge, `flush` by a loop of every manager."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._kept: dict[UUID, Beat] = {}

    def record(self, agent_id: UUID, running: int) -> None:
        """Note one heartbeat; never waits and never fails."""
        self._kept[agent_id] = (agent_id, self._clock.now(), running)

    async def flush(self) -> None:
        """Write what was noted since the last time. Raises what the database raises, having kept it."""
        taken, self._kept = self._kept, {}
        if not taken:
            return
        try:
            await self._write(sorted(taken.values(), key=lambda beat: beat[0].int))
        except BaseException:
            self._kept = {**taken, **self._kept}
            raise

    async def _write(self, beats: list[Beat]) -> None:
        async with self._db.hot() as connection:
            await connection.execute(
                _FLUSH, [beat[0] for beat in beats], [beat[1] for beat in beats], [beat[2] for beat in beats]
            )
