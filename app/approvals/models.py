from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, JSON, Boolean, CheckConstraint, DateTime, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

APPROVAL_STATUSES = ("pending", "approved", "edited", "rejected", "expired", "superseded")


class Approval(Base):
    """One question. `kind` "action": its task waits at `step`; "start": its task is held.

    `args` is JSON as it was asked, `edited_args` as it was changed; `payload_hash` is that of what is asked now (hex).
    Who may decide: callers of the tenant with `scope`, and in one of `groups` where there are any.
    """

    __tablename__ = "approvals"
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(APPROVAL_STATUSES) + "')", name="status"),
        CheckConstraint("kind IN ('action','start')", name="kind"),
        CheckConstraint("on_expiry IN ('expire','reject','escalate')", name="on_expiry"),
        Index("ix_approvals_tenant_status_id", "tenant", "status", text("id DESC")),
        Index("ix_approvals_task_id", "task_id"),
        Index("ix_approvals_expires_at", "expires_at", postgresql_where=text("status = 'pending'")),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    task_id: Mapped[UUID]
    pool: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    step: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    args: Mapped[Any] = mapped_column(JSON)
    edited_args: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    payload_hash: Mapped[str] = mapped_column(Text)
    risk: Mapped[str | None] = mapped_column(Text)
    submitted_by: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    groups: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    quorum: Mapped[int] = mapped_column(Integer, server_default="1")
    self_approval: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    on_expiry: Mapped[str] = mapped_column(Text, server_default="expire")
    escalate_to: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    escalate_s: Mapped[float | None]
    escalations: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[str | None] = mapped_column(Text)
    decided_from: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, server_default="")


class ApprovalVote(Base):
    """One caller's word on one approval, for the payload with this hash. `void`: the payload was edited since."""

    __tablename__ = "approval_votes"
    __table_args__ = (CheckConstraint("decision IN ('approve','reject')", name="decision"),)
    approval_id: Mapped[UUID] = mapped_column(ForeignKey("approvals.id", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    caller: Mapped[str] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(Text)
    payload_hash: Mapped[str] = mapped_column(Text)
    void: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    reason: Mapped[str] = mapped_column(Text, server_default="")
    source: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
