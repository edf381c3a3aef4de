"""The budget of a probe: one of the day (UTC), named `probe-NAME`, that counts what this probe spends and nothing else.

It is a budget as all are, to be read under `/v1/budgets`; the probe says how large it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.auth.callers import PROBES_TENANT, Caller
from app.core.errors import Conflict
from app.costs.budget_service import BudgetNotFound, Budgets
from app.costs.budget_spec import BudgetSpec
from app.costs.records import BudgetRecord, Scope, Threshold
from app.slo.probe_records import LABEL

PREFIX = "probe-"


@dataclass(frozen=True, slots=True)
class Daily:
    """How much a probe may spend in a day, in `unit` (usd, tokens or requests)."""

    unit: str
    limit: Decimal


def spec(name: str, daily: Daily) -> BudgetSpec:
    """The budget of a probe. A run that it has no room for ends at once, as an error."""
    return BudgetSpec(
        scope=_scope(name),
        window_kind="day",
        zone="UTC",
        rolling_s=None,
        unit=daily.unit,
        limit=daily.limit,
        thresholds=(Threshold(Decimal(80), "notify"), Threshold(Decimal(100), "pause")),
        on_exhausted="fail",
    )


class BudgetNameTaken(Conflict):
    code, title = "budget_name_taken", "The budget's name is taken"


class ProbeBudgets:
    """Reads and sets them. A budget of that name about something else is somebody's, and left alone."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    async def of(self, name: str) -> Daily | None:
        """A probe's; None: it has none."""
        found = await self._found(name)
        return None if found is None or found.scope != _scope(name) else Daily(found.unit, found.limit)

    async def set(self, name: str, daily: Daily | None, by: Caller) -> None:
        """Set it, or take it away. Raises BudgetNameTaken or TooManyBudgets."""
        found = await self._found(name)
        ours = found is None or found.scope == _scope(name)
        if daily is not None and not ours:
            raise BudgetNameTaken(f"The budget {PREFIX + name!r} is about something else; delete it first.")
        if daily is not None:
            await self._budgets.put(PREFIX + name, spec(name, daily), by)
        elif found is not None and ours:
            await self._budgets.delete(PREFIX + name, by)

    async def _found(self, name: str) -> BudgetRecord | None:
        try:
            return await self._budgets.get(PREFIX + name)
        except BudgetNotFound:
            return None


def _scope(name: str) -> Scope:
    return Scope(tenant=PROBES_TENANT, label_key=LABEL, label_value=name)
