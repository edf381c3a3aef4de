"""The SQL of objectives."""

from __future__ import annotations

from app.slo.records import COLUMNS, WRITTEN

# Writers of objectives stand in line: so many there may be, and a name is one objective.
LOCK_ALL = "SELECT pg_advisory_xact_lock(hashtext('slos'))"
COUNT = "SELECT count(*) FROM slos"
KNOWN_POOL = "SELECT EXISTS (SELECT FROM pools WHERE name = $1)"
FIND = f"SELECT {COLUMNS} FROM slos WHERE owner = $1 AND name = $2"  # noqa: S608 - only constants
# $2: of tasks of any tenant too.
GET = f"SELECT {COLUMNS} FROM slos WHERE owner = $1 AND ($2 OR tenant = $1) AND name = $3"  # noqa: S608
PAGE = f"""
SELECT {COLUMNS} FROM slos WHERE owner = $1 AND ($2 OR tenant = $1) AND ($3::text IS NULL OR name > $3)
ORDER BY name LIMIT $4
"""  # noqa: S608
ALL = f"SELECT {COLUMNS} FROM slos ORDER BY id"  # noqa: S608
# Whoever counts an objective has it alone; its buckets may be read and refer to it meanwhile.
LOCK = f"SELECT {COLUMNS} FROM slos WHERE id = $1 FOR NO KEY UPDATE"  # noqa: S608
DELETE = f"DELETE FROM slos WHERE owner = $1 AND name = $2 RETURNING {COLUMNS}"  # noqa: S608
_NUMBERS = ", ".join(f"${place}" for place in range(1, len(WRITTEN.split(",")) + 1))
INSERT = f"""
INSERT INTO slos ({WRITTEN}, created_at, updated_at) VALUES ({_NUMBERS}, clock_timestamp(), clock_timestamp())
RETURNING {COLUMNS}
"""  # noqa: S608
UPDATE = f"""
UPDATE slos SET ({WRITTEN}, updated_at) = ROW({_NUMBERS}, clock_timestamp()) WHERE id = $1 RETURNING {COLUMNS}
"""  # noqa: S608
COUNTED = "UPDATE slos SET counted_from = $2, counted_until = $3 WHERE id = $1"
REACHED = "UPDATE slos SET counted_from = $2 WHERE id = $1 AND counted_from > $2"

# Minutes of an accuracy objective about whose tasks something was said in time: said in [$1, $2), about tasks that
# ended in [$3, $4). $5: seconds until a bucket settles; $6 to $9: the scope.
REOPENED = """
SELECT DISTINCT date_bin('60 seconds', t.finished_at, 'epoch'::timestamptz) AS start
FROM feedback f JOIN tasks t ON t.id = f.task_id
WHERE f.at >= $1::timestamptz AND f.at < $2::timestamptz
  AND t.finished_at >= $3::timestamptz AND t.finished_at < $4::timestamptz
  AND f.at < date_bin('60 seconds', t.finished_at, 'epoch'::timestamptz) + make_interval(secs => 60 + $5::int)
  AND ($6::text IS NULL OR t.tenant = $6) AND ($7::text IS NULL OR t.pool = $7)
  AND ($8::text IS NULL OR t.labels @> jsonb_build_object($8, $9::text))
ORDER BY 1
"""
# What nobody judged in time stays unscored: its tasks need not be looked at again, which may be gone by now.
SETTLE = """
UPDATE slo_buckets SET unscored = unscored + pending, pending = 0,
  named = ((named::jsonb - 'pending') || jsonb_build_object('unscored', unscored + pending))::json
WHERE slo_id = $1 AND pending > 0 AND start < $2
"""
DROP = """
DELETE FROM slo_buckets WHERE slo_id = $1 AND start < $2 AND start <= (
  SELECT max(start) FROM (SELECT start FROM slo_buckets WHERE slo_id = $1 ORDER BY start LIMIT $3) oldest)
"""
# Of tasks that are gone.
FORGET_FEEDBACK = """
DELETE FROM feedback WHERE id = ANY(ARRAY(
  SELECT f.id FROM feedback f WHERE f.at < $1::timestamptz AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = f.task_id)
  LIMIT $2))
"""
NAMED = """
SELECT e.key, sum(e.value::bigint)::bigint AS n FROM slo_buckets b CROSS JOIN LATERAL json_each_text(b.named) e
WHERE b.slo_id = $1 AND b.start >= $2 AND b.start < $3 GROUP BY 1 ORDER BY 1
"""
# $2: hour or day; $3: the zone; $4: those that begin before.
HISTORY = """
SELECT date_trunc($2, b.start, $3) AS start, sum(good)::bigint AS good, sum(bad)::bigint AS bad,
  sum(unscored)::bigint AS unscored, sum(pending)::bigint AS pending, sum(excluded)::bigint AS excluded
FROM slo_buckets b
WHERE slo_id = $1 AND ($4::timestamptz IS NULL OR b.start < $4)
GROUP BY 1 ORDER BY 1 DESC LIMIT $5
"""

SAY = """
INSERT INTO feedback (id, task_id, tenant, source, evaluator, version, score, label, comment, said_by, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp())
RETURNING id, task_id, source, evaluator, version, score, label, comment, said_by, at
"""
SAID = """
SELECT id, task_id, source, evaluator, version, score, label, comment, said_by, at FROM feedback
WHERE task_id = $1 AND tenant = $2 AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4
"""
SAID_COUNT = "SELECT count(*) FROM feedback WHERE task_id = $1"
TASK_EXISTS = "SELECT 1 FROM tasks WHERE id = $1 AND tenant = $2"
JUDGED_TASK = "SELECT status FROM tasks WHERE id = $1 AND tenant = $2 FOR KEY SHARE"
