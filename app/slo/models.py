from __future__ import annotations

from datetime import datetime
from decimal import Decimal
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
    Numeric,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

KINDS = ("availability", "latency", "accuracy")
WINDOWS = ("rolling", "month", "week")
SOURCES = ("human", "judge")


class Slo(Base):
    """One objective. `id` is new when a deleted name comes back, or when what it counts changes: its buckets are of the
    old one. `burn_rules`: as planned. Minutes from `counted_from` to `counted_until` are in its buckets, or of tasks
    that were deleted before; None: it is new."""

    __tablename__ = "slos"
    __table_args__ = (
        CheckConstraint("kind IN ('" + "','".join(KINDS) + "')", name="kind"),
        CheckConstraint("window_kind IN ('" + "','".join(WINDOWS) + "')", name="window_kind"),
        CheckConstraint("target > 0 AND target < 1", name="target"),
        UniqueConstraint("owner", "name"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    target: Mapped[Decimal] = mapped_column(Numeric)
    window_kind: Mapped[str] = mapped_column(Text)
    window_s: Mapped[int | None] = mapped_column(Integer)
    zone: Mapped[str] = mapped_column(Text, server_default="UTC")
    tenant: Mapped[str | None] = mapped_column(Text)
    pool: Mapped[str | None] = mapped_column(Text)
    label_key: Mapped[str | None] = mapped_column(Text)
    label_value: Mapped[str | None] = mapped_column(Text)
    threshold_s: Mapped[Decimal | None] = mapped_column(Numeric)
    queue_wait: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    evaluator: Mapped[str | None] = mapped_column(Text)
    version: Mapped[str | None] = mapped_column(Text)
    pass_score: Mapped[Decimal] = mapped_column(Numeric, server_default="0.5")
    coverage_floor: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    settle_after_s: Mapped[int] = mapped_column(Integer, server_default="0")
    description: Mapped[str] = mapped_column(Text, server_default="")
    burn_rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    min_events: Mapped[int] = mapped_column(Integer, server_default="1")
    on_exhausted: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    counted_from: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    counted_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class SloBucket(Base):
    """What one minute of an objective counted, always replaced as a whole. `named`: the same events by what they were
    (`counts.NAMES`). A minute without a row was not counted, or nothing happened in it."""

    __tablename__ = "slo_buckets"
    __table_args__ = (Index("ix_slo_buckets_pending", "slo_id", "start", postgresql_where=text("pending > 0")),)
    slo_id: Mapped[UUID] = mapped_column(ForeignKey("slos.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    good: Mapped[int] = mapped_column(BigInteger)
    bad: Mapped[int] = mapped_column(BigInteger)
    unscored: Mapped[int] = mapped_column(BigInteger)
    pending: Mapped[int] = mapped_column(BigInteger)
    excluded: Mapped[int] = mapped_column(BigInteger)
    named: Mapped[dict[str, int]] = mapped_column(JSON)


class Feedback(Base):
    """A verdict about a task's result, never changed: a second thought is another row. `source`: who speaks, a person
    or a judge. `score` is 0 to 1."""

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("source IN ('" + "','".join(SOURCES) + "')", name="source"),
        CheckConstraint("score IS NULL OR (score >= 0 AND score <= 1)", name="score"),
        Index("ix_feedback_task_id", "task_id"),
        # Which buckets verdicts have reopened since the last look. Never updated: a block range spans a short time.
        Index(
            "ix_feedback_at",
            "at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
        ),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[UUID]
    tenant: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    evaluator: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    score: Mapped[Decimal | None] = mapped_column(Numeric)
    label: Mapped[str | None] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text, server_default="")
    said_by: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
