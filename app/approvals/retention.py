"""Approvals are kept as long as their tasks."""

from __future__ import annotations

from uuid import UUID

from app.core.db import Database
from app.core.leader import Leader

BATCH = 1000
INTERVAL_S, NEXT_S = 60.0, 1.0
FIRST_ID = UUID(int=0)

# Votes and notices go with their approval.
_FORGET = """
WITH seen AS (
  SELECT id, task_id FROM approvals WHERE id > $1 ORDER BY id LIMIT $2
), gone AS (
  DELETE FROM approvals a USING seen s
  WHERE a.id = s.id AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = s.task_id) RETURNING 1
)
SELECT (SELECT id FROM seen ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM gone) AS deleted
"""


class RetentionLoop:
    """Walks the approvals from the oldest on, and deletes those whose tasks are no more. A tick is one batch."""

    def __init__(self, db: Database, leader: Leader, batch: int = BATCH) -> None:
        self._db, self._leader, self._batch = db, leader, batch
        self._after = FIRST_ID

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            self._after = FIRST_ID
            return None
        async with self._db.hot() as connection:
            row = await connection.fetchrow(_FORGET, self._after, self._batch)
        assert row is not None
        self._after = row["last"] or FIRST_ID
        return None if row["last"] is None else NEXT_S
