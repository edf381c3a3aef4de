from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

MEASURES = ("require_approval", "freeze_rollouts")


class Tightened(Base):
    """What one pool may not do by itself for the moment, and the objective whose error budget is exhausted."""

    __tablename__ = "tightened"
    __table_args__ = (CheckConstraint("what IN ('" + "','".join(MEASURES) + "')", name="what"),)
    slo_id: Mapped[UUID] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    pool: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)
    slo: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
