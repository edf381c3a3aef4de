from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, DateTime, Double, Index, Integer, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

ACTION_STATUSES = ("retrying", "running", "done", "ended", "skipped", "dry_run", "failed")


class AlertAction(Base):
    """The account of one answer to one alert instance: there is one at most, whatever became of it.

    `retrying`: it did not work yet, and is tried again at `due_at`. `running`: its effect lasts, until `expires_at` or
    (`until_resolved`) the alert's end. Then `ended`, by `ended_by`: resolved, expired, rule_changed, or a caller.
    `done`: there was nothing to end. `skipped`: there was nothing to do. `failed`: given up after `tries`.
    """

    __tablename__ = "alert_actions"
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(ACTION_STATUSES) + "')", name="status"),
        UniqueConstraint("rule", "fingerprint", "fired_at", name="uq_alert_actions_rule"),
        Index("ix_alert_actions_open", "expires_at", postgresql_where=text("status IN ('retrying', 'running')")),
        Index("ix_alert_actions_created_at", "created_at"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    fired_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    action: Mapped[str] = mapped_column(Text)
    labels: Mapped[dict[str, str]] = mapped_column(JSON)
    scope: Mapped[dict[str, str]] = mapped_column(JSON, server_default="{}")
    params: Mapped[dict[str, Any]] = mapped_column(JSON)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    value: Mapped[float | None] = mapped_column(Double)
    status: Mapped[str] = mapped_column(Text)
    until_resolved: Mapped[bool] = mapped_column(server_default=text("true"))
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_by: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text, server_default="")


class AlertReport(Base):
    """What was captured when an alert began to fire; it has the id of the action that captured it."""

    __tablename__ = "alert_reports"
    __table_args__ = (
        Index("ix_alert_reports_alert", "rule", "fingerprint", "fired_at"),
        Index("ix_alert_reports_created_at", "created_at"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    fired_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    pool: Mapped[str] = mapped_column(Text, server_default="")
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
