"""The statements of webhooks and deliveries, but for those of the loops. `$n` are their arguments."""

# ruff: noqa: S608 - built of constants only

from __future__ import annotations

from app.webhooks.records import NO_TASK, PING

WEBHOOK_COLUMNS = (
    "id, tenant, url, description, types, pool, enabled, generation, cursor_tx, cursor_task_id, cursor_seq, created_at"
)
DELIVERY_COLUMNS = (
    "id, webhook_id, task_id, seq, type, body, status, tries, due_at, answer_status, answer, created_at, delivered_at"
)

OF_TENANT = (
    f"SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE tenant = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"
)
ONE = f"SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE tenant = $1 AND id = $2"
ENABLED = f"SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE enabled ORDER BY id"

DELIVERIES = f"""
SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries
WHERE webhook_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC LIMIT $4
"""
ONE_DELIVERY = f"SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE webhook_id = $1 AND id = $2"


# The horizon of the feed at this moment: every event of a transaction that ends later lies behind it. Events of
# moments before may lie behind it too, and are delivered.
_NOW = "(pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"
_START = f"cursor_tx = {_NOW}, cursor_task_id = '{NO_TASK}', cursor_seq = 0"

# Counted without a lock: two requests at once may go one past the limit.
CREATE = f"""
INSERT INTO webhooks (id, tenant, url, description, types, pool, enabled, cursor_tx, cursor_task_id, cursor_seq)
SELECT $1, $2, $3, $4, $5, $6, $7, {_NOW}, '{NO_TASK}', 0
WHERE (SELECT count(*) FROM webhooks WHERE tenant = $2) < $8
RETURNING {WEBHOOK_COLUMNS}
"""
LOCK = f"SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE tenant = $1 AND id = $2 FOR UPDATE"
CHANGE = f"""
UPDATE webhooks SET url = $2, description = $3, types = $4, pool = $5, enabled = $6
WHERE id = $1 RETURNING {WEBHOOK_COLUMNS}
"""
RESTART = f"UPDATE webhooks SET {_START} WHERE id = $1"
ROTATE = f"UPDATE webhooks SET generation = generation + 1 WHERE tenant = $1 AND id = $2 RETURNING {WEBHOOK_COLUMNS}"
DISABLE = "UPDATE webhooks SET enabled = false WHERE id = $1 AND enabled RETURNING tenant"
GIVE_UP = """
UPDATE webhook_deliveries
SET status = 'failed', answer = CASE WHEN answer = '' THEN 'The webhook was disabled.' ELSE answer END
WHERE webhook_id = $1 AND status = 'pending'
"""
ADD_PING = f"""
INSERT INTO webhook_deliveries (id, webhook_id, task_id, seq, type, body, status)
VALUES ($1, $2, '{NO_TASK}', 0, '{PING}', $3, 'pending') RETURNING {DELIVERY_COLUMNS}
"""
AGAIN = f"""
UPDATE webhook_deliveries SET status = 'pending', tries = 0, due_at = now(), delivered_at = NULL
WHERE webhook_id = $1 AND id = $2 RETURNING {DELIVERY_COLUMNS}
"""
# Oldest first, and no more at once than a webhook may have pending.
ALL_AGAIN = """
WITH old AS (
  SELECT id FROM webhook_deliveries
  WHERE webhook_id = $1 AND status = 'failed' AND ($2::timestamptz IS NULL OR created_at >= $2)
  ORDER BY id
  LIMIT greatest(0, $3 - (SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $1 AND status = 'pending'))
  FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d SET status = 'pending', tries = 0, due_at = now() FROM old WHERE d.id = old.id RETURNING 1
"""
FAILED_LEFT = """
SELECT count(*) FROM webhook_deliveries
WHERE webhook_id = $1 AND status = 'failed' AND ($2::timestamptz IS NULL OR created_at >= $2)
"""
FORGET = """
DELETE FROM webhook_deliveries
WHERE id = ANY(ARRAY(SELECT id FROM webhook_deliveries WHERE webhook_id = $1 LIMIT $2)) RETURNING 1
"""
