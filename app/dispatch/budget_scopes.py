"""Which accounts of budgets a task touches. Worked out once for all tasks of a tenant in a pool, where no budget asks
more than that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.costs import ledger
from app.costs.budget_view import BudgetView
from app.costs.records import BudgetRecord
from app.costs.windows import Window, window
from app.tasks.labels import labels_of
from app.tasks.queue import Ready


class Touched(NamedTuple):
    budget: BudgetRecord
    key: str
    window: Window


class Scopes:
    """One manager's."""

    def __init__(self, budgets: BudgetView) -> None:
        self._budgets = budgets
        self._epoch = -1
        self._fitting: dict[tuple[str, str], tuple[BudgetRecord, ...]] = {}
        self._windows: dict[UUID, Window] = {}
        self._same_for_all: dict[tuple[str, str], dict[UUID, Touched]] = {}

    def follow(self, now: datetime) -> int:
        """The epoch of the budgets that this pass obeys; what was worked out under an older one is forgotten."""
        if self._epoch != self._budgets.epoch:
            self._epoch = self._budgets.epoch
            self._fitting.clear()
            self._windows.clear()
            self._same_for_all.clear()
        for budget_id, known in list(self._windows.items()):
            if known.end is not None and known.end <= now:
                del self._windows[budget_id]
                self._same_for_all.clear()
        return self._epoch

    def touched(self, task: Ready, now: datetime) -> dict[UUID, Touched]:
        """The accounts that the task touches, by id."""
        known = self._same_for_all.get((task.tenant, task.pool))
        if known is not None:
            return known
        found: dict[UUID, Touched] = {}
        labels: Mapping[str, str] | None = None
        fitting = self._fitting_of(task.tenant, task.pool)
        for budget in fitting:
            if budget.scope.label_key is not None:
                labels = labels_of(task.labels) if labels is None else labels
                if labels.get(budget.scope.label_key) != budget.scope.label_value:
                    continue
            key = budget.scope.key(task.tenant, task.id, task.root_id, task.thread_id)
            if key is not None:
                of = self._window(budget, now)
                found[budget.account_id(key, of.start)] = Touched(budget, key, of)
        if all(budget.scope.label_key is None and budget.scope.per is None for budget in fitting):
            self._same_for_all[task.tenant, task.pool] = found
        return found

    def _fitting_of(self, tenant: str, pool: str) -> tuple[BudgetRecord, ...]:
        known = self._fitting.get((tenant, pool))
        if known is None:
            known = self._fitting[tenant, pool] = tuple(
                budget for budget in self._budgets.budgets if budget.scope.fits(tenant, pool)
            )
        return known

    def _window(self, budget: BudgetRecord, now: datetime) -> Window:
        known = self._windows.get(budget.id)
        if known is None:
            known = self._windows[budget.id] = window(budget.window_kind, budget.zone, budget.rolling_s, now)
        return known


def openings_of(touched: Mapping[UUID, Mapping[UUID, Touched]]) -> list[ledger.Opening]:
    """The accounts that any of the tasks (by id) touches, each once."""
    distinct = {id(of): of for of in touched.values()}.values()
    wanted = {account_id: item for of in distinct for account_id, item in of.items()}
    return [ledger.Opening(account_id, item.budget, item.key, item.window) for account_id, item in wanted.items()]
