from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, DateTime, Float, Index, Integer, SmallInteger, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

RESTRAINTS = ("emergency", "pause")
SOURCES = ("alert", "person")


class Restraint(Base):
    """Emergency mode or a pause, of a pool or (None) of all: it stands until it is ended or expires. One that answers
    an alert has the id of that action. The rows are kept: they tell who switched what on and off, and why."""

    __tablename__ = "restraints"
    __table_args__ = (
        CheckConstraint("kind IN ('" + "','".join(RESTRAINTS) + "')", name="kind"),
        CheckConstraint("source IN ('" + "','".join(SOURCES) + "')", name="source"),
        Index("ix_restraints_standing", "expires_at", postgresql_where=text("ended_at IS NULL")),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    pool: Mapped[str | None] = mapped_column(Text)
    min_priority: Mapped[int | None] = mapped_column(SmallInteger)
    max_running: Mapped[int | None] = mapped_column(Integer)
    max_share: Mapped[float | None] = mapped_column(Float)
    require_approval: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    reason: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_by: Mapped[str | None] = mapped_column(Text)


class TemporaryLimit(Base):
    """A rate that a tenant or pool is kept to until it expires or is ended, besides the limit that it may have. It has
    the id of the action that made it."""

    __tablename__ = "temporary_limits"
    __table_args__ = (
        CheckConstraint("kind IN ('tenant','key','pool')", name="kind"),
        Index("ix_temporary_limits_standing", "expires_at", postgresql_where=text("ended_at IS NULL")),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    rate_per_s: Mapped[float] = mapped_column(Float)
    burst: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
