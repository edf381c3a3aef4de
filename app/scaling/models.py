from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Float, ForeignKey, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

REPLICA_STATES = ("running", "draining", "backoff")


class Replica(Base):
    """One launched agent process.

    `pid_started` (seconds since the epoch) tells it from a later process of that pid; `launch_hash` names the launch
    it was started with (`decide.launch_hash`).
    """

    __tablename__ = "replicas"
    __table_args__ = (CheckConstraint("state IN ('" + "','".join(REPLICA_STATES) + "')", name="state"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(ForeignKey("pools.name", ondelete="CASCADE"), index=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    pid_started: Mapped[float] = mapped_column(Float)
    launch_hash: Mapped[str] = mapped_column(Text, server_default="")
    state: Mapped[str] = mapped_column(Text)
    crashes: Mapped[int] = mapped_column(Integer, server_default="0")
    state_since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    start_after: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_exit: Mapped[str] = mapped_column(Text, server_default="")
