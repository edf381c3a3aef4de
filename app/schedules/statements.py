"""The statements of schedules and their runs. `$n` are their arguments."""

# ruff: noqa: S608 - built of constants only

from __future__ import annotations

from app.tasks.models import FINAL_STATUSES

COLUMNS = (
    "id, tenant, name, cron, timezone, interval_s, anchor_at, at, task, misfire, misfire_grace_s, max_catch_up, "
    "overlap, paused, created_by, created_at, updated_at, next_at, backfill_from, backfill_until"
)
_FINAL = ", ".join(f"'{status}'" for status in FINAL_STATUSES)

ONE = f"SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND name = $2"
LOCK = f"{ONE} FOR UPDATE"
PAGE = f"SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3"
COUNT = "SELECT count(*) FROM schedules WHERE tenant = $1"
INSERT = f"""
INSERT INTO schedules (id, tenant, name, cron, timezone, interval_s, anchor_at, at, task, misfire, misfire_grace_s,
  max_catch_up, overlap, created_by, next_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (tenant, name) DO NOTHING RETURNING {COLUMNS}
"""
REPLACE = f"""
UPDATE schedules SET cron = $2, timezone = $3, interval_s = $4, anchor_at = $5, at = $6, task = $7, misfire = $8,
  misfire_grace_s = $9, max_catch_up = $10, overlap = $11, created_by = $12, next_at = $13, updated_at = now()
WHERE id = $1 RETURNING {COLUMNS}
"""
PAUSE = f"UPDATE schedules SET paused = $2, next_at = $3, updated_at = now() WHERE id = $1 RETURNING {COLUMNS}"
BACKFILL = f"UPDATE schedules SET backfill_from = $2, backfill_until = $3 WHERE id = $1 RETURNING {COLUMNS}"
DELETE = "DELETE FROM schedules WHERE tenant = $1 AND name = $2 RETURNING 1"

# What could have something to do. A tick that waits may wait on: that is looked at with the row locked.
DUE = """
SELECT id FROM schedules s
WHERE NOT paused AND (next_at <= $1 OR backfill_from IS NOT NULL
  OR EXISTS (SELECT FROM schedule_runs r WHERE r.schedule_id = s.id AND r.outcome = 'waiting'))
ORDER BY next_at NULLS LAST, id
"""
NEXT = "SELECT min(next_at) FROM schedules WHERE NOT paused AND next_at IS NOT NULL"
TAKE = f"SELECT {COLUMNS} FROM schedules WHERE id = $1 AND NOT paused FOR UPDATE SKIP LOCKED"
MOVE = "UPDATE schedules SET next_at = $2, backfill_from = $3, backfill_until = $4 WHERE id = $1"

OPEN = f"""
SELECT t.id FROM schedule_runs r JOIN tasks t ON t.id = r.task_id
WHERE r.schedule_id = $1 AND r.outcome = 'submitted' AND t.status NOT IN ({_FINAL})
"""
WAITING = "SELECT tick_at FROM schedule_runs WHERE schedule_id = $1 AND outcome = 'waiting' ORDER BY tick_at"
MADE = """
SELECT tick_at FROM schedule_runs
WHERE schedule_id = $1 AND tick_at = ANY($2) AND outcome IN ('submitted', 'waiting')
"""
# A tick that made no task may be made later, by a backfill; one that did stays as it is.
RECORD = """
INSERT INTO schedule_runs AS r (schedule_id, tick_at, outcome, reason, task_id)
SELECT $1, tick_at, outcome, reason, task_id
FROM unnest($2::timestamptz[], $3::text[], $4::text[], $5::uuid[]) AS new (tick_at, outcome, reason, task_id)
ON CONFLICT (schedule_id, tick_at) DO UPDATE
SET outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, task_id = EXCLUDED.task_id, made_at = now()
WHERE r.outcome <> 'submitted'
"""
TASKS_OF_KEYS = "SELECT idempotency_key, id FROM tasks WHERE tenant = $1 AND idempotency_key = ANY($2)"
# A run whose task is open stays, however old: the overlap policies find the task by it.
TRIM = f"""
DELETE FROM schedule_runs r WHERE schedule_id = $1 AND tick_at = ANY(ARRAY(
  SELECT tick_at FROM schedule_runs WHERE schedule_id = $1 AND outcome <> 'waiting'
  ORDER BY made_at DESC, tick_at DESC OFFSET $2))
AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = r.task_id AND t.status NOT IN ({_FINAL}))
"""
KEY_LIVES = """
SELECT EXISTS (
  SELECT FROM api_keys WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))
"""
RUNS = """
SELECT r.tick_at, r.outcome, r.reason, r.task_id, r.made_at, t.status
FROM schedule_runs r LEFT JOIN tasks t ON t.id = r.task_id
WHERE r.schedule_id = $1 AND ($2::timestamptz IS NULL OR r.tick_at < $2)
ORDER BY r.tick_at DESC LIMIT $3
"""
