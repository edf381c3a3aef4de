"""Cancelling within a transaction: tasks, all below them, and the questions that were asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.approvals.opening import supersede
from app.core.db import HotConnection
from app.core.failpoints import reach
from app.core.wake import CHANNEL
from app.tasks import queue
from app.tasks.queue import Freed

CANCEL_TOPIC = "cancel"


@dataclass(slots=True)
class Cancelled:
    """The ids of all tasks that were cancelled, and what that lets others do."""

    ids: list[UUID]
    freed: Freed


async def cancel_within(
    connection: HotConnection, tenant: str, task_ids: Sequence[UUID], reason: str, code: str = "cancelled"
) -> Cancelled:
    """Cancel those that are not final. Managers hear of the running ones when the transaction commits."""
    rows = await queue.cancel(connection, tenant, task_ids, reason, code)
    asking = [row["id"] for row in rows if row["was"] in ("held", "waiting")]
    if asking:
        await supersede(connection, asking, reason or "The task was cancelled.")
    running = [f"{CANCEL_TOPIC}:{row['id']}:{row['fence']}" for row in rows if row["was"] == "running"]
    if running:
        await connection.execute("SELECT pg_notify($1, hint) FROM unnest($2::text[]) AS hint", CHANNEL, running)
    reach("cancel.written")
    freed = Freed()
    freed.add(rows)
    return Cancelled([row["id"] for row in rows], freed)
