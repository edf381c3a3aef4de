"""Ask and withdraw questions, inside the transaction of whoever moves the task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils

from app.approvals.hooks import Decided
from app.approvals.payload import read
from app.approvals.policy import Kind, Policy, shortened
from app.core.db import HotConnection
from app.core.jsonbody import dump_json

POLICY = "policy"
"""Who decided, where nobody did."""

_OPEN = """
INSERT INTO approvals (id, task_id, tenant, pool, kind, step, action, args, payload_hash, risk, submitted_by, scope,
  groups, quorum, self_approval, expires_at, on_expiry, escalate_to, escalate_s, status, decided_by, decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now() + make_interval(secs => $16), $17, $18,
  $19, $20, $21, CASE WHEN $20 <> 'pending' THEN now() END)
RETURNING expires_at
"""

_SUPERSEDE = """
WITH pending AS (
  SELECT id FROM approvals WHERE task_id = ANY($1) AND status = 'pending' ORDER BY id FOR UPDATE
)
UPDATE approvals a SET status = 'superseded', reason = $2, decided_at = now() FROM pending p WHERE a.id = p.id
RETURNING a.id, a.task_id, a.step
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a task: `args_json` as they came, `policy` from `policy.of`.

    `expires_s` may shorten the policy's expiry, never lengthen it. `submitted_by` is the task's.
    """

    task_id: UUID
    tenant: str
    pool: str
    kind: Kind
    step: str
    action: str
    args_json: str
    submitted_by: str
    policy: Policy
    risk: str | None = None
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The approval of one question. `events` ((type, JSON data)) are the task's: write them in the same transaction.

    `decided`: the policy approved it at once and the task goes on; None: it waits for people.
    """

    id: UUID
    payload_hash: str
    expires_at: datetime | None
    decided: Decided | None
    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Superseded:
    """An approval that nobody need decide any more, and the data (JSON) of `approval.superseded`."""

    id: UUID
    task_id: UUID
    data: str


async def open_many(connection: HotConnection, questions: Sequence[Question]) -> dict[UUID, Opened]:
    """Write approvals, one a task at most, in the caller's transaction, which holds or inserts the tasks' rows.

    Raises NotCanonical; `payload.read` says beforehand whether it would.
    """
    read_args = [read(question.action, question.args_json) for question in questions]
    ids = [UUID(bytes=uuid_utils.uuid7().bytes) for _ in questions]
    rows = [_row(*item) for item in zip(ids, questions, read_args, strict=True)]
    written = await connection.fetchmany(_OPEN, rows) if rows else []
    return {
        question.task_id: _opened(approval_id, question, args, written_row["expires_at"])
        for approval_id, question, args, written_row in zip(ids, questions, read_args, written, strict=True)
    }


def _row(approval_id: UUID, question: Question, args: tuple[str, str]) -> tuple[Any, ...]:
    policy, asks = question.policy, question.policy.required
    return (
        approval_id,
        question.task_id,
        question.tenant,
        question.pool,
        question.kind,
        question.step,
        question.action,
        *args,
        question.risk,
        question.submitted_by,
        policy.scope,
        list(policy.groups),
        policy.quorum,
        policy.self_approval,
        shortened(policy.expires_s, question.expires_s) if asks else None,
        policy.on_expiry,
        list(policy.escalate_to),
        policy.escalate_s,
        "pending" if asks else "approved",
        None if asks else POLICY,
    )


def _opened(approval_id: UUID, question: Question, args: tuple[str, str], expires_at: datetime | None) -> Opened:
    args_json, payload_hash = args
    asked = {
        "approval_id": approval_id,
        "step": question.step,
        "action": question.action,
        "payload_hash": payload_hash,
        "risk": question.risk,
        "expires_at": expires_at,
        "groups": list(question.policy.groups),
        "quorum": question.policy.quorum,
    }
    if question.policy.required:
        events = (("approval.requested", dump_json(asked)),)
        return Opened(approval_id, payload_hash, expires_at, None, events)
    decided = Decided(
        approval_id,
        question.task_id,
        question.tenant,
        question.pool,
        question.kind,
        question.step,
        question.action,
        "approved",
        args_json,
        "",
        POLICY,
        payload_hash,
    )
    return Opened(approval_id, payload_hash, None, decided, (("approval.decided", dump_json(decided_data(decided))),))


def decided_data(decided: Decided, source: str | None = None) -> dict[str, Any]:
    """The data of `approval.decided`."""
    return {
        "approval_id": decided.approval_id,
        "step": decided.step,
        "status": decided.status,
        "decided_by": decided.decided_by,
        "source": source,
        "reason": decided.reason,
        "payload_hash": decided.payload_hash,
    }


async def supersede(connection: HotConnection, task_ids: Collection[UUID], reason: str) -> list[Superseded]:
    """Withdraw what is pending of these tasks, whose rows the caller's transaction holds: they go on or end without.

    Of a task that ends, its own last event tells of it: `approval.superseded` is for those that go on.
    """
    rows = await connection.fetch(_SUPERSEDE, list(task_ids), reason)
    return [
        Superseded(
            row["id"],
            row["task_id"],
            dump_json({"approval_id": row["id"], "step": row["step"], "reason": reason}),
        )
        for row in rows
    ]
