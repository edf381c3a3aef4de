"""What the approvals need of the tasks they hold up, which live in a domain above this one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import orjson

from app.approvals.policy import Kind
from app.core.db import HotConnection
from app.core.jsonbody import dump_json


@dataclass(frozen=True, slots=True)
class Decided:
    """How an approval ended: status approved, edited, rejected or expired. `args` is JSON text: what was approved.

    `kind` "action": its task waits at `step`; "start": its task is held.
    """

    approval_id: UUID
    task_id: UUID
    tenant: str
    pool: str
    kind: Kind
    step: str
    action: str
    status: str
    args: str
    reason: str
    decided_by: str
    payload_hash: str

    @property
    def granted(self) -> bool:
        """Whether `args` may be carried out."""
        return self.status in ("approved", "edited")

    def outcome(self) -> str:
        """The waiting step's result as JSON text: status, action, args, reason, decided_by, payload_hash."""
        return dump_json(
            {
                "status": self.status,
                "action": self.action,
                "args": orjson.Fragment(self.args),
                "reason": self.reason,
                "decided_by": self.decided_by,
                "payload_hash": self.payload_hash,
            }
        )


class TaskHooks(Protocol):
    """Called by `service.Approvals`, by several requests and loops at once, the first three inside its transaction.

    A Problem that `decided` raises (edited args that the pool's contract refuses) undoes the decision and reaches the
    caller. Nothing here may commit or roll back.
    """

    async def lock(self, connection: HotConnection, task_id: UUID) -> str | None:
        """Lock the task's row; its status, None when there is no such task."""

    async def record(self, connection: HotConnection, task_id: UUID, event_type: str, data: dict[str, Any]) -> None:
        """Write one event of the task, which is locked; nothing for one that is final."""

    async def decided(self, connection: HotConnection, decided: Decided) -> None:
        """Resume, release or end the task, which is locked and as the approval left it (waiting, held)."""

    def committed(self, task_ids: Collection[UUID], pools: Collection[str]) -> None:
        """These tasks have new events; those of these pools may be claimable now."""
