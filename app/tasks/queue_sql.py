"""The statements of `queue.py`, with what each relies on."""

# A tenant's next turn starts at its own last one, or where the queue's head is now, whichever is later: a tenant that
# was away gets no credit for it. With an empty queue the head is the furthest turn given so far. Rows of `queue_tags`
# are locked in key order, so that two batches cannot wait for each other in a circle.
INSERT_FIELDS = (
    "id",
    "tenant",
    "submitted_by",
    "pool",
    "type",
    "payload",
    "priority",
    "max_attempts",
    "pinned_agent_id",
    "run_at",
    "deadline_s",
    "complexity",
    "concurrency_key",
    "thread_id",
    "synthetic",
    "idempotency_key",
    "request_hash",
    "traceparent",
)
INSERT = """
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::smallint[],
    $8::int[], $9::uuid[], $10::timestamptz[], $11::float8[], $12::float8[], $13::text[], $14::text[], $15::bool[],
    $16::text[], $17::bytea[], $18::text[]) WITH ORDINALITY
  AS i(id, tenant, submitted_by, pool, type, payload, priority, max_attempts, pinned_agent_id, run_at, deadline_s,
    complexity, concurrency_key, thread_id, synthetic, idempotency_key, request_hash, traceparent, ord)
), turns AS (
  SELECT pool, priority, tenant, count(*)::int AS n FROM input GROUP BY 1, 2, 3
), heads AS (
  SELECT pool, priority, COALESCE(
    (SELECT tag FROM tasks t WHERE t.pool = p.pool AND t.priority = p.priority AND t.status = 'queued'
       AND t.wake_at IS NULL AND t.pinned_agent_id IS NULL ORDER BY t.tag LIMIT 1) - 1,
    (SELECT max(last_tag) FROM queue_tags q WHERE q.pool = p.pool AND q.priority = p.priority), 0) AS head
  FROM (SELECT DISTINCT pool, priority FROM turns) p
), tags AS (
  INSERT INTO queue_tags AS q (pool, priority, tenant, last_tag, added)
  SELECT t.pool, t.priority, t.tenant, h.head + t.n, t.n FROM turns t JOIN heads h USING (pool, priority)
  ORDER BY 1, 2, 3
  ON CONFLICT (pool, priority, tenant) DO UPDATE
  SET last_tag = GREATEST(q.last_tag + EXCLUDED.added, EXCLUDED.last_tag), added = EXCLUDED.added
  RETURNING pool, priority, tenant, last_tag - added AS before
), added AS (
  INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
    pinned_agent_id, run_at, wake_at, start_deadline_at, complexity, concurrency_key, thread_id, synthetic,
    idempotency_key, request_hash, traceparent)
  SELECT i.id, i.tenant, i.submitted_by, i.pool, i.type, i.payload, i.priority,
    g.before + row_number() OVER (PARTITION BY i.pool, i.priority, i.tenant ORDER BY i.ord), 'queued', i.max_attempts,
    i.pinned_agent_id, i.run_at, CASE WHEN i.run_at > now() THEN i.run_at END,
    GREATEST(i.run_at, now()) + make_interval(secs => i.deadline_s), i.complexity, i.concurrency_key, i.thread_id,
    i.synthetic, i.idempotency_key, i.request_hash, i.traceparent
  FROM input i JOIN tags g USING (pool, priority, tenant) ORDER BY i.ord
  ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
  RETURNING id, tenant, pool, priority
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, 1, tenant, 'task.queued', json_build_object('pool', pool, 'priority', priority) FROM added
)
SELECT id FROM added
"""

WITHDRAW = """
WITH gone AS (DELETE FROM tasks WHERE id = ANY($1) RETURNING id)
DELETE FROM events e USING gone WHERE e.task_id = gone.id
"""

_READY_COLUMNS = """t.id, t.tenant, t.pool, t.type, t.payload, t.attempt, t.max_attempts, t.fence, t.pinned_agent_id,
  t.agent_id, t.rejoin, t.complexity, t.thread_id, t.synthetic, t.traceparent,
  extract(epoch FROM now() - t.queued_at)::float8 AS waited_s"""

_CLAIMABLE = (
    "t.status = 'queued' AND t.wake_at IS NULL AND (t.start_deadline_at IS NULL OR t.start_deadline_at > now())"
)

READY = f"""
SELECT r.* FROM unnest($1::text[], $2::int[]) AS p(pool, n) CROSS JOIN LATERAL (
  SELECT {_READY_COLUMNS} FROM tasks t
  WHERE t.pool = p.pool AND t.pinned_agent_id IS NULL AND {_CLAIMABLE}
  ORDER BY t.priority DESC, t.tag, t.id LIMIT p.n FOR UPDATE SKIP LOCKED) r
"""  # noqa: S608 - only constants

# A loose index scan: one probe an agent, however many tasks wait for it.
PINNED_TO = """
WITH RECURSIVE agents AS (
  (SELECT pinned_agent_id FROM tasks WHERE status = 'queued' AND wake_at IS NULL AND pinned_agent_id IS NOT NULL
   ORDER BY pinned_agent_id LIMIT 1)
  UNION ALL
  SELECT (SELECT t.pinned_agent_id FROM tasks t WHERE t.status = 'queued' AND t.wake_at IS NULL
    AND t.pinned_agent_id > a.pinned_agent_id ORDER BY t.pinned_agent_id LIMIT 1)
  FROM agents a WHERE a.pinned_agent_id IS NOT NULL
)
SELECT pinned_agent_id FROM agents WHERE pinned_agent_id IS NOT NULL
"""

