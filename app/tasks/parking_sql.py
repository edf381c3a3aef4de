"""The statements by which `parking.py` sets tasks aside for which there is no money. Only constants are joined."""

from app.auth.callers import PROBES_TENANT
from app.tasks.queue_sql import CLAIMABLE, LOOKED_PAST

# Tasks for which an account has no money: looked at again at a time, or when there is room. The event tells of it once
# an account.
PARK = f"""
WITH chosen AS (
  SELECT t.id, i.account, i.until, i.data, i.need, t.parked_by IS DISTINCT FROM i.account AS news
  FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::timestamptz[], $5::json[], $6::numeric[])
    AS i(id, fence, account, until, data, need)
  JOIN tasks t ON t.id = i.id AND t.fence = i.fence WHERE {CLAIMABLE} FOR UPDATE OF t SKIP LOCKED
), parked AS (
  UPDATE tasks t SET wake_at = c.until, parked_by = c.account, parked_need = c.need,
    event_seq = t.event_seq + c.news::int
  FROM chosen c WHERE t.id = c.id
  RETURNING t.id, t.tenant, t.pool, t.event_seq, t.concurrency_key AS key, c.news, c.data
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.parked', data FROM parked WHERE news
)
SELECT id, pool, tenant, key FROM parked
"""

# The same for the first of one type in a pool (and tenant) whose money is gone altogether: else each of a long queue
# would be looked at by itself. Money of everybody is none of the probes'.
PARK_ALL = f"""
WITH chosen AS (
  SELECT t.id FROM (
    SELECT t.id, t.tenant, t.type, t.over_budget FROM tasks t
    WHERE t.pool = $1 AND t.pinned_agent_id IS NULL AND {CLAIMABLE}
    ORDER BY t.priority DESC, t.tag, t.id LIMIT {LOOKED_PAST}) f
  JOIN tasks t ON t.id = f.id
  WHERE (f.tenant = $2 OR ($2::text IS NULL AND f.tenant <> '{PROBES_TENANT}')) AND f.type = $3
    AND NOT f.over_budget AND {CLAIMABLE} AND t.holds IS NULL
  LIMIT $6 FOR UPDATE OF t SKIP LOCKED
)
UPDATE tasks t SET wake_at = $5, parked_by = $4, parked_need = $7 FROM chosen c WHERE t.id = c.id
RETURNING t.id, t.pool, t.tenant, t.concurrency_key AS key
"""

# People are asked whether it may start without money.
HOLD = f"""
WITH chosen AS (
  SELECT t.id, i.account FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS i(id, fence, account)
  JOIN tasks t ON t.id = i.id AND t.fence = i.fence WHERE {CLAIMABLE} FOR UPDATE OF t SKIP LOCKED
), held AS (
  UPDATE tasks t SET status = 'held', over_budget = true, parked_by = c.account, event_seq = t.event_seq + 1
  FROM chosen c WHERE t.id = c.id
  RETURNING t.id, t.tenant, t.pool, t.event_seq, t.priority, t.payload, t.submitted_by, t.concurrency_key AS key
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.held', json_build_object('pool', pool, 'priority', priority) FROM held
)
SELECT id, tenant, pool, payload, submitted_by, key FROM held
"""

REFUSE = f"""
WITH chosen AS (
  SELECT t.id, i.message FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS i(id, fence, message)
  JOIN tasks t ON t.id = i.id AND t.fence = i.fence WHERE {CLAIMABLE} FOR UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE tasks t SET status = 'failed', error_code = 'budget_exhausted', error_message = c.message,
    event_seq = t.event_seq + 1, finished_at = clock_timestamp()
  FROM chosen c WHERE t.id = c.id
  RETURNING t.id, t.tenant, t.pool, t.event_seq, t.attempt, t.parent_id, t.error_message, t.concurrency_key AS key
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.failed',
    json_build_object('attempt', attempt, 'code', 'budget_exhausted', 'message', error_message) FROM done
)
SELECT id, pool, tenant, parent_id, key FROM done
"""

# A loose index scan: one probe an account, however many tasks it parked.
PARKED_BY = """
WITH RECURSIVE accounts AS (
  (SELECT parked_by FROM tasks WHERE status = 'queued' AND parked_by IS NOT NULL ORDER BY parked_by LIMIT 1)
  UNION ALL
  SELECT (SELECT t.parked_by FROM tasks t WHERE t.status = 'queued' AND t.parked_by > a.parked_by
    ORDER BY t.parked_by LIMIT 1) FROM accounts a WHERE a.parked_by IS NOT NULL
)
SELECT parked_by FROM accounts WHERE parked_by IS NOT NULL
"""

# The oldest of those that the account's room would do for (NULL: for all). One that it would not do for is left alone.
UNPARK = """
WITH chosen AS (
  SELECT c.id FROM unnest($1::uuid[], $2::numeric[], $3::int[]) AS p(account, room, most) CROSS JOIN LATERAL (
    SELECT id FROM tasks WHERE status = 'queued' AND parked_by = p.account
      AND (p.room IS NULL OR parked_need <= p.room) AND wake_at > clock_timestamp() AND wake_at < 'infinity'
    ORDER BY id LIMIT p.most FOR UPDATE SKIP LOCKED) c
)
UPDATE tasks t SET wake_at = clock_timestamp() FROM chosen c WHERE t.id = c.id RETURNING t.parked_by
"""

# What people cannot be asked about waits after all.
TAKE_BACK = """
UPDATE tasks SET status = 'queued', over_budget = false, wake_at = $2 WHERE id = ANY($1) AND status = 'held'
"""
