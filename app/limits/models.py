from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Float, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

KINDS = ("tenant", "key", "pool")
POLICIES = ("queue", "reject", "cancel_older")


class Limit(Base):
    """What one tenant, API key or pool may do. None: no bound.

    `rate_per_s` submissions a second with `burst` at once; `concurrency` running tasks under one concurrency key, with
    `policy` for one more; `weight` (tenants) of its turns inside one priority.
    """

    __tablename__ = "limits"
    __table_args__ = (
        CheckConstraint("kind IN ('" + "','".join(KINDS) + "')", name="kind"),
        CheckConstraint("policy IN ('" + "','".join(POLICIES) + "')", name="policy"),
    )
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    rate_per_s: Mapped[float | None] = mapped_column(Float)
    burst: Mapped[int | None] = mapped_column(Integer)
    concurrency: Mapped[int | None] = mapped_column(Integer)
    policy: Mapped[str] = mapped_column(Text, server_default="queue")
    weight: Mapped[float | None] = mapped_column(Float)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
