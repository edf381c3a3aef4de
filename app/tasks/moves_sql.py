"""The statements by which `queue.py` moves tasks on, with what each relies on. Only constants are put together."""

from app.tasks.queue_sql import head_of

SETTLE_FIELDS = (
    "id",
    "fence",
    "status",
    "outcome",
    "event_type",
    "event_data",
    "result",
    "error_code",
    "error_message",
    "delay_s",
    "counted",
    "rejoin",
)
SETTLE = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::json[], $7::json[],
    $8::text[], $9::text[], $10::float8[], $11::bool[], $12::bool[])
  AS i(id, fence, status, outcome, event_type, event_data, result, error_code, error_message, delay_s, counted, rejoin)
), held AS (
  -- Locked in key order: a rescue or a cancel of the same rows must not wait for us while we wait for it.
  SELECT t.id, t.fence, t.manager_id, t.attempt AS tried, t.pool, t.priority, t.tenant, t.tag
  FROM tasks t JOIN (SELECT DISTINCT id, fence FROM input) i ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY pool, priority, tenant ORDER BY tag, id) AS nth FROM held
), done AS (
  UPDATE tasks t SET status = i.status, result = i.result, error_code = i.error_code, error_message = i.error_message,
    attempt = t.attempt - CASE WHEN i.counted THEN 0 ELSE 1 END, event_seq = t.event_seq + 1, manager_id = NULL,
    rejoin = i.rejoin,
    tag = CASE WHEN i.status = 'queued' THEN GREATEST(t.tag, {head_of("t")} + h.nth) ELSE t.tag END,
    wake_at = CASE WHEN i.status = 'queued' AND i.delay_s > 0
      THEN clock_timestamp() + make_interval(secs => i.delay_s) END,
    queued_at = CASE WHEN i.status = 'queued' THEN clock_timestamp() ELSE t.queued_at END,
    finished_at = CASE WHEN i.status <> 'queued' THEN clock_timestamp() END
  -- The fence again: a stale end may stand in one batch with the current one.
  FROM input i JOIN ranked h USING (id, fence)
  WHERE t.id = i.id
  RETURNING t.id, t.fence, t.tenant, t.pool, t.event_seq, t.agent_id, t.attempt_started_at, h.manager_id, h.tried,
    i.outcome, i.event_type, i.event_data, i.counted, i.error_code, i.error_message
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, finished_at, outcome, counted,
    error_code, error_message)
  SELECT id, fence, tried, pool, agent_id, manager_id, attempt_started_at, clock_timestamp(), outcome, counted,
    error_code, error_message FROM done
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data) SELECT id, event_seq, tenant, event_type, event_data FROM done
), used AS (
  INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities)
  SELECT d.id, d.fence, u.ordinal, d.tenant, d.pool, u.model, u.input_tokens, u.output_tokens, u.quantities
  FROM unnest($13::uuid[], $14::bigint[], $15::int[], $16::text[], $17::bigint[], $18::bigint[], $19::json[])
    AS u(id, fence, ordinal, model, input_tokens, output_tokens, quantities)
  JOIN done d ON d.id = u.id AND d.fence = u.fence
)
SELECT id, fence FROM done
"""

RECORD = """
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::json[])
    WITH ORDINALITY AS i(id, fence, type, data, ord)
), held AS (
  SELECT t.id, t.fence FROM tasks t JOIN (SELECT DISTINCT id, fence FROM input) i ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), ours AS (
  -- Notes of a stale attempt may stand in one batch with those of the current one: only the latter are numbered.
  SELECT i.id, i.type, i.data, row_number() OVER (PARTITION BY i.id ORDER BY i.ord) AS nth
  FROM input i JOIN held h USING (id, fence)
), moved AS (
  UPDATE tasks t SET event_seq = t.event_seq + n.n
  FROM (SELECT id, count(*)::int AS n FROM ours GROUP BY id) n
  WHERE t.id = n.id RETURNING t.id, t.fence, t.tenant, t.event_seq - n.n AS before
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT m.id, m.before + o.nth, m.tenant, o.type, o.data FROM moved m JOIN ours o USING (id)
)
SELECT id, fence FROM moved
"""

CANCEL = """
WITH old AS (
  SELECT id, status, agent_id, fence, manager_id, attempt FROM tasks
  WHERE tenant = $1 AND id = $2 AND status IN ('held', 'queued', 'running', 'waiting') FOR UPDATE
), done AS (
  UPDATE tasks t SET status = 'cancelled', error_code = 'cancelled', error_message = $3, wake_at = NULL,
    manager_id = NULL, event_seq = t.event_seq + 1, finished_at = clock_timestamp()
  FROM old WHERE t.id = old.id RETURNING t.*, old.status AS was, old.manager_id AS had
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, outcome, counted, error_code,
    error_message)
  SELECT id, fence, attempt, pool, agent_id, had, attempt_started_at, 'cancelled', true, 'cancelled', $3
  FROM done WHERE was = 'running'
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.cancelled', json_build_object('reason', $3::text, 'was', was) FROM done
)
SELECT id, was, agent_id, fence FROM done
"""

RETRY = f"""
WITH done AS (
  UPDATE tasks t SET status = 'queued', tag = GREATEST(t.tag, {head_of("t")} + 1), attempt = 0, rescues = 0,
    error_code = NULL, error_message = NULL, result = NULL,
    finished_at = NULL, started_at = NULL, start_deadline_at = NULL, wake_at = NULL, rejoin = false,
    queued_at = clock_timestamp(), event_seq = event_seq + 1
  WHERE tenant = $1 AND id = $2 AND status = 'failed'
  RETURNING id, tenant, pool, event_seq
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.replayed', '{{}}'::json FROM done
)
SELECT id, pool FROM done
"""

WAKE_DUE = f"""
WITH due AS (
  SELECT id, pool, priority, tenant, tag, fence > 0 AS tried, wake_at FROM tasks
  WHERE status = 'queued' AND wake_at <= now() ORDER BY wake_at LIMIT $1
  FOR UPDATE SKIP LOCKED
), heads AS (
  SELECT pool, priority, {head_of("p")} AS head FROM (SELECT DISTINCT pool, priority FROM due) p
), turns AS (
  -- One that never ran arrives now, as if it were submitted; one that is tried again keeps its age.
  INSERT INTO queue_tags AS q (pool, priority, tenant, last_tag, added)
  SELECT d.pool, d.priority, d.tenant, h.head + count(*), count(*)::int
  FROM due d JOIN heads h USING (pool, priority) WHERE NOT d.tried
  GROUP BY d.pool, d.priority, d.tenant, h.head ORDER BY 1, 2, 3
  ON CONFLICT (pool, priority, tenant) DO UPDATE
  SET last_tag = GREATEST(q.last_tag + EXCLUDED.added, EXCLUDED.last_tag), added = EXCLUDED.added
  RETURNING pool, priority, tenant, last_tag - added AS before
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY pool, priority, tenant, tried ORDER BY wake_at, tag, id) AS nth FROM due
), woken AS (
  UPDATE tasks t SET wake_at = NULL,
    tag = CASE WHEN r.tried THEN GREATEST(t.tag, h.head + r.nth) ELSE u.before + r.nth END
  FROM ranked r JOIN heads h USING (pool, priority) LEFT JOIN turns u USING (pool, priority, tenant)
  WHERE t.id = r.id RETURNING t.pool
)
SELECT DISTINCT pool FROM woken
"""

NEXT_WAKE = """
SELECT extract(epoch FROM wake_at - clock_timestamp())::float8 FROM tasks
WHERE status = 'queued' AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1
"""

EXPIRE = """
WITH late AS (
  SELECT id FROM tasks WHERE status IN ('held', 'queued') AND start_deadline_at <= now()
  ORDER BY start_deadline_at LIMIT $1 FOR UPDATE SKIP LOCKED
), done AS (
  UPDATE tasks t SET status = 'expired', error_code = 'start_deadline', wake_at = NULL,
    error_message = 'The task did not start by its deadline.', event_seq = event_seq + 1,
    finished_at = clock_timestamp()
  FROM late WHERE t.id = late.id RETURNING t.id, t.event_seq, t.tenant
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.expired', '{"code": "start_deadline"}'::json FROM done
)
SELECT id FROM done
"""

RESCUE = f"""
WITH lost AS (
  SELECT t.id, t.pool, t.priority, t.tenant, t.tag FROM tasks t WHERE t.status = 'running' AND NOT EXISTS (
    SELECT FROM managers m WHERE m.id = t.manager_id AND m.heartbeat_at > now() - make_interval(secs => $1))
  LIMIT $3 FOR UPDATE OF t SKIP LOCKED
), ranked AS (
  SELECT id, row_number() OVER (PARTITION BY pool, priority, tenant ORDER BY tag, id) AS nth FROM lost
), moved AS (
  UPDATE tasks t SET
    status = CASE WHEN t.rescues >= $2 THEN 'failed' ELSE 'queued' END,
    error_code = CASE WHEN t.rescues >= $2 THEN 'rescue_limit' END,
    error_message = CASE WHEN t.rescues >= $2 THEN 'Its managers died too often while it ran.' END,
    finished_at = CASE WHEN t.rescues >= $2 THEN clock_timestamp() END,
    attempt = t.attempt - 1, rescues = t.rescues + 1, rejoin = true,
    tag = GREATEST(t.tag, {head_of("t")} + r.nth), wake_at = NULL, manager_id = NULL,
    queued_at = clock_timestamp(), event_seq = t.event_seq + 1
  FROM ranked r, tasks old WHERE t.id = r.id AND old.id = r.id
  RETURNING t.id, t.tenant, t.pool, t.status, t.fence, t.agent_id, t.attempt_started_at, t.event_seq,
    old.manager_id AS had, old.attempt AS tried
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, outcome, counted, error_code,
    error_message)
  SELECT id, fence, tried, pool, agent_id, had, attempt_started_at, 'lost', false, 'manager_lost',
    'The manager that ran this attempt stopped reporting.' FROM moved
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, CASE WHEN status = 'failed' THEN 'task.failed' ELSE 'task.rescued' END,
    json_build_object('manager_id', had, 'agent_id', agent_id) FROM moved
)
SELECT id, pool, status FROM moved
"""

NOT_OURS = """
SELECT h.id, h.fence, COALESCE(t.status, 'deleted') AS status
FROM unnest($1::uuid[], $2::bigint[]) AS h(id, fence) LEFT JOIN tasks t ON t.id = h.id
WHERE t.id IS NULL OR t.status <> 'running' OR t.fence <> h.fence
"""
