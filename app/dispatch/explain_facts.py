"""What an explanation may rest on, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.dispatch.timeline import EventFacts
from app.limits.restraints import Hold

AHEAD_CAP = 1000
FAR = 9000
"""A `wake_at` in such a year stands for `infinity`."""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The row of the task; times are the database's."""

    id: UUID
    tenant: str
    status: str
    pool: str
    type: str
    priority: int
    attempt: int
    max_attempts: int
    fence: int
    tag: int
    agent_id: UUID | None
    pinned_agent_id: UUID | None
    concurrency_key: str | None
    parent_id: UUID | None
    run_at: datetime | None
    wake_at: datetime | None
    start_deadline_at: datetime | None
    queued_at: datetime
    attempt_started_at: datetime | None
    finished_at: datetime | None
    error_code: str | None
    error_message: str | None
    parked_by: UUID | None = None

    @property
    def parked(self) -> bool:
        """Whether it waits for money."""
        return self.status == "queued" and self.parked_by is not None and self.wake_at is not None

    @property
    def gated(self) -> bool:
        """Whether it waits for room under its concurrency key."""
        return self.status == "queued" and self.wake_at is not None and self.wake_at.year >= FAR

    @property
    def claimable(self) -> bool:
        """Whether nothing but agents and stops keeps it."""
        return self.status == "queued" and self.wake_at is None


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent of the pool. `running` counts what all managers run on it; `paused`: it refused a call a moment ago, or
    could not be reached, and is left alone."""

    id: UUID
    status: str
    slots: int
    running: int
    stopped: bool = False
    ejected_until: datetime | None = None
    paused: bool = False

    def state(self, now: datetime) -> str:
        """What keeps it from taking a task: free, full, stopped, ejected, paused, or its status."""
        if self.status not in ("idle", "busy"):
            return self.status
        if self.stopped:
            return "stopped"
        if self.ejected_until is not None and self.ejected_until > now:
            return "ejected"
        if self.paused:
            return "paused"
        return "free" if self.running < self.slots else "full"


@dataclass(frozen=True, slots=True)
class StopFacts:
    """A standing stop that fits."""

    id: UUID
    selects: str
    reason: str
    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The room under the task's concurrency key: `of` says whose limit, `holders` (the first few) who has it."""

    limit: int | None
    of: str
    holders: tuple[UUID, ...]
    held: int


@dataclass(frozen=True, slots=True)
class WaitFacts:
    """What a waiting task waits for."""

    reason: str
    step: str
    since: datetime
    due_at: datetime | None = None
    event_name: str | None = None
    event_match: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """A pending question about the task."""

    id: UUID
    action: str
    scope: str
    groups: tuple[str, ...]
    quorum: int
    votes: int
    expires_at: datetime | None
    risk: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """The account that had no room for the task when it was last looked at, as it is now. `needed`, of the last time it
    was looked at, and the others are in `unit`."""

    name: str
    scope: str
    unit: str
    limit: str
    spent: str
    reserved: str
    needed: str | None
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a rule may look at, as of `now`. `stops` fit the task, `agent_stops` agents of its pool,
    `hold` the pool.

    `ahead`: claimable tasks before this one, counted to `AHEAD_CAP` + 1; `done`: ended attempts of the pool in the last
    `done_s` seconds.
    """

    now: datetime
    task: TaskFacts
    events: Sequence[EventFacts] = ()
    agents: Sequence[AgentFacts] = ()
    stops: Sequence[StopFacts] = ()
    agent_stops: Sequence[StopFacts] = ()
    hold: Hold | None = None
    key: KeyFacts | None = None
    budget: BudgetFacts | None = None
    wait: WaitFacts | None = None
    approvals: Sequence[ApprovalFacts] = ()
    children: Mapping[UUID, str] = field(default_factory=dict)
    ahead: int | None = None
    done: int = 0
    done_s: float = 300.0
