"""The statements of probes and their runs. `$n` are their arguments."""

# ruff: noqa: S608 - built of constants only

from __future__ import annotations

from app.tasks.models import FINAL_STATUSES

COLUMNS = (
    "id, name, pool, type, payload, every_s, timeout_s, checks, fail_after, of_last, labels, enabled, asked_at, "
    "next_at, created_by, created_at, updated_at"
)
RUN_COLUMNS = "planned_at, by_hand, outcome, reason, task_id, checks, latency_s, made_at, judged_at"
_FINAL = ", ".join(f"'{status}'" for status in FINAL_STATUSES)

NOW = "SELECT clock_timestamp()"
ONE = f"SELECT {COLUMNS} FROM probes WHERE name = $1"
LOCK = f"{ONE} FOR UPDATE"
PAGE = f"SELECT {COLUMNS} FROM probes WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2"
OTHERS = "SELECT count(*) FROM probes WHERE name <> $1 AND NOT EXISTS (SELECT FROM probes WHERE name = $1)"
INSERT = f"""
INSERT INTO probes (id, name, pool, type, payload, every_s, timeout_s, checks, fail_after, of_last, labels, enabled,
  next_at, created_by, asked_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, clock_timestamp(), clock_timestamp(),
  clock_timestamp())
ON CONFLICT (name) DO NOTHING RETURNING {COLUMNS}
"""
REPLACE = f"""
UPDATE probes SET pool = $2, type = $3, payload = $4, every_s = $5, timeout_s = $6, checks = $7, fail_after = $8,
  of_last = $9, labels = $10, enabled = $11, next_at = $12, created_by = $13,
  asked_at = CASE WHEN $14 THEN clock_timestamp() ELSE asked_at END, updated_at = clock_timestamp()
WHERE id = $1 RETURNING {COLUMNS}
"""
DELETE = "DELETE FROM probes WHERE id = $1"

DUE = "SELECT id FROM probes WHERE enabled AND next_at <= $1 ORDER BY next_at, id"
TAKE = f"SELECT {COLUMNS} FROM probes WHERE id = $1 AND enabled AND next_at <= $2 FOR UPDATE SKIP LOCKED"
MOVE = "UPDATE probes SET next_at = $2 WHERE id = $1"
NEXT = "SELECT min(next_at) FROM probes WHERE enabled"
RUN = f"""
INSERT INTO probe_runs (probe_id, planned_at, by_hand, outcome, reason, task_id, made_at, judged_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), CASE WHEN $4 = 'error' THEN clock_timestamp() END)
ON CONFLICT (probe_id, planned_at) DO NOTHING RETURNING {RUN_COLUMNS}
"""
TASK_OF_KEY = "SELECT id FROM tasks WHERE tenant = $1 AND idempotency_key = $2"

# Those whose time has run out, with what may keep them.
LATE = f"""
SELECT t.id, t.pool, t.status, t.priority, t.parked_by IS NOT NULL AS parked
FROM probe_runs r JOIN probes p ON p.id = r.probe_id JOIN tasks t ON t.id = r.task_id
WHERE r.outcome = 'pending' AND t.status NOT IN ({_FINAL})
  AND clock_timestamp() > t.created_at + make_interval(secs => p.timeout_s)
ORDER BY t.id LIMIT $1
"""
# Those whose task has ended, or is not there.
ENDED = f"""
SELECT r.probe_id, r.planned_at, p.timeout_s, p.checks, t.status, t.result, t.error_code, t.error_message,
  COALESCE(extract(epoch FROM t.finished_at - t.created_at), 0)::float8 AS seconds
FROM probe_runs r JOIN probes p ON p.id = r.probe_id LEFT JOIN tasks t ON t.id = r.task_id
WHERE r.outcome = 'pending' AND (t.id IS NULL OR t.status IN ({_FINAL}))
ORDER BY r.made_at LIMIT $1
"""
JUDGE = """
UPDATE probe_runs SET outcome = $3, reason = $4, checks = $5, latency_s = $6, judged_at = clock_timestamp()
WHERE probe_id = $1 AND planned_at = $2 AND outcome = 'pending'
"""
CLOSE = """
UPDATE probe_runs SET outcome = 'error', reason = $2, judged_at = clock_timestamp()
WHERE probe_id = $1 AND outcome = 'pending' RETURNING task_id
"""
OPEN_TASKS = "SELECT task_id FROM probe_runs WHERE probe_id = $1 AND outcome = 'pending' AND task_id IS NOT NULL"
TRIM = """
DELETE FROM probe_runs r USING probes p,
  LATERAL (SELECT planned_at FROM probe_runs WHERE probe_id = p.id ORDER BY planned_at DESC OFFSET $1 LIMIT 1) oldest
WHERE r.probe_id = p.id AND r.planned_at <= oldest.planned_at AND r.outcome <> 'pending'
"""

RUNS = f"""
SELECT {RUN_COLUMNS} FROM probe_runs
WHERE probe_id = $1 AND ($2::timestamptz IS NULL OR planned_at < $2) ORDER BY planned_at DESC LIMIT $3
"""
# Of each probe the last runs that it is judged by, newest first.
SEEN = """
SELECT r.probe_id, r.planned_at, r.outcome, r.reason, r.latency_s
FROM unnest($1::uuid[]) AS i(id) JOIN probes p ON p.id = i.id CROSS JOIN LATERAL (
  SELECT * FROM probe_runs
  WHERE probe_id = p.id AND outcome <> 'pending' AND made_at >= p.asked_at
  ORDER BY planned_at DESC LIMIT p.of_last) r
ORDER BY r.probe_id, r.planned_at DESC
"""
WATCHED = f"SELECT {COLUMNS} FROM probes WHERE enabled ORDER BY name"
