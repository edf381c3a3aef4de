"""Retention: a task that ended long ago goes, with its attempts and events. Its usage stays: that is money.

Ids are UUIDv7, so the key of `tasks` is its own index of age: a pass walks it from the oldest task towards the youngest
that can be old enough, one batch a statement, and the hot path keeps up no index for us. The id only bounds the walk;
whether a task goes is decided by the database's clock and `finished_at`, on the locked row. One statement deletes a
task whole, so a pass that is cut short leaves nothing half, and two passes at once delete each row once: rows that the
other holds are skipped, never waited for.

With its row a task's idempotency key is forgotten: the same key makes a new task then.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import text

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.settings import TaskSettings
from app.tasks.models import FINAL_STATUSES
from app.tasks.queue_sql import FULL_TURN, head_of

log = structlog.get_logger()

DELETED = Counter("yard_retention_deleted", "Rows deleted for their age.", ["table"])

FIRST_ID = UUID(int=0)
TURNS_BEHIND = 1000 * FULL_TURN
RESTS = 3.0

_FINAL = ", ".join(f"'{status}'" for status in FINAL_STATUSES)

# A task's own row counts what hangs on it: `event_seq` its events, `fence` its attempts. So a batch is cut by rows
# before they are looked at, and holds one task at least. Arrays and not joins: each row is found by its key, whatever
# the planner believes of the tables' sizes.
DELETE = text(f"""
WITH seen AS (
  SELECT id, sum(1 + event_seq + fence) OVER (ORDER BY id) - (1 + event_seq + fence) AS rows_before
  FROM (SELECT id, event_seq, fence FROM tasks WHERE id > CAST(:after AS uuid) AND id < CAST(:before AS uuid)
        ORDER BY id LIMIT CAST(:batch AS int)) next
), batch AS (
  SELECT id FROM seen WHERE rows_before < CAST(:batch AS int)
), old AS (
  SELECT id, stepped FROM tasks
  WHERE id = ANY(ARRAY(SELECT id FROM batch)) AND status IN ({_FINAL})
    AND finished_at < now() - make_interval(secs => CAST(:keep_s AS float8))
    AND (root_id IS NULL OR NOT EXISTS (SELECT FROM tasks r WHERE r.id = tasks.root_id AND r.finished_at IS NULL))
  FOR UPDATE SKIP LOCKED
), without_events AS (
  DELETE FROM events WHERE task_id = ANY(ARRAY(SELECT id FROM old)) RETURNING 1
), without_steps AS (
  DELETE FROM task_steps WHERE task_id = ANY(ARRAY(SELECT id FROM old WHERE stepped))
), without_uses AS (
  DELETE FROM signal_uses WHERE task_id = ANY(ARRAY(SELECT id FROM old WHERE stepped))
), without_attempts AS (
  DELETE FROM attempts WHERE task_id = ANY(ARRAY(SELECT id FROM old)) RETURNING 1
), gone AS (
  DELETE FROM tasks WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING 1
)
SELECT (SELECT id FROM batch ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM gone) AS tasks,
  (SELECT count(*) FROM without_attempts) AS attempts, (SELECT count(*) FROM without_events) AS events
""")  # noqa: S608 - only constants

# A tenant's turn is the later of its row's and the queue's head, so a row behind the head says nothing. The furthest
# row stays: it is the head when the queue is empty. Only rows far behind go, because a submission that is under way may
# still reckon with an older head.
_TRIM = text(f"""
WITH levels AS (
  SELECT pool, priority, max(last_tag) AS furthest FROM queue_tags GROUP BY pool, priority HAVING count(*) > 1
), heads AS (
  SELECT pool, priority, LEAST(furthest, {head_of("l", "1")}) - CAST(:behind AS bigint) AS bound FROM levels l
), passed AS (
  SELECT g.pool, g.priority, g.tenant FROM queue_tags g JOIN heads h USING (pool, priority)
  WHERE g.last_tag < h.bound LIMIT CAST(:batch AS int) FOR UPDATE OF g SKIP LOCKED
)
DELETE FROM queue_tags g USING passed p
WHERE g.pool = p.pool AND g.priority = p.priority AND g.tenant = p.tenant
""")  # noqa: S608 - only constants


def id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 (RFC 9562: 48 bits of Unix milliseconds first) made at `moment` or later."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=milliseconds << 80)


def rest_s(took_s: float) -> float:
    """How long to rest after a batch, in seconds: deleting takes a quarter of one connection's time, not all of it."""
    return RESTS * took_s


async def trim_turns(db: Database, behind: int, limit: int) -> int:
    """Delete up to `limit` rows of `queue_tags` that are more than `behind` turns behind their queue's head."""
    async with db.begin() as connection:
        return (await connection.execute(_TRIM, {"behind": behind, "batch": limit})).rowcount


@dataclass(slots=True)
class Deleted:
    """Rows deleted, by table."""

    tasks: int = 0
    attempts: int = 0
    events: int = 0
    queue_tags: int = 0

    def __iadd__(self, other: Deleted) -> Deleted:
        for field in fields(self):
            count = getattr(other, field.name)
            setattr(self, field.name, getattr(self, field.name) + count)
            DELETED.labels(field.name).inc(count)
        return self

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


class RetentionLoop:
    """One pass: batch after batch from the oldest task on, a rest after each; then turns that tenants are past.

    A tick is one batch. The connection is a cold one: nothing that moves a task waits for it.
    """

    def __init__(self, db: Database, leader: Leader, clock: Clock, settings: TaskSettings) -> None:
        self._db, self._leader, self._clock = db, leader, clock
        self._keep_s, self._batch = settings.retention_s, settings.retention_batch
        self._after = FIRST_ID
        self._deleted = Deleted()

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            self._after = FIRST_ID
            return None
        began = self._clock.monotonic()
        more = bool(self._keep_s) and await self._next_batch()
        if not more:
            self._deleted += Deleted(queue_tags=await trim_turns(self._db, TURNS_BEHIND, self._batch))
            self._end_pass()
            return None
        return rest_s(self._clock.monotonic() - began)

    async def _next_batch(self) -> bool:
        """Delete what is old among the next tasks; False when there are no more to look at."""
        before = id_at(self._clock.now() - timedelta(seconds=self._keep_s))
        values = {"after": self._after, "before": before, "batch": self._batch, "keep_s": self._keep_s}
        async with self._db.begin() as connection:
            row = (await connection.execute(DELETE, values)).one()
        self._deleted += Deleted(row.tasks, row.attempts, row.events)
        if row.last is None:
            return False
        self._after = row.last
        return True

    def _end_pass(self) -> None:
        if self._deleted:
            log.info(
                "retention_deleted", **{field.name: getattr(self._deleted, field.name) for field in fields(Deleted)}
            )
        self._after, self._deleted = FIRST_ID, Deleted()
