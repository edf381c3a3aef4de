"""Budgets as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from app.auth.callers import PROBES_TENANT

ACTIONS = ("notify", "throttle", "downgrade", "require_approval", "pause", "stop")
HARD = frozenset({"pause", "stop"})
"""Actions past which nothing more is granted."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What happens when `percent` of the limit is committed. `per_minute` is of `throttle`, `models` (from a model to
    a cheaper one) of `downgrade`."""

    percent: Decimal
    action: str
    per_minute: float | None = None
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose spending it is: what is named must all fit. `per`: an account for each thread, root task or task."""

    tenant: str | None = None
    pool: str | None = None
    model: str | None = None
    label_key: str | None = None
    label_value: str | None = None
    per: str | None = None

    def fits(self, tenant: str, pool: str) -> bool:
        """Whether tasks of a tenant in a pool count; model and label are another matter.

        The service's own probes are nobody's spending: they count only where their tenant is named.
        """
        anybody = self.tenant is None and tenant != PROBES_TENANT
        return (anybody or self.tenant == tenant) and self.pool in (None, pool)

    def key(self, tenant: str, task_id: UUID, root_id: UUID | None, thread_id: str | None) -> str | None:
        """The account's key for a task; None: it has no such thing (no thread), and the budget is not about it.

        Tenants name their threads themselves: a budget of all tenants knows them as TENANT/THREAD.
        """
        if self.per is None:
            return ""
        if self.per == "thread":
            return f"{tenant}/{thread_id}" if thread_id is not None and self.tenant is None else thread_id
        return str(task_id if self.per == "task" else root_id or task_id)

    def described(self, key: str = "") -> str:
        """In words, for people: `tenant acme, pool research`; with the account's key."""
        parts = [
            f"{name} {value}"
            for name, value in (("tenant", self.tenant), ("pool", self.pool), ("model", self.model))
            if value is not None
        ]
        if self.label_key is not None:
            parts.append(f"label {self.label_key}={self.label_value}")
        if self.per is not None:
            parts.append(f"{self.per} {key}".strip() if key else f"each {self.per}")
        return ", ".join(parts) or "everything"


@dataclass(frozen=True, slots=True)
class BudgetRecord:
    """One budget. `limit` is in USD, tokens or requests (`unit`)."""

    name: str
    id: UUID
    scope: Scope
    window_kind: str
    zone: str
    rolling_s: float | None
    unit: str
    limit: Decimal
    thresholds: Sequence[Threshold]
    on_exhausted: str
    control: str | None
    created_by: str
    created_by_tenant: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> BudgetRecord:
        """From a row of `budgets` (thresholds as parsed JSON)."""
        scope = Scope(*(row[name] for name in ("tenant", "pool", "model", "label_key", "label_value", "per")))
        thresholds = tuple(
            Threshold(Decimal(str(item["percent"])), item["action"], item.get("per_minute"), item.get("models") or {})
            for item in row["thresholds"]
        )
        rest = {name: row[name] for name in cls.__dataclass_fields__ if name not in ("scope", "thresholds")}
        return cls(scope=scope, thresholds=thresholds, **rest)

    def account_id(self, key: str, window_start: datetime | None) -> UUID:
        """Every manager names the account of a window alike."""
        return uuid5(self.id, f"{key}|{'' if window_start is None else window_start.isoformat()}")
