"""What a decision of people does to the task that waits for it. Called by `app.approvals` inside its transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

import orjson

from app.approvals.hooks import Decided
from app.core.db import HotConnection
from app.core.errors import Invalid
from app.core.failpoints import reach
from app.core.jsonbody import dump_json
from app.registry.view import RegistryView
from app.tasks import queue, waits, waits_sql
from app.tasks.queue import Freed
from app.tasks.waits import Outcome

_LOCK = "SELECT status FROM tasks WHERE id = $1 FOR UPDATE"


class EditedPayload(Invalid):
    code, title = "contract_violation", "Payload does not fit the pool's contract"


class ApprovalHooks:
    """`on_freed`, `on_delayed` and `told(task_ids, pools)` are called after the commit."""

    def __init__(
        self,
        view: RegistryView,
        on_freed: Callable[[Freed], None],
        on_delayed: Callable[[], None],
        told: Callable[[Collection[UUID], Collection[str]], None],
    ) -> None:
        self._view, self._on_freed, self._on_delayed, self._told = view, on_freed, on_delayed, told
        self._freed: dict[UUID, Freed] = {}  # to be told after the commit

    async def lock(self, connection: HotConnection, task_id: UUID) -> str | None:
        """The status of a task whose row is locked now."""
        status: str | None = await connection.fetchval(_LOCK, task_id)
        return status

    async def record(self, connection: HotConnection, task_id: UUID, event_type: str, data: dict[str, Any]) -> None:
        """One event of a task that is not final."""
        await queue.note(connection, task_id, event_type, dump_json(data))

    async def decided(self, connection: HotConnection, decided: Decided) -> None:
        """Resume, release or end the task; raises EditedPayload."""
        reach("approval.decided")
        if decided.kind == "action":
            outcome = Outcome(decided.task_id, decided.step, decided.outcome(), failed=not decided.granted)
            resumed = await waits.resume(connection, [outcome])
            self._freed[decided.task_id] = Freed(keys=resumed.keys)
        elif decided.granted:
            await self._release(connection, decided)
        else:
            await self._end_held(connection, decided)

    def committed(self, task_ids: Collection[UUID], pools: Collection[str]) -> None:
        reach("approval.committed")
        self._told(task_ids, pools)
        self._on_delayed()  # a released task is due now
        for task_id in task_ids:
            if (freed := self._freed.pop(task_id, None)) is not None:
                self._on_freed(freed)

    async def _release(self, connection: HotConnection, decided: Decided) -> None:
        edited = None
        if decided.status == "edited":
            pool = self._view.pools.get(decided.pool)
            errors = [] if pool is None else pool.input_contract.errors(orjson.loads(decided.args))
            if errors:
                listed = [{"path": "args" + error["path"], "message": error["message"]} for error in errors]
                raise EditedPayload(f"{listed[0]['path']}: {listed[0]['message']}", extra={"errors": listed})
            edited = decided.args
        await connection.fetchval(waits_sql.RELEASE, decided.task_id, edited)

    async def _end_held(self, connection: HotConnection, decided: Decided) -> None:
        expired = decided.status == "expired"
        status, code = ("expired", "approval_expired") if expired else ("cancelled", "approval_rejected")
        by = "Nobody approved it in time." if expired else f"{decided.decided_by} rejected it."
        message = f"{by} {decided.reason}".strip()
        parent = await connection.fetchval(waits_sql.END_HELD, decided.task_id, status, code, message)
        if parent is not None:
            self._freed[decided.task_id] = Freed(parents={parent})
