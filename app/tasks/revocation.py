"""Taking running tasks away from their agents: back into the queue, uncounted, without a claim to the agent.

For a stop (event `task.stopped`), or because the agent is being taken away (`task.returned`).
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from app.core.db import HotConnection
from app.tasks.moves_sql import BACK

# The fence stays and the status is not `running`: whatever the agent still answers is refused, as is every note of it.
# A keyed task keeps its place under its key. In key order, as all that end attempts lock.
_REVOKE = f"""
WITH held AS (
  SELECT t.id, t.manager_id, t.attempt AS tried, t.pool, t.priority, t.tenant, t.tag
  FROM tasks t JOIN unnest($1::uuid[], $2::bigint[]) AS i(id, fence) ON i.id = t.id AND i.fence = t.fence
  WHERE t.status = 'running' ORDER BY t.id FOR UPDATE OF t
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY pool, priority, tenant ORDER BY tag, id) AS nth FROM held
), done AS (
  UPDATE tasks t SET status = 'queued', attempt = t.attempt - 1, manager_id = NULL, rejoin = false, wake_at = NULL,
    tag = {BACK.format(nth="r.nth")}, queued_at = clock_timestamp(), event_seq = t.event_seq + 1
  FROM ranked r WHERE t.id = r.id
  RETURNING t.id, t.fence, t.tenant, t.pool, t.event_seq, t.agent_id, t.attempt_started_at, r.manager_id, r.tried
), tried AS (
  INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, finished_at, outcome, counted,
    error_code, error_message)
  SELECT id, fence, tried, pool, agent_id, manager_id, attempt_started_at, clock_timestamp(), $6, false, $3, $4
  FROM done
), noted AS (
  INSERT INTO events (task_id, seq, tenant, type, data)
  SELECT id, event_seq, tenant, 'task.' || $6, json_strip_nulls(json_build_object('code', $3::text, 'message', $4::text,
    'stop_id', $5::uuid, 'agent_id', agent_id, 'fence', fence, 'delay_s', CASE WHEN $5 IS NULL THEN 0 END)) FROM done
)
SELECT id, fence, pool, agent_id, manager_id FROM done
"""  # noqa: S608 - only constants


async def revoke(
    connection: HotConnection,
    attempts: Sequence[tuple[UUID, int]],
    code: str,
    message: str,
    stop_id: UUID | None = None,
) -> list[asyncpg.Record]:
    """Return running tasks ((id, fence) pairs) to the queue, uncounted: (id, fence, pool, agent_id, manager_id) of
    those that were still running under that fence. Twice changes nothing. `stop_id`: the stop they are taken for."""
    ids, fences = [pair[0] for pair in attempts], [pair[1] for pair in attempts]
    outcome = "returned" if stop_id is None else "stopped"
    return await connection.fetch(_REVOKE, ids, fences, code, message, stop_id, outcome)
