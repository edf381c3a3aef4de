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
    Float,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base

TASK_STATUSES = ("held", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired")
FINAL_STATUSES = ("succeeded", "failed", "cancelled", "expired")

_READY = "status = 'queued' AND wake_at IS NULL AND pinned_agent_id IS NULL"
WAIT_REASONS = ("approval", "call", "event", "timer")

_PINNED = "status = 'queued' AND wake_at IS NULL AND pinned_agent_id IS NOT NULL"
_OPEN = "status IN ('held', 'queued', 'running', 'waiting')"


class Task(Base):
    """One unit of work. `wake_at` set: not claimable yet; `infinity`: until its concurrency key has room.
    `pinned_agent_id`: only that agent may run it.

    A sub-task names its parent and the step of the parent that called it; `root_id` is the first of the line, and
    `lineage` the input hashes (32 bytes each) of all its ancestors. `stepped`: it has rows in `task_steps`. `resume`
    goes with its next call.

    While it runs, `hold_amounts` are reserved in the budget accounts `holds`. `parked_by`: that account had no money
    for it when it was last looked at. `over_budget`: people let it start without.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(TASK_STATUSES) + "')", name="status"),
        # Objectives are counted by the time at which tasks ended; a BRIN index costs the hot path next to nothing.
        Index(
            "ix_tasks_finished_at",
            "finished_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
        ),
        Index("ix_tasks_ready", "pool", text("priority DESC"), "tag", "id", postgresql_where=text(_READY)),
        Index(
            "ix_tasks_pinned",
            "pinned_agent_id",
            text("priority DESC"),
            "tag",
            "id",
            postgresql_include=["pool"],
            postgresql_where=text(_PINNED),
        ),
        Index(
            "ix_tasks_wake",
            "wake_at",
            postgresql_include=["pool"],
            postgresql_where=text("status = 'queued' AND wake_at IS NOT NULL"),
        ),
        Index(
            "ix_tasks_start_deadline",
            "start_deadline_at",
            postgresql_where=text("status IN ('held', 'queued') AND start_deadline_at IS NOT NULL"),
        ),
        Index("ix_tasks_running", "manager_id", postgresql_where=text("status = 'running'")),
        Index("ix_tasks_tenant_id", "tenant", text("id DESC")),
        Index("ix_tasks_parent_id", "parent_id", "parent_step", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_tasks_root_id", "root_id", postgresql_where=text("root_id IS NOT NULL")),
        Index("ix_tasks_open_children", "parent_id", postgresql_where=text(f"parent_id IS NOT NULL AND {_OPEN}")),
        # Keyed tasks that wait for room, and those that take it.
        Index(
            "ix_tasks_gated",
            "pool",
            "tenant",
            "concurrency_key",
            text("priority DESC"),
            "id",
            postgresql_where=text("status = 'queued' AND wake_at = 'infinity'"),
        ),
        Index(
            "ix_tasks_keyed",
            "pool",
            "tenant",
            "concurrency_key",
            postgresql_where=text(f"concurrency_key IS NOT NULL AND {_OPEN}"),
        ),
        Index("ix_tasks_tenant_pool_id", "tenant", "pool", text("id DESC")),
        # Most tasks succeed: a list of those finds its page quickly without an index of its own.
        Index(
            "ix_tasks_tenant_status_id",
            "tenant",
            "status",
            text("id DESC"),
            postgresql_where=text("status <> 'succeeded'"),
        ),
        Index(
            "ix_tasks_parked",
            "parked_by",
            "parked_need",
            postgresql_where=text("status = 'queued' AND parked_by IS NOT NULL"),
        ),
        # Reservations of attempts that were broken off, till somebody says what those cost.
        Index("ix_tasks_broken_off", "id", postgresql_where=text("holds IS NOT NULL AND status <> 'running'")),
        Index(
            "uq_tasks_tenant_idempotency_key",
            "tenant",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # fillfactor: claim and settle write a new version each; with room on its page it lands beside the old one.
        # Vacuum by count, not by share: the finished only grow, but what it must clear is the claimed tasks' entries in
        # ix_tasks_ready, which every claim reads past (measured: +1.5 ms a claim per 100,000). index_cleanup on: left
        # to itself, vacuum skips the indexes when dead rows are on less than 2 % of the pages, as they are with a long
        # history. Retention looks for old tasks by their id, so no index over finished_at is kept up by settle.
        {
            "postgresql_with": {
                "fillfactor": "80",
                "autovacuum_vacuum_scale_factor": "0.0",
                "autovacuum_vacuum_threshold": "100000",
                "autovacuum_vacuum_insert_scale_factor": "0.0",
                "autovacuum_vacuum_insert_threshold": "200000",
                "vacuum_index_cleanup": "on",
            }
        },
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    submitted_by: Mapped[str] = mapped_column(Text)
    pool: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[Any] = mapped_column(JSON)
    priority: Mapped[int] = mapped_column(SmallInteger)
    tag: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    max_attempts: Mapped[int] = mapped_column(Integer)
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    rescues: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    replays: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    event_seq: Mapped[int] = mapped_column(Integer, server_default="1")
    pinned_agent_id: Mapped[UUID | None]
    agent_id: Mapped[UUID | None]
    rejoin: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    manager_id: Mapped[UUID | None]
    run_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    wake_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    start_deadline_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    complexity: Mapped[float] = mapped_column(Float, server_default="0.5")
    concurrency_key: Mapped[str | None] = mapped_column(Text)
    thread_id: Mapped[str | None] = mapped_column(Text)
    parent_id: Mapped[UUID | None]
    parent_step: Mapped[str | None] = mapped_column(Text)
    root_id: Mapped[UUID | None]
    depth: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lineage: Mapped[bytes | None] = mapped_column(LargeBinary)
    stepped: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    resume: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    waited_s: Mapped[float] = mapped_column(Float, server_default="0")
    synthetic: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    idempotency_key: Mapped[str | None] = mapped_column(Text)
    request_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    traceparent: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))
    holds: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    hold_amounts: Mapped[list[Decimal] | None] = mapped_column(ARRAY(Numeric))
    parked_by: Mapped[UUID | None]
    parked_need: Mapped[Decimal | None] = mapped_column(Numeric)
    over_budget: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    result: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    attempt_started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Attempt(Base):
    """One try of a task on one agent, written when it ends. `counted` False: a refusal, a return or a lost manager."""

    __tablename__ = "attempts"
    __table_args__ = (
        # Rows are written as they finish, so a block range spans a short time: the newest are found through 32 kB a
        # million rows, where a btree takes 24 MB, also when new rows fill the room of deleted ones. autosummarize: else
        # the newest ranges stay unknown until the next vacuum.
        Index(
            "ix_attempts_finished_at",
            "finished_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "32", "autosummarize": "on"},
        ),
        # Never updated, so pages are filled; the room of what retention deletes is free again within 2 % of the table,
        # and inserts are frozen a million at a time rather than all at once.
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_vacuum_insert_scale_factor": "0.0",
                "autovacuum_vacuum_insert_threshold": "1000000",
            }
        },
    )
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(Integer)
    pool: Mapped[str] = mapped_column(Text)
    agent_id: Mapped[UUID | None]
    manager_id: Mapped[UUID | None]
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    outcome: Mapped[str] = mapped_column(Text)
    counted: Mapped[bool] = mapped_column(Boolean)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)


class QueueTag(Base):
    """The last turn given to a tenant in one pool and priority (see the package's text on order)."""

    __tablename__ = "queue_tags"
    # Few rows, updated with every insert and in no index but the key's: half a page of room keeps all of that in place
    # (HOT), and the default autovacuum is enough.
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)
    pool: Mapped[str] = mapped_column(Text, primary_key=True)
    priority: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(Text, primary_key=True)
    last_tag: Mapped[int] = mapped_column(BigInteger)
    added: Mapped[int] = mapped_column(Integer)


class TaskStep(Base):
    """A finished step of a task. `result` is what it returned, or the outcome of what it waited for.

    `failed`: that outcome was a failure (a sub-task that failed, a refusal): a retried task waits for it anew.
    """

    __tablename__ = "task_steps"
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer)
    result: Mapped[Any] = mapped_column(JSON)
    failed: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    fence: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Wait(Base):
    """What a waiting task waits for: there is a row while it waits, and one only.

    `due_at` ends a timer, or an event's patience. `event_match`: JSON that the event's data must contain.
    """

    __tablename__ = "waits"
    __table_args__ = (
        CheckConstraint("reason IN ('" + "','".join(WAIT_REASONS) + "')", name="reason"),
        Index("ix_waits_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_waits_event", "tenant", "event_name", postgresql_where=text("reason = 'event'")),
        Index("ix_waits_calls", "task_id", postgresql_where=text("reason = 'call'")),
    )
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    step: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    event_name: Mapped[str | None] = mapped_column(Text)
    event_match: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class Signal(Base):
    """An event that a caller sent, kept a while for tasks that begin to wait for it later. `task_id`: for one only."""

    __tablename__ = "signals"
    __table_args__ = (Index("ix_signals_name", "tenant", "name", "id"), Index("ix_signals_expires_at", "expires_at"))
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    task_id: Mapped[UUID | None]
    data: Mapped[Any] = mapped_column(JSON)
    sent_by: Mapped[str] = mapped_column(Text)
    sent_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class SignalUse(Base):
    """A task was resumed by a signal: it is not resumed by it again."""

    __tablename__ = "signal_uses"
    __table_args__ = (Index("ix_signal_uses_task_id", "task_id"),)
    signal_id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
