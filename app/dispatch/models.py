from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Manager(Base):
    """One running replica of the service. Times are the database's."""

    __tablename__ = "managers"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


STOPPED_STATES = ("asked", "stopped", "no_answer")


class StoppedAttempt(Base):
    """An attempt that a stop revoked: its agent was `asked` to stop, and did (`stopped`) or gave `no_answer`."""

    __tablename__ = "stopped_attempts"
    __table_args__ = (CheckConstraint("state IN ('" + "','".join(STOPPED_STATES) + "')", name="state"),)
    stop_id: Mapped[UUID] = mapped_column(ForeignKey("stops.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    agent_id: Mapped[UUID | None]
    manager_id: Mapped[UUID | None]
    state: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    answered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
