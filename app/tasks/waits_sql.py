"""The statements by which `waits.py` lets tasks wait and go on, and `admission.py` gives keyed tasks their room."""

from app.tasks.moves_sql import BACK
from app.tasks.queue_sql import turns_of

# After SETTLE made the task `waiting`, in one transaction with it.
AWAIT = """
INSERT INTO waits (task_id, tenant, reason, step, due_at, event_name, event_match)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $7)
"""

# Only a task that still waits at this step goes on, so a doubled resume changes nothing. The outcome of the wait is a
# step like any other. A keyed task asks for room again.
RESUME = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::json[], $4::bool[]) AS i(id, step, result, failed)
), held AS (
  SELECT t.id, w.step, w.reason, w.since, i.result, i.failed
  FROM input i JOIN tasks t ON t.id = i.id JOIN waits w ON w.task_id = t.id AND w.step = i.step
  -- The wait too: while this waits for a lock, the task may go on and wait at its next step.
  WHERE t.status = 'waiting' ORDER BY t.id FOR UPDATE OF t, w
), over AS (
  DELETE FROM waits w USING held h WHERE w.task_id = h.id
), ranked AS (
  SELECT h.*, row_number() OVER (PARTITION BY t.pool, t.priority, t.tenant ORDER BY t.tag, t.id) AS nth
  FROM held h JOIN tasks t ON t.id = h.id
), moved AS (
  UPDATE tasks t SET status = 'queued', stepped = true,
    resume = json_build_object('step', r.step, 'reason', r.reason),
    waited_s = t.waited_s + extract(epoch FROM clock_timestamp() - r.since)::float8,
    tag = {BACK.format(nth="r.nth")}, agent_id = NULL, rejoin = false, rescues = 0,
    wake_at = CASE WHEN t.concurrency_key IS NOT NULL THEN 'infinity'::timestamptz END,
    queued_at = clock_timestamp(), event_seq = t.event_seq + 1
  FROM ranked r WHERE t.id = r.id
  RETURNING t.id, t.tenant, t.pool, t.event_seq, t.fence, r.step, r.reason, r.result, r.failed,
    t.concurrency_key AS key
), stored AS (
  INSERT INTO task_steps (task_id, name, ordinal, result, failed, fence)
  SELECT id, step, event_seq, result, failed, fence FROM moved ON CONFLICT (task_id, name) DO NOTHING
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.resumed', json_build_object('step', step, 'reason', reason) FROM moved
)
SELECT id, pool, tenant, key FROM moved
"""

STEPS = "SELECT name, result FROM task_steps WHERE task_id = $1 ORDER BY ordinal, name"

# How many steps a task has, and whether one has this name.
KNOWN_STEPS = "SELECT count(*), COALESCE(bool_or(name = $2), false) FROM task_steps WHERE task_id = $1"

DUE = """
SELECT task_id, step, reason FROM waits WHERE due_at <= now() ORDER BY due_at LIMIT $1
"""

NEXT_DUE = "SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM waits WHERE due_at IS NOT NULL"

# The wait and its sub-tasks are written in one transaction, so at one time; older ones are of a call that was retried.
# Calls all of whose tasks are final: of these parents, or of all that wait ($1 NULL).
ANSWERED = """
SELECT w.task_id, w.step FROM waits w
WHERE w.reason = 'call' AND ($1::uuid[] IS NULL OR w.task_id = ANY($1)) AND NOT EXISTS (
  SELECT FROM tasks c WHERE c.parent_id = w.task_id AND c.parent_step = w.step AND c.created_at >= w.since
    AND c.status IN ('held', 'queued', 'running', 'waiting'))
LIMIT $2
"""

ANSWERS = """
SELECT id, pool, status, CASE WHEN fits THEN result END AS result, fits, error_code, error_message FROM (
  SELECT c.id, c.pool, c.status, c.result, c.error_code, c.error_message,
    COALESCE(octet_length(c.result::text), 0) <= $3
      AND sum(LEAST(COALESCE(octet_length(c.result::text), 0), $3)) OVER (ORDER BY c.id) <= $4 AS fits
  FROM waits w JOIN tasks c ON c.parent_id = w.task_id AND c.parent_step = w.step AND c.created_at >= w.since
WHERE w.task_id = $1 AND w.step = $2) c ORDER BY id
"""

# How far the calls of these parents are that still wait.
CALLED = """
SELECT w.task_id, w.step, count(*)::int AS calls, count(*) FILTER (WHERE c.finished_at IS NOT NULL)::int AS ended,
  count(*) FILTER (WHERE c.finished_at IS NOT NULL AND c.status <> 'succeeded')::int AS failed
