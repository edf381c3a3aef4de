"""Events that callers send to tasks that wait for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import uuid_utils

from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound
from app.core.failpoints import reach
from app.core.jsonbody import dump_json
from app.events.hub import Hub
from app.settings import DurableSettings
from app.tasks import waits, waits_sql
from app.tasks.models import FINAL_STATUSES
from app.tasks.queue import Freed

_KEYED = UUID("6b1f3a52-9f0e-4d1c-8c35-2f6d0a7be911")


class SignalTaskNotFound(NotFound):
    code, title = "task_not_found", "No such task"


class SignalTaskFinal(Conflict):
    code, title = "task_final", "The task is final"


class SignalKeyReused(Invalid):
    code, title = "idempotency_key_reused", "Idempotency key used for another request"


@dataclass(frozen=True, slots=True)
class Sent:
    """A stored event, and how many tasks went on with it at once. `replayed`: an earlier request sent it."""

    id: UUID
    matched: int
    replayed: bool = False


def _id_of(tenant: str, key: str | None) -> UUID:
    """A new id, or the one that belongs to the key."""
    if key is None:
        return UUID(bytes=uuid_utils.uuid7().bytes)
    return uuid5(_KEYED, f"{tenant}\x1f{key}")


async def _sent_before(connection: HotConnection, signal_id: UUID, name: str, task_id: UUID | None, data: Any) -> Sent:
    row = await connection.fetchrow("SELECT name, task_id, data FROM signals WHERE id = $1", signal_id)
    assert row is not None
    if (row["name"], row["task_id"], row["data"]) != (name, task_id, dump_json(data)):
        raise SignalKeyReused("This Idempotency-Key was used with another event.")
    matched = await connection.fetchval("SELECT count(*) FROM signal_uses WHERE signal_id = $1", signal_id)
    return Sent(signal_id, int(matched), replayed=True)


class Signals:
    """`send` stores an event and resumes whom it fits, in one transaction. It is kept for those who wait later."""

    def __init__(
        self,
        db: Database,
        hub: Hub,
        settings: DurableSettings,
        on_queued: Callable[[set[str]], None],
        on_freed: Callable[[Freed], None],
    ) -> None:
        self._db, self._hub, self._settings = db, hub, settings
        self._on_queued, self._on_freed = on_queued, on_freed

    async def send(
        self, caller: Caller, name: str, data: Any, task_id: UUID | None, idempotency_key: str | None = None
    ) -> Sent:
        """Raises SignalTaskNotFound, SignalTaskFinal or SignalKeyReused. The same key again, while the event is kept,
        sends nothing new."""
        signal_id = _id_of(caller.tenant, idempotency_key)
        async with self._db.hot() as connection, connection.transaction():
            await waits.lock_event(connection, caller.tenant, name)
            if task_id is not None:
                status = await connection.fetchval(
                    "SELECT status FROM tasks WHERE id = $1 AND tenant = $2", task_id, caller.tenant
                )
                if status is None:
                    raise SignalTaskNotFound("There is no task with this id.")
                if status in FINAL_STATUSES:
                    raise SignalTaskFinal(f"The task is {status}: it waits for nothing.", extra={"task_status": status})
            added = await connection.fetchval(
                waits_sql.SEND,
                signal_id,
                caller.tenant,
                name,
                task_id,
                dump_json(data),
                caller.id,
                self._settings.signal_retention_s,
            )
            if added is None:
                return await _sent_before(connection, signal_id, name, task_id, data)
            resumed = await waits.resume_matched(connection, signal_id=signal_id)
            reach("signal.matched")
        self._hub.changed(resumed.ids)
        if resumed.pools:
            self._on_queued(resumed.pools)
        if resumed.keys:
            self._on_freed(Freed(keys=resumed.keys))
        return Sent(signal_id, len(resumed.ids))