READY_PINNED = f"""
SELECT r.* FROM unnest($1::uuid[], $2::int[]) AS p(agent, n) CROSS JOIN LATERAL (
  SELECT {_READY_COLUMNS} FROM tasks t
  WHERE t.pinned_agent_id = p.agent AND {_CLAIMABLE}
  ORDER BY t.priority DESC, t.tag, t.id LIMIT p.n FOR UPDATE SKIP LOCKED) r
"""  # noqa: S608 - only constants

START = """
WITH started AS (
  UPDATE tasks t SET status = 'running', manager_id = $1, agent_id = p.agent_id, fence = t.fence + 1,
    attempt = t.attempt + 1, event_seq = t.event_seq + 1, rejoin = false, attempt_started_at = clock_timestamp(),
    started_at = COALESCE(t.started_at, clock_timestamp())
  FROM unnest($2::uuid[], $3::uuid[]) AS p(id, agent_id)
  WHERE t.id = p.id AND t.status = 'queued'
  RETURNING t.id, t.tenant, t.fence, t.attempt, t.event_seq, t.agent_id
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.running',
    json_build_object('attempt', attempt, 'fence', fence, 'agent_id', agent_id) FROM started
)
SELECT id, fence, attempt FROM started
"""

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
SETTLE = """
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::json[], $7::json[],
    $8::text[], $9::text[], $10::float8[], $11::bool[], $12::bool[])
  AS i(id, fence, status, outcome, event_type, event_data, result, error_code, error_message, delay_s, counted, rejoin)
), held AS (
  -- Locked in key order: a rescue or a cancel of the same rows must not wait for us while we wait for it.
  SELECT t.id, t.manager_id, t.attempt AS tried FROM tasks t JOIN input i ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), done AS (
  UPDATE tasks t SET status = i.status, result = i.result, error_code = i.error_code, error_message = i.error_message,
    attempt = t.attempt - CASE WHEN i.counted THEN 0 ELSE 1 END, event_seq = t.event_seq + 1, manager_id = NULL,
    rejoin = i.rejoin,
    wake_at = CASE WHEN i.status = 'queued' AND i.delay_s > 0
      THEN clock_timestamp() + make_interval(secs => i.delay_s) END,
    queued_at = CASE WHEN i.status = 'queued' THEN clock_timestamp() ELSE t.queued_at END,
    finished_at = CASE WHEN i.status <> 'queued' THEN clock_timestamp() END
  FROM input i JOIN held h USING (id)
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
  SELECT *, row_number() OVER (PARTITION BY id ORDER BY ord) AS nth
  FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::json[]) WITH ORDINALITY AS i(id, fence, type, data, ord)
), held AS (
  SELECT t.id FROM tasks t JOIN (SELECT DISTINCT id, fence FROM input) i ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), moved AS (
  UPDATE tasks t SET event_seq = t.event_seq + n.n
  FROM held h JOIN (SELECT id, count(*)::int AS n FROM input GROUP BY id) n USING (id)
  WHERE t.id = h.id RETURNING t.id, t.fence, t.tenant, t.event_seq - n.n AS before
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT m.id, m.before + i.nth, m.tenant, i.type, i.data FROM moved m JOIN input i ON i.id = m.id
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

RETRY = """
WITH done AS (
  UPDATE tasks SET status = 'queued', attempt = 0, rescues = 0, error_code = NULL, error_message = NULL, result = NULL,
    finished_at = NULL, started_at = NULL, start_deadline_at = NULL, wake_at = NULL, rejoin = false,
    queued_at = clock_timestamp(), event_seq = event_seq + 1
  WHERE tenant = $1 AND id = $2 AND status = 'failed'
  RETURNING id, tenant, pool, event_seq
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.replayed', '{}'::json FROM done
)
SELECT id, pool FROM done
"""

WAKE_DUE = """
WITH due AS (
  SELECT id FROM tasks WHERE status = 'queued' AND wake_at <= clock_timestamp() ORDER BY wake_at LIMIT $1
  FOR UPDATE SKIP LOCKED
), woken AS (
  UPDATE tasks t SET wake_at = NULL FROM due WHERE t.id = due.id RETURNING t.pool
)
SELECT DISTINCT pool FROM woken
"""

NEXT_WAKE = """
SELECT extract(epoch FROM wake_at - clock_timestamp())::float8 FROM tasks
WHERE status = 'queued' AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1
"""

EXPIRE = """
WITH late AS (
  SELECT id FROM tasks WHERE status IN ('held', 'queued') AND start_deadline_at <= clock_timestamp()
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

RESCUE = """
WITH lost AS (
  SELECT t.id FROM tasks t WHERE t.status = 'running' AND NOT EXISTS (
    SELECT FROM managers m WHERE m.id = t.manager_id AND m.heartbeat_at > now() - make_interval(secs => $1))
  LIMIT $3 FOR UPDATE OF t SKIP LOCKED
), moved AS (
  UPDATE tasks t SET
    status = CASE WHEN t.rescues >= $2 THEN 'failed' ELSE 'queued' END,
    error_code = CASE WHEN t.rescues >= $2 THEN 'rescue_limit' END,
    error_message = CASE WHEN t.rescues >= $2 THEN 'Its managers died too often while it ran.' END,
    finished_at = CASE WHEN t.rescues >= $2 THEN clock_timestamp() END,
    attempt = t.attempt - 1, rescues = t.rescues + 1, rejoin = true, wake_at = NULL, manager_id = NULL,
    queued_at = clock_timestamp(), event_seq = t.event_seq + 1
  FROM lost, tasks old WHERE t.id = lost.id AND old.id = lost.id
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

DEPTH = """
SELECT count(*) FROM (SELECT FROM tasks WHERE pool = $1 AND status = 'queued' LIMIT $2) q
"""
