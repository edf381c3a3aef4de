from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

KINDS = ("launch", "version", "rotation")
OUTCOMES = ("pending", "delivered", "given_up")


class SeenVersion(Base):
    """What was seen of a thing that may change: the launch of a pool, versions of its agents, a webhook's secret."""

    __tablename__ = "seen_versions"
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text, primary_key=True)


class ChangeRow(Base):
    """A change that people are told of, as it may explain what comes after it."""

    __tablename__ = "changes"
    __table_args__ = (
        CheckConstraint("kind IN ('" + "','".join(KINDS) + "')", name="kind"),
        Index("ix_changes_at", "at"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ChangeSend(Base):
    """One change for one receiver. `due_at`: when it is tried (again)."""

    __tablename__ = "change_sends"
    __table_args__ = (
        CheckConstraint("outcome IN ('" + "','".join(OUTCOMES) + "')", name="outcome"),
        Index("ix_change_sends_due_at", "due_at", postgresql_where=text("outcome = 'pending'")),
    )
    change_id: Mapped[UUID] = mapped_column(ForeignKey("changes.id", ondelete="CASCADE"), primary_key=True)
    receiver: Mapped[str] = mapped_column(ForeignKey("receivers.name", ondelete="CASCADE"), primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, server_default="pending")
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    detail: Mapped[str] = mapped_column(Text, server_default="")
