from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Boolean, CheckConstraint, DateTime, Double, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class SlackChannel(Base):
    """Where a tenant's approvals are posted; `pool` "" stands for every pool that has no channel of its own."""

    __tablename__ = "slack_channels"
    tenant: Mapped[str] = mapped_column(Text, primary_key=True)
    pool: Mapped[str] = mapped_column(Text, primary_key=True)
    channel: Mapped[str] = mapped_column(Text)


class SlackUser(Base):
    """Which API key a Slack user acts with, by tenant: the key's scopes and groups are theirs."""

    __tablename__ = "slack_users"
    tenant: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))


class ApprovalNotice(Base):
    """A message about an approval. `shown` is the status it shows; it is brought up to date until that is final."""

    __tablename__ = "approval_notices"
    __table_args__ = (
        CheckConstraint("state IN ('pending','sent','failed')", name="state"),
        Index("ix_approval_notices_open", "due_at", postgresql_where=text("state = 'pending'")),
    )
    approval_id: Mapped[UUID] = mapped_column(ForeignKey("approvals.id", ondelete="CASCADE"), primary_key=True)
    channel: Mapped[str] = mapped_column(Text, primary_key=True)
    message_id: Mapped[str | None] = mapped_column(Text)
    shown: Mapped[str] = mapped_column(Text, server_default="")
    state: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    error: Mapped[str] = mapped_column(Text, server_default="")


PHASES = ("ok", "pending", "firing", "recovering", "resolved")


class AlertRule(Base):
    """A rule as it was put. `spec`: the fields of `rule.Rule` but its name. `evaluated_at` and `error` are of the last
    evaluation; "" where it went well."""

    __tablename__ = "alert_rules"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    evaluated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    error: Mapped[str] = mapped_column(Text, server_default="")


class AlertState(Base):
    """The state of one instance, as `state.to_json` has it, and the reading it was judged by. It outlives its rule:
    what fired under a rule that is deleted is resolved, and people are told."""

    __tablename__ = "alert_states"
    __table_args__ = (
        CheckConstraint("phase IN ('" + "','".join(PHASES) + "')", name="phase"),
        Index("ix_alert_states_phase", "phase", postgresql_where=text("phase <> 'ok'")),
    )
    rule: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    phase: Mapped[str] = mapped_column(Text)
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
    reading: Mapped[dict[str, Any]] = mapped_column(JSON)
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class AlertTransition(Base):
    """One change of an instance's phase, for whoever asks why."""

    __tablename__ = "alert_transitions"
    __table_args__ = (Index("ix_alert_transitions_rule", "rule", text("id DESC")),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    labels: Mapped[dict[str, str]] = mapped_column(JSON)
    before: Mapped[str] = mapped_column(Text)
    after: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text, server_default="")
    value: Mapped[float | None] = mapped_column(Double)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
