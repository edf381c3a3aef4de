from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

REPLICA_STATES = ("running", "draining", "backoff")


class Replica(Base):
    """One launched agent process.

    `pid_started` (seconds since the epoch) tells it from a later process of that pid; `launch_hash` names the launch
    it was started with (`converge.launch_hash`).
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


class PoolScaling(Base):
    """What the autoscaler knows of a pool: its timers and measures, so that a new leader goes on where the old one was.

    `version` rises with every pass: of two that believe to lead, one writes. `state`: `autoscale.State` as JSON;
    `decision`: the newest, with its inputs. `cold_start_s`: from launch to ready, a moving mean; the backends write it.
    """

    __tablename__ = "pool_scaling"
    pool: Mapped[str] = mapped_column(ForeignKey("pools.name", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    state: Mapped[Any] = mapped_column(JSON, server_default="{}")
    cold_start_s: Mapped[float | None] = mapped_column(Float)
    decision: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    decided_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ScaleDecision(Base):
    """A decision that changed something, or whose reason was another than before. Rows in order of `id` (UUIDv7)."""

    __tablename__ = "scale_decisions"
    __table_args__ = (Index("ix_scale_decisions_pool_id", "pool", text("id DESC")),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(ForeignKey("pools.name", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)
    before: Mapped[int] = mapped_column(Integer)
    desired: Mapped[int] = mapped_column(Integer)
    recommended: Mapped[int] = mapped_column(Integer)
    code: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    inputs: Mapped[Any] = mapped_column(JSON)


class PoolLoad(Base):
    """One minute of a pool: what came and how long it took, for forecasts and simulations.

    `service_s` and `service_sq` are sums of attempts' seconds and of their squares; `queued`, `running` and `replicas`
    the highest seen.
    """

    __tablename__ = "pool_load"
    pool: Mapped[str] = mapped_column(ForeignKey("pools.name", ondelete="CASCADE"), primary_key=True)
    minute: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True, index=True)
    arrivals: Mapped[float] = mapped_column(Float)
    finished: Mapped[int] = mapped_column(Integer)
    service_s: Mapped[float] = mapped_column(Float)
    service_sq: Mapped[float] = mapped_column(Float)
    queued: Mapped[int] = mapped_column(Integer)
    running: Mapped[int] = mapped_column(Integer)
    replicas: Mapped[int] = mapped_column(Integer)


class RaisedFloor(Base):
    """At least `replicas` of a pool until it is ended or expires: the answer to an alert, whose action's id it has."""

    __tablename__ = "raised_floors"
    __table_args__ = (Index("ix_raised_floors_standing", "pool", postgresql_where=text("ended_at IS NULL")),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(ForeignKey("pools.name", ondelete="CASCADE"))
    replicas: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
