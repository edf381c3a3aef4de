"""The statements by which `queue.py` takes tasks in, hands them out and counts them. Only constants are joined."""

from app.costs.ledger_sql import EPOCH
from app.registry.stops import NO_STOP_FITS, NOT_STOPPED, POOL_NOT_STOPPED, TENANT_NOT_STOPPED

# A turn is 1,000 for a tenant of weight 1, and less in proportion for a heavier one: it comes round sooner.
FULL_TURN = 1000
# A tenant's next turn starts at its own last one, or where the queue's head is now, whichever is later: a tenant that
# was away gets no credit for it. With an empty queue the head is the furthest turn given so far. Rows of `queue_tags`
# are locked in key order, and idempotency keys taken in theirs, so that two batches cannot wait for each other in a
# circle.


def turn_of(tenant: str) -> str:
    """How far a task moves its tenant's tag on: 1,000 over the tenant's weight."""
    return f"""COALESCE((SELECT GREATEST(1, ({FULL_TURN} / l.weight)::int) FROM limits l
    WHERE l.kind = 'tenant' AND l.name = {tenant} AND l.weight > 0), {FULL_TURN})"""


def head_of(of: str, turn: str) -> str:
    """Where a tenant with this turn would start in the queue of a row's pool and priority now: its first task comes
    beside the head, never before it. A task that comes back takes a turn there if its own is past: an old turn would
    drag the head back, and with it every tenant that submits next."""
    return f"""COALESCE(
    (SELECT q.tag FROM tasks q WHERE q.pool = {of}.pool AND q.priority = {of}.priority AND q.status = 'queued'
       AND q.wake_at IS NULL AND q.pinned_agent_id IS NULL ORDER BY q.tag LIMIT 1) - {turn},
    (SELECT max(last_tag) FROM queue_tags g WHERE g.pool = {of}.pool AND g.priority = {of}.priority), 0)"""


# Takes turns for tasks that become claimable now. `arriving` has pool, priority, tenant and n, one row for each of the
# three: what is left is the tag before the first of them.
def turns_of(arriving: str) -> str:
    """CTEs `heads` (turn) and `tags` (before) over a CTE of arrivals by pool, priority and tenant."""
    return f"""heads AS (
  SELECT a.pool, a.priority, a.tenant, a.n, w.turn, {head_of("a", "w.turn")} AS head
  FROM {arriving} a CROSS JOIN LATERAL (SELECT {turn_of("a.tenant")} AS turn) w
), tags AS (
  INSERT INTO queue_tags AS q (pool, priority, tenant, last_tag, added)
  SELECT h.pool, h.priority, h.tenant, h.head + h.n * h.turn, h.n * h.turn FROM heads h
  ORDER BY 1, 2, 3
  ON CONFLICT (pool, priority, tenant) DO UPDATE
  SET last_tag = GREATEST(q.last_tag + EXCLUDED.added, EXCLUDED.last_tag), added = EXCLUDED.added
  RETURNING pool, priority, tenant, last_tag - added AS before
)"""


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
    "held",
    "gated",
    "parent_id",
    "parent_step",
    "root_id",
    "depth",
    "lineage",
    "labels",
)
# What may not run yet takes its turn when it may (WAKE_DUE, ADMIT): waiting earns no place.
INSERT = f"""
WITH given AS (
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::smallint[],
    $8::int[], $9::uuid[], $10::timestamptz[], $11::float8[], $12::float8[], $13::text[], $14::text[], $15::bool[],
    $16::text[], $17::bytea[], $18::text[], $19::bool[], $20::bool[], $21::uuid[], $22::text[], $23::uuid[],
    $24::smallint[], $25::bytea[], $26::jsonb[]) WITH ORDINALITY
  AS i(id, tenant, submitted_by, pool, type, payload, priority, max_attempts, pinned_agent_id, run_at, deadline_s,
    complexity, concurrency_key, thread_id, synthetic, idempotency_key, request_hash, traceparent, held, gated,
    parent_id, parent_step, root_id, depth, lineage, labels, ord)
), input AS (
  SELECT *, held OR gated OR COALESCE(run_at > now(), false) AS later FROM given
), arriving AS (
  SELECT pool, priority, tenant, count(*) FILTER (WHERE NOT later)::int AS n FROM input GROUP BY 1, 2, 3
), {turns_of("arriving")}, added AS (
  INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
    pinned_agent_id, run_at, wake_at, start_deadline_at, complexity, concurrency_key, thread_id, synthetic,
    idempotency_key, request_hash, traceparent, parent_id, parent_step, root_id, depth, lineage, labels)
  SELECT i.id, i.tenant, i.submitted_by, i.pool, i.type, i.payload, i.priority,
    g.before + h.turn * row_number() OVER (PARTITION BY i.pool, i.priority, i.tenant, i.later ORDER BY i.ord),
    CASE WHEN i.held THEN 'held' ELSE 'queued' END, i.max_attempts, i.pinned_agent_id, i.run_at,
    CASE WHEN i.held THEN NULL WHEN i.run_at > now() THEN i.run_at WHEN i.gated THEN 'infinity'::timestamptz END,
    GREATEST(i.run_at, now()) + make_interval(secs => i.deadline_s), i.complexity, i.concurrency_key, i.thread_id,
    i.synthetic, i.idempotency_key, i.request_hash, i.traceparent, i.parent_id, i.parent_step, i.root_id, i.depth,
    i.lineage, i.labels
  FROM input i JOIN tags g USING (pool, priority, tenant) JOIN heads h USING (pool, priority, tenant)
  ORDER BY i.tenant, i.idempotency_key, i.ord
  ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
  RETURNING id, tenant, pool, priority, status, parent_id
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, 1, tenant, CASE WHEN status = 'held' THEN 'task.held' ELSE 'task.queued' END,
    CASE WHEN parent_id IS NULL THEN json_build_object('pool', pool, 'priority', priority)
      ELSE json_build_object('pool', pool, 'priority', priority, 'parent_id', parent_id) END FROM added
)
SELECT id FROM added
"""

