"""What a caller asked for, and the row it becomes. Pure, but for the ids, which are made here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils

from app.auth.callers import Caller
from app.core.jsonbody import dump_json
from app.registry.records import PoolRecord
from app.tasks.queue import NewTask


@dataclass(slots=True)
class Submission:
    """What a caller asked for; `payload` is a plain JSON value."""

    pool: str | None
    type: str | None
    payload: Any
    priority: int = 0
    deadline_s: float | None = None
    run_at: datetime | None = None
    agent_id: UUID | None = None
    concurrency_key: str | None = None
    complexity: float = 0.5
    max_attempts: int | None = None
    synthetic: bool = False
    thread_id: str | None = None
    labels: dict[str, str] | None = None


_MARKED = tuple(name for name in Submission.__dataclass_fields__ if name != "labels")


@dataclass(slots=True)
class Accepted:
    """A durable task. `replayed`: an earlier request with the same idempotency key made it."""

    id: UUID
    pool: str
    status: str
    replayed: bool = False


def keys_of(key: str | None, count: int, many: bool) -> list[str | None]:
    """The idempotency key of each task of a request."""
    if key is None:
        return [None] * count
    # A control character cannot stand in a header, so a batch never meets a single submission's key.
    return [f"{key}\x1f{index}" for index in range(count)] if many else [key]


def mark_of(submissions: Sequence[Submission]) -> bytes:
    """SHA-256 of what was asked: the same key with another mark is another request."""
    # Without labels it is as it was before there were labels: a key is remembered across an upgrade.
    parts = [[getattr(item, name) for name in _MARKED] + ([item.labels] if item.labels else []) for item in submissions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()


def at(index: int | None, path: str, message: str) -> dict[str, object]:
    """A problem's `errors` for one field, of the task at `index` of a batch (None: of a single one)."""
    return {"errors": [{"path": path if index is None else f"tasks.{index}.{path}", "message": message}]}


def default_type(pool: PoolRecord) -> str:
    """What a pool does best: the type of a task that names only the pool."""
    return max(pool.skills, key=lambda name: (pool.skills[name], name)) if pool.skills else pool.name


def new_task(
    caller: Caller, item: Submission, pool: PoolRecord, key: str | None, mark: bytes | None, trace: str | None
) -> NewTask:
    """The row for one submission."""
    return NewTask(
        id=UUID(bytes=uuid_utils.uuid7().bytes),
        tenant=caller.tenant,
        submitted_by=caller.id,
        pool=pool.name,
        type=item.type or default_type(pool),
        payload=dump_json(item.payload),
        priority=item.priority,
        max_attempts=item.max_attempts or pool.max_attempts,
        pinned_agent_id=item.agent_id,
        run_at=item.run_at,
        deadline_s=item.deadline_s,
        complexity=item.complexity,
        concurrency_key=item.concurrency_key,
        thread_id=item.thread_id,
        synthetic=item.synthetic,
        idempotency_key=key,
        request_hash=mark,
        traceparent=trace,
        labels=dump_json(item.labels) if item.labels else None,
    )
