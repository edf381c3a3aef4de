"""The statements by which `queue.py` takes tasks in, hands them out and counts them. Only constants are joined."""

# A tenant's next turn starts at its own last one, or where the queue's head is now, whichever is later: a tenant that
# was away gets no credit for it. With an empty queue the head is the furthest turn given so far. Rows of `queue_tags`
# are locked in key order, and idempotency keys taken in theirs, so that two batches cannot wait for each other in a
# circle.


def head_of(of: str) -> str:
    """Where the queue of a row's pool and priority is now. A task that comes back takes a turn there if its own is
    past: an old turn would drag the head back, and with it every tenant that submits next."""
    return f"""COALESCE(
    (SELECT q.tag FROM tasks q WHERE q.pool = {of}.pool AND q.priority = {of}.priority AND q.status = 'queued'
       AND q.wake_at IS NULL AND q.pinned_agent_id IS NULL ORDER BY q.tag LIMIT 1) - 1,
    (SELECT max(last_tag) FROM queue_tags g WHERE g.pool = {of}.pool AND g.priority = {of}.priority), 0)"""


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
INSERT = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::smallint[],
    $8::int[], $9::uuid[], $10::timestamptz[], $11::float8[], $12::float8[], $13::text[], $14::text[], $15::bool[],
    $16::text[], $17::bytea[], $18::text[]) WITH ORDINALITY
  AS i(id, tenant, submitted_by, pool, type, payload, priority, max_attempts, pinned_agent_id, run_at, deadline_s,
    complexity, concurrency_key, thread_id, synthetic, idempotency_key, request_hash, traceparent, ord)
), turns AS (
  -- A task that may not run yet takes its turn when it may (WAKE_DUE): waiting earns no place.
  SELECT pool, priority, tenant, count(*) FILTER (WHERE run_at IS NULL OR run_at <= now())::int AS n
  FROM input GROUP BY 1, 2, 3
), heads AS (
  SELECT pool, priority, {head_of("p")} AS head
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
    g.before + row_number() OVER (PARTITION BY i.pool, i.priority, i.tenant, COALESCE(i.run_at > now(), false)
      ORDER BY i.ord), 'queued', i.max_attempts,
    i.pinned_agent_id, i.run_at, CASE WHEN i.run_at > now() THEN i.run_at END,
    GREATEST(i.run_at, now()) + make_interval(secs => i.deadline_s), i.complexity, i.concurrency_key, i.thread_id,
    i.synthetic, i.idempotency_key, i.request_hash, i.traceparent
  FROM input i JOIN tags g USING (pool, priority, tenant) ORDER BY i.tenant, i.idempotency_key, i.ord
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

_READY_COLUMNS = """t.id, t.tenant, t.pool, t.type, t.attempt, t.max_attempts, t.fence, t.pinned_agent_id,
  t.agent_id, t.rejoin, t.complexity, t.thread_id, t.synthetic, t.traceparent, t.priority,
  extract(epoch FROM now() - t.queued_at)::float8 AS waited_s"""

_CLAIMABLE = (
    "t.status = 'queued' AND t.wake_at IS NULL AND (t.start_deadline_at IS NULL OR t.start_deadline_at > now())"
)

READY = f"""
SELECT r.* FROM unnest($1::text[], $2::int[], $3::bool[]) AS p(pool, n, own) CROSS JOIN LATERAL (
  SELECT {_READY_COLUMNS} FROM tasks t
  WHERE t.pool = p.pool AND t.pinned_agent_id IS NULL AND {_CLAIMABLE}
    AND (NOT p.own OR get_byte(uuid_send(t.id), 15) % $5 = $4)
  ORDER BY t.priority DESC, t.tag, t.id LIMIT p.n) r
"""

# What stands behind tasks that a balancer keeps queued for a better agent: other types, looked for so far back at most.
LOOKED_PAST = 20_000
READY_PAST = f"""
SELECT {_READY_COLUMNS} FROM (
  SELECT * FROM tasks t WHERE t.pool = $1 AND t.pinned_agent_id IS NULL AND {_CLAIMABLE}
  ORDER BY t.priority DESC, t.tag, t.id LIMIT {LOOKED_PAST}) t
WHERE NOT t.type = ANY($2) ORDER BY t.priority DESC, t.tag, t.id LIMIT $3
"""

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
  ORDER BY t.priority DESC, t.tag, t.id LIMIT p.n) r
"""

# What was read as ready a moment ago is locked and looked at again here: the fence says that it is as it was then. A
# row that another manager or a cancel holds is theirs.
START = f"""
WITH chosen AS (
  SELECT t.id, p.agent_id FROM unnest($2::uuid[], $3::bigint[], $4::uuid[]) AS p(id, fence, agent_id)
  JOIN tasks t ON t.id = p.id AND t.fence = p.fence
  WHERE {_CLAIMABLE}
  FOR UPDATE OF t SKIP LOCKED
), started AS (
  UPDATE tasks t SET status = 'running', manager_id = $1, agent_id = c.agent_id, fence = t.fence + 1,
    attempt = t.attempt + 1, event_seq = t.event_seq + 1, rejoin = false, attempt_started_at = clock_timestamp(),
    started_at = COALESCE(t.started_at, clock_timestamp())
  FROM chosen c WHERE t.id = c.id
  RETURNING t.id, t.tenant, t.fence, t.attempt, t.event_seq, t.agent_id, t.payload
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.running',
    json_build_object('attempt', attempt, 'fence', fence, 'agent_id', agent_id) FROM started
)
SELECT id, fence, attempt, payload FROM started
"""

# The three partial indexes of queued tasks, read one after the other: the finished ones are never looked at.
_QUEUED_IN = """
  SELECT FROM tasks WHERE status = 'queued' AND wake_at IS NULL AND pinned_agent_id IS NULL AND pool = {pool}
  UNION ALL
  SELECT FROM tasks WHERE status = 'queued' AND wake_at IS NULL AND pinned_agent_id IS NOT NULL AND pool = {pool}
  UNION ALL
  SELECT FROM tasks WHERE status = 'queued' AND wake_at IS NOT NULL AND pool = {pool}
"""

DEPTH = f"SELECT count(*) FROM ({_QUEUED_IN.format(pool='$1')} LIMIT $2) q"

# Pool by pool, so that the indexes are read and not the table.
COUNTS = f"""
SELECT p.pool, q.n FROM unnest($1::text[]) AS p(pool)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM ({_QUEUED_IN.format(pool="p.pool")}) w) q
"""