WITHDRAW = """
WITH gone AS (DELETE FROM tasks WHERE id = ANY($1) RETURNING id)
DELETE FROM events e USING gone WHERE e.task_id = gone.id
"""

_READY_COLUMNS = """t.id, t.tenant, t.pool, t.type, t.attempt, t.max_attempts, t.fence, t.pinned_agent_id,
  t.agent_id, t.rejoin, t.complexity, t.thread_id, t.synthetic, t.traceparent, t.priority,
  extract(epoch FROM now() - t.queued_at)::float8 AS waited_s, t.labels, t.root_id, t.holds,
  t.hold_amounts, t.over_budget"""

CLAIMABLE = "t.status = 'queued' AND t.wake_at IS NULL AND (t.start_deadline_at IS NULL OR t.start_deadline_at > now())"

READY = f"""
SELECT r.* FROM unnest($1::text[], $2::int[], $3::bool[], $6::int[]) AS p(pool, n, own, least) CROSS JOIN LATERAL (
  SELECT {_READY_COLUMNS} FROM tasks t
  WHERE t.pool = p.pool AND t.pinned_agent_id IS NULL AND {CLAIMABLE} AND t.priority >= p.least
    AND {POOL_NOT_STOPPED.format(pool="p.pool")} AND {TENANT_NOT_STOPPED}
    AND (NOT p.own OR get_byte(uuid_send(t.id), 15) % $5 = $4)
  ORDER BY t.priority DESC, t.tag, t.id LIMIT p.n) r
"""

