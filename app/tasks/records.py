"""A task as it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.tasks.models import FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task; `labels` is JSON text. What comes after `waited_s` is filled by `queries.get` only; the last three are
    JSON text."""

    id: UUID
    tenant: str
    pool: str
    type: str
    status: str
    priority: int
    attempt: int
    max_attempts: int
    agent_id: UUID | None
    pinned_agent_id: UUID | None
    event_seq: int
    complexity: float
    synthetic: bool
    concurrency_key: str | None
    thread_id: str | None
    idempotency_key: str | None
    request_hash: bytes | None
    payload: str
    result: str | None
    error_code: str | None
    error_message: str | None
    cost_usd: Decimal | None
    run_at: datetime | None
    wake_at: datetime | None
    start_deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    parent_id: UUID | None = None
    root_id: UUID | None = None
    depth: int = 0
    stepped: bool = False
    labels: str | None = None
    waited_s: float = 0.0
    usage: list[dict[str, Any]] = field(default_factory=list)
    waiting: str | None = None
    children: str | None = None
    steps: str | None = None

    @property
    def final(self) -> bool:
        """Whether it will never change again (but for an explicit replay)."""
        return self.status in FINAL_STATUSES
