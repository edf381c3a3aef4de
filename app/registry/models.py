from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

AGENT_STATUSES = ("starting", "idle", "busy", "failed", "maintenance", "draining", "gone")


class Pool(Base):
    """All agents of one agent type, and how they are used.

    `desired` is the number of replicas wanted, `conditions` what keeps them from being so: each has source, code,
    message and since.
    """

    __tablename__ = "pools"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    description: Mapped[str] = mapped_column(Text, server_default="")
    skills: Mapped[dict[str, float]] = mapped_column(JSONB, server_default="{}")
    slots: Mapped[int] = mapped_column(Integer, server_default="1")
    balancer: Mapped[str] = mapped_column(Text, server_default="ai_optimized")
    timeout_s: Mapped[float] = mapped_column(Float, server_default="300")
    max_attempts: Mapped[int] = mapped_column(Integer, server_default="3")
    retry: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    scale: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    launch: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    input_schema: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    output_schema: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    approvals: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    desired: Mapped[int] = mapped_column(Integer, server_default="0")
    conditions: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default="[]")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)


class Agent(Base):
    """One registered executor. `last_seen_at` is the newest heartbeat or answered probe, `probed_at` the newest probe.

    An executor belongs to one pool: among the agents that are not gone, a URL is there once.
    """

    __tablename__ = "agents"
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(AGENT_STATUSES) + "')", name="status"),
        Index("uq_agents_url", "url", unique=True, postgresql_where=text("status <> 'gone'")),
        {"postgresql_with": {"fillfactor": "70"}},
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(ForeignKey("pools.name", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(Text)
    slots: Mapped[int] = mapped_column(Integer)
    weight: Mapped[float] = mapped_column(Float)
    version: Mapped[str] = mapped_column(Text, server_default="")
    labels: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    status: Mapped[str] = mapped_column(Text)
    status_reason: Mapped[str] = mapped_column(Text, server_default="")
    running: Mapped[int] = mapped_column(Integer, server_default="0")
    ejected_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ejected_reason: Mapped[str] = mapped_column(Text, server_default="")
    token_digest: Mapped[bytes] = mapped_column(LargeBinary)
    registered_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    heartbeat_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    probed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)


class Stop(Base):
    """A stop switch: while it is not lifted, no attempt starts that fits all of what it names.

    `tenant`, `pool`, `agent_id`, `label_key` with `label_value` (of agents): None fits all. One is set at least.
    """

    __tablename__ = "stops"
    __table_args__ = (Index("ix_stops_standing", "created_at", postgresql_where=text("lifted_at IS NULL")),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str | None] = mapped_column(Text)
    pool: Mapped[str | None] = mapped_column(Text)
    agent_id: Mapped[UUID | None]
    label_key: Mapped[str | None] = mapped_column(Text)
    label_value: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_by_tenant: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lifted_by: Mapped[str | None] = mapped_column(Text)
    lifted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
