from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, DateTime, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class LoopBeats(Base):
    """How late each loop of a manager was when it last told: name → seconds, 0 for one that is in time."""

    __tablename__ = "loop_beats"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)
    manager_id: Mapped[UUID] = mapped_column(primary_key=True)
    lags: Mapped[dict[str, float]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
