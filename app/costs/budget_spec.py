"""What a budget is to be, as plain values: defaults, and what a change of it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.costs.records import BudgetRecord, Scope, Threshold

CONTROL_PREFIX = "control-"
"""Names of budgets that are made for cost controls."""

DEFAULT_THRESHOLDS = (
    *(Threshold(Decimal(percent), "notify") for percent in (50, 80, 90)),
    Threshold(Decimal(100), "pause"),
)


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """A budget as somebody asks for it. `rolling_s` is of rolling windows; `zone` of calendar ones, else UTC."""

    scope: Scope
    window_kind: str
    zone: str
    rolling_s: float | None
    unit: str
    limit: Decimal
    thresholds: Sequence[Threshold] = DEFAULT_THRESHOLDS
    on_exhausted: str = "wait"


def same_accounts(old: BudgetRecord, new: BudgetSpec) -> bool:
    """Whether the accounts of the old one are of the new one too. Else what was spent answers another question."""
    return (old.scope, old.window_kind, old.zone, old.rolling_s, old.unit) == (
        new.scope,
        new.window_kind,
        new.zone,
        new.rolling_s,
        new.unit,
    )


def is_same(old: BudgetRecord, new: BudgetSpec) -> bool:
    """Whether nothing changes."""
    return (
        same_accounts(old, new)
        and old.limit == new.limit
        and thresholds_json(old.thresholds) == thresholds_json(new.thresholds)
        and old.on_exhausted == new.on_exhausted
    )


def thresholds_json(thresholds: Sequence[Threshold]) -> list[dict[str, Any]]:
    """As they are stored and shown: lowest first, percents whole, without what an action does not have."""
    shown = []
    for item in sorted(thresholds, key=lambda item: (item.percent, item.action)):
        entry: dict[str, Any] = {"percent": int(item.percent), "action": item.action}
        if item.per_minute is not None:
            entry["per_minute"] = item.per_minute
        if item.models:
            entry["models"] = dict(item.models)
        shown.append(entry)
    return shown