FROM waits w JOIN tasks c ON c.parent_id = w.task_id AND c.parent_step = w.step AND c.created_at >= w.since
WHERE w.reason = 'call' AND w.task_id = ANY($1) GROUP BY w.task_id, w.step ORDER BY w.task_id
"""

SEND = """
INSERT INTO signals (id, tenant, name, task_id, data, sent_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
ON CONFLICT (id) DO NOTHING RETURNING id
"""

# A task takes the oldest event that fits, was sent since the task was submitted, and has not served it before.
_FITS = """s.tenant = w.tenant AND s.name = w.event_name AND s.sent_at >= t.created_at
  AND (s.task_id IS NULL OR s.task_id = w.task_id)
  AND (w.event_match IS NULL OR s.data::jsonb @> w.event_match)
  AND NOT EXISTS (SELECT FROM signal_uses u WHERE u.signal_id = s.id AND u.task_id = w.task_id)"""

# Of one event ($1) or one waiting task ($2).
MATCHES = f"""
SELECT w.task_id, w.step, f.id AS signal_id, f.data FROM waits w JOIN tasks t ON t.id = w.task_id
CROSS JOIN LATERAL (
  SELECT s.id, s.data FROM signals s WHERE {_FITS} AND ($1::uuid IS NULL OR s.id = $1) ORDER BY s.sent_at, s.id LIMIT 1
) f
WHERE w.reason = 'event' AND ($2::uuid IS NULL OR w.task_id = $2)
  AND ($1::uuid IS NULL OR (w.tenant, w.event_name) = (SELECT tenant, name FROM signals WHERE id = $1))
ORDER BY w.task_id
"""

USE = "INSERT INTO signal_uses (signal_id, task_id) SELECT * FROM unnest($1::uuid[], $2::uuid[]) ON CONFLICT DO NOTHING"

FORGET_SIGNALS = """
WITH old AS (DELETE FROM signals WHERE expires_at < now() RETURNING id)
DELETE FROM signal_uses u USING old WHERE u.signal_id = old.id
"""

# A tree of tasks: those below the root, and the tries of all.
TREE = """
SELECT count(*) FILTER (WHERE id <> $1) AS children, COALESCE(sum(attempt), 0)::bigint AS attempts FROM (
  SELECT id, attempt FROM tasks WHERE root_id = $1 UNION ALL SELECT id, attempt FROM tasks WHERE id = $1) t
"""

PARENT = """
SELECT tenant, submitted_by, pool, payload, priority, thread_id, synthetic, traceparent, root_id, depth, lineage,
  labels
FROM tasks WHERE id = $1
"""

# A held task that may start is due now: the sweep gives it its turn. The time it was held counts against no deadline.
RELEASE = """
WITH done AS (
  UPDATE tasks t SET status = 'queued', wake_at = GREATEST(t.run_at, clock_timestamp()),
    start_deadline_at = t.start_deadline_at
      + GREATEST(clock_timestamp() - GREATEST(t.created_at, t.run_at), interval '0'), payload = COALESCE($2, t.payload),
    waited_s = extract(epoch FROM clock_timestamp() - t.created_at)::float8,
    queued_at = clock_timestamp(), event_seq = t.event_seq + 1
  WHERE t.id = $1 AND t.status = 'held' RETURNING t.id, t.event_seq, t.tenant, t.pool
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.released', '{}'::json FROM done
)
SELECT pool FROM done
"""

END_HELD = """
WITH done AS (
  UPDATE tasks t SET status = $2, error_code = $3, error_message = $4, event_seq = t.event_seq + 1,
    finished_at = clock_timestamp()
  WHERE t.id = $1 AND t.status = 'held' RETURNING t.id, t.event_seq, t.tenant, t.parent_id
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.' || $2, json_build_object('code', $3::text, 'reason', $4::text, 'was', 'held')
  FROM done
)
SELECT parent_id FROM done
"""

NOTE = """
WITH moved AS (
  UPDATE tasks SET event_seq = event_seq + 1
  WHERE id = $1 AND status IN ('held', 'queued', 'running', 'waiting') RETURNING id, tenant, event_seq
)
INSERT INTO events (task_id, seq, tenant, type, data) SELECT id, event_seq, tenant, $2, $3 FROM moved RETURNING seq
"""

_ROOM = """COALESCE(
    (SELECT l.concurrency FROM limits l WHERE l.kind = 'pool' AND l.name = k.pool),
    (SELECT l.concurrency FROM limits l WHERE l.kind = 'tenant' AND l.name = k.tenant), 1000000)
  - (SELECT count(*) FROM tasks a WHERE a.pool = k.pool AND a.tenant = k.tenant
      AND a.concurrency_key = k.concurrency_key AND a.status IN ('queued', 'running')
      AND (a.status = 'running' OR a.wake_at IS NULL))"""

# Whoever sends an event, or begins to wait for one, takes turns with all others of that name: so the later of the two
# sees the earlier one, and neither is missed.
EVENT_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 1))"

# The keys under which tasks wait for room: these, or all, found by one probe a key. Under an advisory lock, for nothing
# else gives room: what is claimable or running under a key only grows here.
ADMIT = f"""
WITH RECURSIVE every AS (
  (SELECT pool, tenant, concurrency_key FROM tasks WHERE status = 'queued' AND wake_at = 'infinity'
     AND $2::text[] IS NULL ORDER BY pool, tenant, concurrency_key LIMIT 1)
  UNION ALL
  SELECT n.* FROM every k CROSS JOIN LATERAL (
    SELECT pool, tenant, concurrency_key FROM tasks t WHERE t.status = 'queued' AND t.wake_at = 'infinity'
      AND (t.pool, t.tenant, t.concurrency_key) > (k.pool, k.tenant, k.concurrency_key)
    ORDER BY t.pool, t.tenant, t.concurrency_key LIMIT 1) n
), keys AS (
  SELECT * FROM every
  UNION ALL SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) AS given(pool, tenant, concurrency_key)
), room AS (
  SELECT k.*, {_ROOM} AS free FROM keys k
), due AS (
  SELECT t.id, t.pool, t.priority, t.tenant, t.tag, t.fence > 0 AS tried FROM room r CROSS JOIN LATERAL (
    SELECT * FROM tasks w WHERE w.status = 'queued' AND w.wake_at = 'infinity' AND w.pool = r.pool
      AND w.tenant = r.tenant AND w.concurrency_key = r.concurrency_key
    ORDER BY w.priority DESC, w.id LIMIT GREATEST(0, LEAST(r.free, 1000)) FOR UPDATE SKIP LOCKED) t
  WHERE r.free > 0 LIMIT $1
), arriving AS (
  SELECT pool, priority, tenant, count(*) FILTER (WHERE NOT tried)::int AS n FROM due GROUP BY 1, 2, 3
), {turns_of("arriving")}, ranked AS (
  SELECT *, row_number() OVER (PARTITION BY pool, priority, tenant, tried ORDER BY tag, id) AS nth FROM due
), woken AS (
  UPDATE tasks t SET wake_at = NULL,
    tag = CASE WHEN r.tried THEN GREATEST(t.tag, h.head + r.nth * h.turn) ELSE u.before + r.nth * h.turn END
  FROM ranked r JOIN heads h USING (pool, priority, tenant) LEFT JOIN tags u USING (pool, priority, tenant)
  WHERE t.id = r.id RETURNING t.pool, t.pinned_agent_id IS NOT NULL AS pinned
)
SELECT pool, pinned, count(*)::int AS n FROM woken GROUP BY 1, 2
"""

# Open tasks under these keys, oldest first.
UNDER_KEYS = """
SELECT t.pool, t.concurrency_key, t.id FROM tasks t JOIN unnest($2::text[], $3::text[]) AS k(pool, key)
  ON t.pool = k.pool AND t.concurrency_key = k.key
WHERE t.tenant = $1 AND t.concurrency_key IS NOT NULL AND t.status IN ('held', 'queued', 'running', 'waiting')
ORDER BY t.id
"""