# What stands behind tasks that a balancer keeps queued for a better agent: other types, looked for so far back at most.
LOOKED_PAST = 20_000
READY_PAST = f"""
SELECT {_READY_COLUMNS} FROM (
  SELECT * FROM tasks t WHERE t.pool = $1 AND t.pinned_agent_id IS NULL AND {CLAIMABLE} AND t.priority >= $4
    AND {POOL_NOT_STOPPED.format(pool="$1")} AND {TENANT_NOT_STOPPED}
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
SELECT r.* FROM unnest($1::uuid[], $2::int[], $3::int[]) AS p(agent, n, least) CROSS JOIN LATERAL (
  SELECT {_READY_COLUMNS} FROM tasks t
  WHERE t.pinned_agent_id = p.agent AND {CLAIMABLE} AND t.priority >= p.least AND {NOT_STOPPED}
  ORDER BY t.priority DESC, t.tag, t.id LIMIT p.n) r
"""

# What was read as ready a moment ago is locked and looked at again here: the fence says that it is as it was then. A
# row that another manager or a cancel holds is theirs. Nothing starts under budgets that have changed since they were
# read ($8), and no task whose reservation has ended since ($9: it had one). What a broken-off attempt still held is
# given back for what the new one holds. Accounts ($10) are locked, and nothing starts unless each has room for all that
# is asked of it ($11) below its bound ($12). Tasks that reserve alike share ($5 to $7) by a number ($13).
START = f"""
WITH locked AS MATERIALIZED (
  SELECT id, spent + reserved AS committed FROM budget_accounts WHERE id = ANY($10::uuid[]) ORDER BY id FOR UPDATE
), wanted AS (
  SELECT * FROM unnest($5::int[], $6::uuid[], $7::numeric[]) AS w(number, account, amount)
), holding AS (
  SELECT number, array_agg(account) AS accounts, array_agg(amount) AS amounts FROM wanted GROUP BY number
), chosen AS (
  SELECT t.id, p.agent_id, p.number, t.holds, t.hold_amounts
  FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $9::bool[], $13::int[]) AS p(id, fence, agent_id, holding, number)
  JOIN tasks t ON t.id = p.id AND t.fence = p.fence
  WHERE {CLAIMABLE} AND {NO_STOP_FITS.format(agent="p.agent_id")} AND {EPOCH} = $8
    AND (t.holds IS NOT NULL) = p.holding AND (
      SELECT count(l.id) = count(*) AND COALESCE(bool_and(b.bound IS NULL OR l.committed + b.need <= b.bound), true)
      FROM unnest($10::uuid[], $11::numeric[], $12::numeric[]) AS b(id, need, bound) LEFT JOIN locked l ON l.id = b.id)
  FOR UPDATE OF t SKIP LOCKED
), started AS (
  UPDATE tasks t SET status = 'running', manager_id = $1, agent_id = c.agent_id, fence = t.fence + 1,
    attempt = t.attempt + 1, event_seq = t.event_seq + 1, rejoin = false, attempt_started_at = clock_timestamp(),
    started_at = COALESCE(t.started_at, clock_timestamp()), holds = h.accounts, hold_amounts = h.amounts,
    parked_by = NULL
  FROM chosen c LEFT JOIN holding h ON h.number = c.number WHERE t.id = c.id
  RETURNING t.id, t.tenant, t.fence, t.attempt, t.event_seq, t.agent_id, t.payload, t.stepped, t.resume, t.replays
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.running',
    json_build_object('attempt', attempt, 'fence', fence, 'agent_id', agent_id) FROM started
), reserved AS (
  UPDATE budget_accounts a SET reserved = a.reserved + m.amount, touched_at = clock_timestamp()
  FROM (
    SELECT account, sum(amount) AS amount FROM (
      SELECT w.account, w.amount * n.tasks AS amount FROM wanted w JOIN (
        SELECT c.number, count(*) AS tasks FROM chosen c JOIN started s ON s.id = c.id GROUP BY 1) n USING (number)
      UNION ALL
      SELECT x.account, -x.amount FROM chosen c JOIN started s ON s.id = c.id
        CROSS JOIN LATERAL unnest(c.holds, c.hold_amounts) AS x(account, amount)) both_ways GROUP BY 1) m
  WHERE a.id = m.account
)
SELECT id, fence, attempt, payload, stepped, resume, replays FROM started
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
