"""Probes and their runs as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.auth.callers import PROBES_TENANT, Caller
from app.slo.probe_checks import Check
from app.tasks.submission import Submission

type Outcome = Literal["pending", "passed", "failed", "error"]

SUBMITTER = Caller("probes", PROBES_TENANT, frozenset({"tasks:write"}))
"""Who submits the tasks of probes."""
LABEL = "probe"
START_GRACE_S = 60.0
"""A task that has not started so long after its time ran out expires, though nobody looks after its probe."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What a probe is defined as. `checks` as they were read, `declared` as they were declared."""

    pool: str
    type: str | None
    payload: Any
    every_s: int
    timeout_s: float
    checks: Sequence[Check]
    declared: Sequence[Any]
    fail_after: int
    of_last: int
    labels: Mapping[str, str]
    enabled: bool


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe. `payload` and `checks` are JSON text."""

    id: UUID
    name: str
    pool: str
    type: str | None
    payload: str
    every_s: int
    timeout_s: float
    checks: str
    fail_after: int
    of_last: int
    labels: Mapping[str, str]
    enabled: bool
    asked_at: datetime
    next_at: datetime
    created_by: str
    created_at: datetime
    updated_at: datetime

    def key(self, planned_at: datetime) -> str:
        """The idempotency key of a run's task: one task a planned time, whatever happens."""
        return f"probe:{self.id}:{planned_at.isoformat()}"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. `checks`: [{"check", "passed", "why"}] of a task that ended; `latency_s` from submission to its end."""

    planned_at: datetime
    by_hand: bool
    outcome: Outcome
    reason: str
    task_id: UUID | None
    checks: Sequence[Mapping[str, Any]]
    latency_s: float | None
    made_at: datetime
    judged_at: datetime | None


def submission(
    name: str, pool: str, task_type: str | None, payload: Any, timeout_s: float, labels: Mapping[str, str]
) -> Submission:
    """The golden task. Its own labels say which probe it is of."""
    return Submission(
        pool=pool,
        type=task_type,
        payload=payload,
        deadline_s=timeout_s + START_GRACE_S,
        synthetic=True,
        labels={**labels, LABEL: name},
    )
