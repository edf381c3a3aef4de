from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

DELIVERY_STATUSES = ("pending", "delivered", "failed")


class Webhook(Base):
    """Where a tenant's events go. `types`: prefixes of event types, none for all. The cursor is the last event read.

    `generation` goes into the derivation of its secret: a new one makes a new secret.
    """

    __tablename__ = "webhooks"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text, index=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    types: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    pool: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    generation: Mapped[int] = mapped_column(Integer, server_default="1")
    cursor_tx: Mapped[int] = mapped_column(BigInteger)
    cursor_task_id: Mapped[UUID]
    cursor_seq: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class WebhookDelivery(Base):
    """One event for one webhook. `body` is sent as it stands; `due_at` is when it is tried (again)."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(DELIVERY_STATUSES) + "')", name="status"),
        Index("ix_webhook_deliveries_due_at", "due_at", postgresql_where=text("status = 'pending'")),
        Index("ix_webhook_deliveries_webhook_id", "webhook_id", text("id DESC")),
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    task_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(Text)
    body: Mapped[Any] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    answer_status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    delivered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
