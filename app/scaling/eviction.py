"""Taking what still runs from agents that are about to be ended: their grace is over."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import structlog

from app.core.db import Database
from app.core.wake import notify
from app.tasks import revocation

log = structlog.get_logger()

CODE = "agent_taken_away"
BATCH = 1000
QUEUED_TOPIC = "queued"

_RUNNING = "SELECT id, fence, pool FROM tasks WHERE status = 'running' AND agent_id = ANY($1) ORDER BY id LIMIT $2"


async def evict(db: Database, agent_ids: Collection[UUID], why: str) -> int:
    """Return what these agents run to the queue, uncounted; how many tasks that were.

    The agents must not be given new tasks (be draining) before. What they still answer is refused.
    """
    message = f"The agent was taken away: {why}"
    evicted = 0
    while agent_ids:
        async with db.hot() as connection, connection.transaction():
            rows = await connection.fetch(_RUNNING, list(agent_ids), BATCH)
            done = await revocation.revoke(connection, [(row["id"], row["fence"]) for row in rows], CODE, message)
            pools = sorted({row["pool"] for row in done})
            if pools:
                await notify(connection, QUEUED_TOPIC, ",".join(pools))
        evicted += len(done)
        if len(rows) < BATCH:
            break
    if evicted:
        log.warning("tasks_evicted", agents=sorted(map(str, agent_ids)), tasks=evicted, why=why)
    return evicted
