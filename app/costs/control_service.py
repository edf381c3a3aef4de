"""Cost controls: requests, tokens and USD per hour of a tenant or a pool. Each is kept by up to three budgets.

A control has no row of its own: it is what its budgets say, so the two never differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from app.auth.callers import Caller
from app.costs.budget_service import BudgetNotFound, Budgets
from app.costs.budget_spec import CONTROL_PREFIX, BudgetSpec
from app.costs.records import BudgetRecord, Scope, Threshold

UNITS = ("requests", "tokens", "usd")


@dataclass(frozen=True, slots=True)
class Control:
    """What a tenant or pool may use in an hour (UTC); None: no bound. `models` are taken from `downgrade_at` % on."""

    kind: str
    name: str
    limits: Mapping[str, Decimal]
    alerts: Sequence[int]
    downgrade_at: int | None = None
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What its budgets are marked with."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """A control as it stands."""

    control: Control
    budgets: Sequence[BudgetRecord]

    @property
    def created_by(self) -> str:
        return self.budgets[0].created_by

    @property
    def effective_since(self) -> datetime:
        """Since when all of it is: the newest of its budgets."""
        return max(budget.updated_at for budget in self.budgets)


class ControlNotFound(BudgetNotFound):
    code, title = "cost_control_not_found", "No such cost control"


class Controls:
    """Set, read and delete cost controls."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    async def put(self, control: Control, by: Caller) -> ControlRecord:
        """Set a control as a whole. Raises UnknownPool or TooManyBudgets."""
        return ControlRecord(control, await self._budgets.put_control(control.key, specs(control), by))

    async def delete(self, kind: str, name: str, by: Caller) -> ControlRecord:
        """What it was; raises ControlNotFound."""
        try:
            return record(await self._budgets.put_control(f"{kind}/{name}", {}, by))
        except BudgetNotFound:
            raise _missing(kind, name) from None

    async def get(self, kind: str, name: str) -> ControlRecord:
        """One control; raises ControlNotFound."""
        found = await self._budgets.of_control(f"{kind}/{name}")
        if not found:
            raise _missing(kind, name)
        return record(found)

    async def page(self, after: str | None, limit: int) -> list[ControlRecord]:
        """By kind and name; `after`: the `key` of the last one."""
        found = await self._budgets.controls(after, limit)
        return [record(list(budgets)) for _, budgets in groupby(found, key=lambda budget: budget.control)]


def specs(control: Control) -> dict[str, BudgetSpec]:
    """The budgets that keep it, by name: hard ones, of the hour."""
    thresholds = [Threshold(Decimal(percent), "notify") for percent in sorted(control.alerts)]
    if control.downgrade_at is not None:
        thresholds.append(Threshold(Decimal(control.downgrade_at), "downgrade", models=control.models))
    thresholds.append(Threshold(Decimal(100), "pause"))
    scope = Scope(tenant=control.name) if control.kind == "tenant" else Scope(pool=control.name)
    return {
        f"{CONTROL_PREFIX}{control.kind}-{control.name}-{unit}": BudgetSpec(
            scope=scope,
            window_kind="hour",
            zone="UTC",
            rolling_s=None,
            unit=unit,
            limit=control.limits[unit],
            thresholds=tuple(thresholds),
        )
        for unit in UNITS
        if unit in control.limits
    }


def record(budgets: Sequence[BudgetRecord]) -> ControlRecord:
    """A control, from the budgets that keep it (one at least)."""
    first = budgets[0]
    kind, _, name = (first.control or "").partition("/")
    lowered = next((item for item in first.thresholds if item.action == "downgrade"), None)
    control = Control(
        kind,
        name,
        limits={budget.unit: budget.limit for budget in budgets},
        alerts=[int(item.percent) for item in first.thresholds if item.action == "notify"],
        downgrade_at=None if lowered is None else int(lowered.percent),
        models={} if lowered is None else lowered.models,
    )
    return ControlRecord(control, budgets)


def _missing(kind: str, name: str) -> ControlNotFound:
    return ControlNotFound(f"There is no cost control for the {kind} {name!r}.")
