"""Approvals and votes as plain values, the way every other domain sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from app.approvals.policy import Kind

FINAL = frozenset({"approved", "edited", "rejected", "expired", "superseded"})


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """One caller's word. `decision` is approve or reject; `source` says from where."""

    caller: str
    decision: str
    payload_hash: str
    void: bool
    reason: str
    source: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """One approval; `args` and `edited_args` are JSON text (in a list: None).

    `decided_from` is where the decision came from, `decided_by` a caller's id or "policy".
    """

    id: UUID
    tenant: str
    task_id: UUID
    pool: str
    kind: Kind
    step: str
    action: str
    args: str
    edited_args: str | None
    edited: bool
    payload_hash: str
    risk: str | None
    submitted_by: str
    status: str
    scope: str
    groups: list[str]
    quorum: int
    self_approval: bool
    expires_at: datetime | None
    on_expiry: str
    escalate_to: list[str]
    escalate_s: float | None
    escalations: int
    created_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    decided_from: str | None
    reason: str
    votes: tuple[VoteRecord, ...] = ()

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row that has `COLUMNS`, in any order."""
        return cls(**{name: row[name] for name in FIELDS})

    def with_votes(self, votes: tuple[VoteRecord, ...]) -> Self:
        """The same with these votes."""
        return replace(self, votes=votes)

    @property
    def current_args(self) -> str:
        """What is asked now, or was decided: `payload_hash` is of these."""
        return self.args if self.edited_args is None else self.edited_args

    @property
    def final(self) -> bool:
        return self.status in FINAL


FIELDS = tuple(name for name in ApprovalRecord.__dataclass_fields__ if name != "votes")
COLUMNS = ", ".join(FIELDS).replace(" edited,", " edited_args IS NOT NULL AS edited,")
