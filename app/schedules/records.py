"""Schedules and runs as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.schedules.ticks import MisfirePolicy, Timing


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """One schedule. `task` is the submission as JSON text; `backfill_from` is the last tick before those to be made."""

    id: UUID
    tenant: str
    name: str
    cron: str | None
    timezone: str
    interval_s: float | None
    anchor_at: datetime
    at: datetime | None
    task: str
    misfire: str
    misfire_grace_s: float
    max_catch_up: int
    overlap: str
    paused: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
    next_at: datetime | None
    backfill_from: datetime | None
    backfill_until: datetime | None

    @property
    def timing(self) -> Timing:
        return Timing(self.anchor_at, self.cron, self.timezone, self.interval_s, self.at)

    @property
    def policy(self) -> MisfirePolicy:
        return MisfirePolicy(self.misfire, self.misfire_grace_s, self.max_catch_up)

    def key(self, tick_at: datetime) -> str:
        """The idempotency key of a tick's task: one task a tick, whatever happens."""
        return f"schedule:{self.id}:{tick_at.isoformat()}"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One tick and what became of it. `task_status` None: no task, or it was deleted for its age."""

    tick_at: datetime
    outcome: str
    reason: str
    task_id: UUID | None
    made_at: datetime
    task_status: str | None
