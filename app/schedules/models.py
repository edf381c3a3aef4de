from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Boolean, CheckConstraint, DateTime, Float, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

MISFIRES = ("skip", "run_once", "run_all")
OVERLAPS = ("allow", "skip", "queue", "cancel_previous")


class Schedule(Base):
    """When to submit which task. One of `cron` (in `timezone`), `interval_s` (from `anchor_at`) and `at` is set.

    `task` is the submission as JSON. `next_at`: the next tick, None when there is none. Misfire: ticks missed while
    nobody looked for longer than `misfire_grace_s`; `max_catch_up` bounds "run_all". `backfill_*`: ticks of the past
    that are still to be made.
    """

    __tablename__ = "schedules"
    __table_args__ = (
        CheckConstraint("misfire IN ('" + "','".join(MISFIRES) + "')", name="misfire"),
        CheckConstraint("overlap IN ('" + "','".join(OVERLAPS) + "')", name="overlap"),
        Index("uq_schedules_tenant_name", "tenant", "name", unique=True),
        Index("ix_schedules_next_at", "next_at", postgresql_where=text("NOT paused AND next_at IS NOT NULL")),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    cron: Mapped[str | None] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text, server_default="UTC")
    interval_s: Mapped[float | None] = mapped_column(Float)
    anchor_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    task: Mapped[dict[str, Any]] = mapped_column(JSON)
    misfire: Mapped[str] = mapped_column(Text, server_default="run_once")
    misfire_grace_s: Mapped[float] = mapped_column(Float, server_default="60")
    max_catch_up: Mapped[int] = mapped_column(Integer, server_default="10")
    overlap: Mapped[str] = mapped_column(Text, server_default="allow")
    paused: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    next_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    backfill_from: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    backfill_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ScheduleRun(Base):
    """One tick: the task it made, or why it made none. `outcome`: submitted, skipped, waiting (overlap "queue")."""

    __tablename__ = "schedule_runs"
    __table_args__ = (
        CheckConstraint("outcome IN ('submitted','skipped','waiting','failed')", name="outcome"),
        Index("ix_schedule_runs_waiting", "schedule_id", postgresql_where=text("outcome = 'waiting'")),
    )
    schedule_id: Mapped[UUID] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True)
    tick_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    outcome: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, server_default="")
    task_id: Mapped[UUID | None]
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
