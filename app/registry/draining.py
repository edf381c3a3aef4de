"""Draining an agent inside the transaction of whoever decides on it."""

from __future__ import annotations

from uuid import UUID

from app.core.db import HotConnection
from app.core.wake import notify
from app.registry.sizes import TOPIC

_DRAIN = """
UPDATE agents SET status = 'draining', status_reason = $2, updated_at = clock_timestamp()
WHERE id = $1 AND status IN ('starting', 'idle', 'busy', 'failed', 'maintenance') RETURNING 1
"""


async def drain(connection: HotConnection, agent_id: UUID, reason: str) -> bool:
    """No new tasks for this agent; False where it drains already, or is gone."""
    moved = bool(await connection.fetch(_DRAIN, agent_id, reason))
    if moved:
        await notify(connection, TOPIC)
    return moved
