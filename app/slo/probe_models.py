from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

OUTCOMES = ("pending", "passed", "failed", "error")


class Probe(Base):
    """A golden task and what it must answer. `asked_at`: since when it asks this; runs from before say nothing about
    it. `next_at`: its next planned time."""

    __tablename__ = "probes"
    __table_args__ = (
        CheckConstraint("fail_after >= 1 AND fail_after <= of_last", name="fail_after"),
        UniqueConstraint("name"),
        Index("ix_probes_next_at", "next_at", postgresql_where=text("enabled")),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    pool: Mapped[str] = mapped_column(Text)
    type: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[Any] = mapped_column(JSON)
    every_s: Mapped[int] = mapped_column(Integer)
    timeout_s: Mapped[float] = mapped_column(Double)
    checks: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    fail_after: Mapped[int] = mapped_column(Integer)
    of_last: Mapped[int] = mapped_column(Integer)
    labels: Mapped[dict[str, str]] = mapped_column(JSON)
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    asked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    next_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ProbeRun(Base):
    """One run. `error`: it could not be made, or its task says nothing about the agents (`reason`). `checks` and
    `latency_s` are of a task that ended."""

    __tablename__ = "probe_runs"
    __table_args__ = (
        CheckConstraint("outcome IN ('" + "','".join(OUTCOMES) + "')", name="outcome"),
        Index("ix_probe_runs_pending", "probe_id", postgresql_where=text("outcome = 'pending'")),
    )
    probe_id: Mapped[UUID] = mapped_column(ForeignKey("probes.id", ondelete="CASCADE"), primary_key=True)
    planned_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    by_hand: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    outcome: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, server_default="")
    task_id: Mapped[UUID | None]
    checks: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    latency_s: Mapped[float | None] = mapped_column(Double)
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    judged_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
