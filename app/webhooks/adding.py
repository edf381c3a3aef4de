"""Deliveries of what is no event of a task, added inside the transaction of whoever has something to tell."""

from __future__ import annotations

from uuid import UUID

from app.core.db import HotConnection
from app.core.wake import notify
from app.webhooks.records import NO_TASK

TOPIC = "deliveries"

# Under this id it is there once, however often it is added.
_ADD = f"""
INSERT INTO webhook_deliveries (id, webhook_id, task_id, seq, type, body, status)
SELECT $2, id, '{NO_TASK}', 0, $3, $4, 'pending' FROM webhooks WHERE id = $1 AND enabled
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - only constants
_ENABLED = "SELECT enabled FROM webhooks WHERE id = $1"


async def add(connection: HotConnection, webhook_id: UUID, delivery_id: UUID, event_type: str, body: str) -> bool:
    """Have `body` (JSON text) sent to the webhook: signed, retried and logged as its other deliveries.

    False: there is no such webhook, or it is disabled.
    """
    if not await connection.fetchval(_ENABLED, webhook_id):
        return False
    await connection.execute(_ADD, webhook_id, delivery_id, event_type, body)
    await notify(connection, TOPIC)
    return True
