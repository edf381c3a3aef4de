from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, Integer, Text, func, text
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
