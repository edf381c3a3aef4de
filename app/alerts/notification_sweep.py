"""What is over is removed, in small pieces; what a clock that jumped back left far ahead is due again."""

from __future__ import annotations

from app.alerts import group_sql as sql
from app.core.db import Database

BATCH = 5000
SILENCES_KEPT_S = 432_000.0
"""Alertmanager's default: 120 h."""

# A group that others look at right now waits for the next sweep.
_EMPTY = """
DELETE FROM alert_groups g USING (
  SELECT key FROM alert_groups e
  WHERE flushed AND lease IS NULL AND NOT EXISTS (SELECT FROM alert_group_members m WHERE m.group_key = e.key)
  FOR UPDATE SKIP LOCKED) AS empty
WHERE g.key = empty.key
"""
_MEND = """
UPDATE alert_groups g SET due_at = now(), next_flush_at = least(g.next_flush_at, now()),
  retry_at = CASE WHEN g.retry_at <= now() + interval '1 hour' THEN g.retry_at END,
  lease = CASE WHEN g.leased_until <= now() + make_interval(secs => $1) THEN g.lease END,
  leased_until = CASE WHEN g.leased_until <= now() + make_interval(secs => $1) THEN g.leased_until END
FROM receivers r WHERE r.name = g.receiver AND (
  g.next_flush_at > now() + make_interval(secs => greatest(r.group_wait_s, r.group_interval_s))
  OR g.retry_at > now() + interval '1 hour' OR g.leased_until > now() + make_interval(secs => $1))
"""
_OLD = (
    "DELETE FROM notifications WHERE id = ANY(ARRAY(SELECT id FROM notifications"
    " WHERE last_at < now() - make_interval(secs => $1) ORDER BY last_at LIMIT $2))"
)
_OLD_LOG = """
DELETE FROM notification_log l WHERE (l.group_key, l.receiver) IN (
  SELECT group_key, receiver FROM notification_log WHERE expires_at < now() ORDER BY expires_at LIMIT $1)
"""
_OLD_SILENCES = """
DELETE FROM silences WHERE id = ANY(ARRAY(
  SELECT id FROM silences WHERE ends_at < now() - make_interval(secs => $1) ORDER BY ends_at LIMIT $2))
"""


async def sweep(db: Database, *, retention_s: float, lease_s: float) -> None:
    """One pass."""
    async with db.hot() as connection:
        async with connection.transaction():
            if await connection.fetchval(sql.LOOK_LOCK):
                await connection.execute(_EMPTY)
        await connection.execute(_MEND, lease_s)
        await connection.execute(_OLD, retention_s, BATCH)
        await connection.execute(_OLD_LOG, BATCH)
        await connection.execute(_OLD_SILENCES, SILENCES_KEPT_S, BATCH)
