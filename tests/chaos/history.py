"""What happened to all tasks of a run, as plain rows: what the database says, and what callers were told."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from tests.support.ledger import Ledger


@dataclass(frozen=True)
class Task:
    """`key`: its concurrency key; `idempotency`: (tenant, key) where it has one."""

    id: str
    status: str
    fence: int
    event_seq: int
    pool: str = "work"
    tenant: str = "default"
    parent: str | None = None
    key: str | None = None
    idempotency: tuple[str, str] | None = None
    kind: str = ""
    payload: Any = None
    result: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Attempt:
    task: str
    fence: int
    attempt: int
    outcome: str
    counted: bool
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class Event:
    task: str
    seq: int
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A stored step; `ordinal` is the number of the event that told of it."""

    task: str
    name: str
    ordinal: int


@dataclass(frozen=True)
class Wait:
    task: str
    step: str
    reason: str


@dataclass(frozen=True)
class Approval:
    id: str
    task: str
    kind: str
    step: str
    status: str


@dataclass(frozen=True)
class Accepted:
    """A caller was told 202 with this id; `key` is the Idempotency-Key that was sent."""

    id: str
    key: str | None = None


@dataclass
class History:
    """Rows in any order. `limits`: the most tasks that may run at once under a concurrency key of a pool."""

    tasks: list[Task] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, Task]:
        return {task.id: task for task in self.tasks}

    @cached_property
    def attempts_of(self) -> dict[str, list[Attempt]]:
        """By task, in the order of their fences."""
        return grouped(sorted(self.attempts, key=lambda item: item.fence))

    @cached_property
    def events_of(self) -> dict[str, list[Event]]:
        """By task, in the order of their numbers."""
        return grouped(sorted(self.events, key=lambda item: item.seq))

    @cached_property
    def steps_of(self) -> dict[str, list[Step]]:
        return grouped(self.steps)

    def story(self, task_id: str) -> str:
        """One task's events in a line, for people."""
        return " · ".join(f"{event.seq}:{event.type}{dict(event.data)}" for event in self.events_of.get(task_id, []))


def grouped[T: (Attempt, Event, Step)](rows: Iterable[T]) -> dict[str, list[T]]:
    """By task, keeping the order."""
    found: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        found[row.task].append(row)
    return dict(found)


_TASKS = """SELECT id::text, status, fence, event_seq, pool, tenant, parent_id::text AS parent, concurrency_key AS key,
    idempotency_key, payload::text AS payload, result::text AS result, error_code FROM tasks"""
_ATTEMPTS = """SELECT task_id::text AS task, fence, attempt, outcome, counted, started_at, finished_at FROM attempts"""
_EVENTS = "SELECT task_id::text AS task, seq, type, data::text AS data FROM events"
_STEPS = "SELECT task_id::text AS task, name, ordinal FROM task_steps"
_WAITS = "SELECT task_id::text AS task, step, reason FROM waits"
_APPROVALS = "SELECT id::text, task_id::text AS task, kind, step, status FROM approvals"


def load(ledger: Ledger, accepted: Iterable[Accepted], limits: Mapping[str, int]) -> History:
    """The history of a database that is quiet."""
    return History(
        [_task(dict(row)) for row in ledger.rows(_TASKS)],
        [Attempt(**dict(row)) for row in ledger.rows(_ATTEMPTS)],
        [Event(row["task"], row["seq"], row["type"], json.loads(row["data"])) for row in ledger.rows(_EVENTS)],
        [Step(**dict(row)) for row in ledger.rows(_STEPS)],
        [Wait(**dict(row)) for row in ledger.rows(_WAITS)],
        [Approval(**dict(row)) for row in ledger.rows(_APPROVALS)],
        list(accepted),
        dict(limits),
    )


def _task(row: dict[str, Any]) -> Task:
    payload = json.loads(row["payload"])
    return Task(
        row["id"],
        row["status"],
        row["fence"],
        row["event_seq"],
        row["pool"],
        row["tenant"],
        row["parent"],
        row["key"],
        (row["tenant"], row["idempotency_key"]) if row["idempotency_key"] else None,
        payload.get("kind", "") if isinstance(payload, dict) else "",
        payload,
        json.loads(row["result"]) if row["result"] is not None else None,
        row["error_code"],
    )
