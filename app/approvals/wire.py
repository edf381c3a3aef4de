"""The JSON shapes of approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app.approvals.records import ApprovalRecord

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="`payload_hash` of what you saw.")]
Reason = Annotated[str, Field(max_length=2000, description="For the agent, and for the record.")]

_HASH = "c4a1ac2d6e9a2f5b8b1ab2f1b8a6a0a7f6f2b1f4d5d0c9e8a7b6c5d4e3f2a1b0"

APPROVAL_EXAMPLE: dict[str, Any] = {
    "id": "01939f30-11aa-7b5c-9c1d-2f6a8d0e4b21",
    "status": "pending",
    "kind": "action",
    "task_id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10",
    "pool": "incident_responder",
    "step": "approve:shell",
    "action": "shell",
    "payload_hash": _HASH,
    "edited": False,
    "risk": "high",
    "submitted_by": "3f9c21ab07",
    "may_decide": {"scope": "approvals:decide", "tenant": "default", "groups": ["sre"], "but_not": "3f9c21ab07"},
    "quorum": 1,
    "expires_at": "2026-11-21T00:25:00Z",
    "on_expiry": "expire",
    "escalations": 0,
    "created_at": "2026-11-20T20:25:00Z",
    "decided_at": None,
    "decided_by": None,
    "decided_from": None,
    "reason": "",
}

_WHOLE: dict[str, Any] = {"args": {"command": ["df", "-h"]}, "edited_args": None, "votes": []}


class ApproveIn(BaseModel):
    """Yes to exactly what has this hash. With `args`: yes to these instead, which get a hash of their own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"payload_hash": _HASH, "reason": "checked with the team"},
                {"payload_hash": _HASH, "args": {"command": ["df", "-h", "/var"]}},
            ]
        },
    )
    payload_hash: Hash
    args: Any = Field(None, description="Run these arguments instead. Left out: as asked; null is a value.")
    reason: Reason = ""


class RejectIn(BaseModel):
    """No. The hash is optional: with it, no only to what has it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "not on this host"}]})
    payload_hash: Hash | None = None
    reason: Reason = ""


class MayDecide(BaseModel):
    """Callers of `tenant` with `scope`, of one of `groups` where there are any. `but_not`: the task's submitter."""

    scope: str
    tenant: str
    groups: list[str]
    but_not: str | None


class VoteOut(BaseModel):
    """What one caller said. `void`: the payload was edited since."""

    caller: str
    decision: str = Field(description="approve or reject")
    payload_hash: str
    void: bool
    reason: str
    source: str = Field(description="From where: `api:` and an address, or `slack:` and a user.")
    at: datetime


class ApprovalSummary(BaseModel):
    """An approval in a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [APPROVAL_EXAMPLE]})
    id: UUID
    status: str = Field(description="pending, approved, edited, rejected, expired or superseded")
    kind: str = Field(description="`action`: the task waits at `step`; `start`: the task is held.")
    task_id: UUID
    pool: str
    step: str
    action: str
    payload_hash: str = Field(description="Hex SHA-256 of the canonical JSON (RFC 8785) of what is asked now.")
    edited: bool = Field(description="The arguments are not those that were asked first.")
    risk: str | None
    submitted_by: str
    may_decide: MayDecide
    quorum: int
    expires_at: datetime | None
    on_expiry: str
    escalations: int
    created_at: datetime
    decided_at: datetime | None
    decided_by: str | None = Field(description="A key's id, or `policy`.")
    decided_from: str | None
    reason: str


class ApprovalOut(ApprovalSummary):
    """An approval as a whole: exactly what would run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**APPROVAL_EXAMPLE, **_WHOLE}]})
    args: Any = Field(description="As they were asked first.")
    edited_args: Any = Field(description="What is asked now instead, where `edited` is true.")
    votes: list[VoteOut]


class ApprovalPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [APPROVAL_EXAMPLE], "next_page_token": None}]})
    items: list[ApprovalSummary]
    next_page_token: str | None


_PLAIN = tuple(name for name in ApprovalSummary.model_fields if name not in ("may_decide", "edited"))


def approval_json(record: ApprovalRecord, *, whole: bool = True) -> dict[str, Any]:
    """An approval as the API shows it; `whole` adds arguments and votes."""
    shown = {name: getattr(record, name) for name in _PLAIN}
    shown["edited"] = record.edited
    shown["may_decide"] = {
        "scope": record.scope,
        "tenant": record.tenant,
        "groups": record.groups,
        "but_not": None if record.self_approval else record.submitted_by,
    }
    if whole:
        shown["args"] = orjson.Fragment(record.args)
        shown["edited_args"] = None if record.edited_args is None else orjson.Fragment(record.edited_args)
        shown["votes"] = [{name: getattr(vote, name) for name in VoteOut.model_fields} for vote in record.votes]
    return shown
