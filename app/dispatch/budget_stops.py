"""The action `stop` of a budget: what spends past it in spite of everything is taken from its agents.

Looks at the accounts, not at messages. A budget of a tenant or pool makes a stop switch, once for each of its windows:
it stands until it is lifted, and lifting it is the operator's word. One for each root task or task cancels what is open
of it, one for each thread what runs of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from app.auth.callers import Caller
from app.core.db import Database
from app.core.errors import NotFound
from app.core.leader import Leader
from app.costs.budget_view import BudgetView
from app.costs.records import BudgetRecord
from app.dispatch.stopping import Stopping
from app.registry.stops import Selector

log = structlog.get_logger()

CODE = "budget_stopped"
AT_ONCE = 1000

# Accounts of these budgets that have passed the amount and were not acted on yet.
_PASSED = """
SELECT a.id, a.budget_id, a.key FROM unnest($1::uuid[], $2::numeric[]) AS b(id, at)
JOIN budget_accounts a ON a.budget_id = b.id
WHERE (a.window_end IS NULL OR a.window_end > clock_timestamp()) AND a.spent + a.reserved > b.at
  AND NOT EXISTS (SELECT FROM stops s WHERE s.created_by = 'budget:' || a.id::text)
ORDER BY a.id LIMIT 1000
"""
_OPEN = """
SELECT id, tenant FROM tasks
WHERE status IN ('queued', 'running', 'waiting', 'held') AND {of} AND ($2::text IS NULL OR tenant = $2) LIMIT $3
"""
_OPEN_OF = {
    "task": _OPEN.format(of="id = $1::uuid"),
    "root": _OPEN.format(of="(id = $1::uuid OR root_id = $1::uuid)"),
    # Those of a thread that run; no further one starts.
    "thread": _OPEN.format(
        of="status = 'running' AND $1::text = CASE WHEN $2::text IS NULL THEN tenant || '/' ELSE '' END || thread_id"
    ),
}

type Cancel = Callable[[str, Sequence[UUID], str, str], Awaitable[list[UUID]]]


class BudgetStops:
    """One tick looks at every budget with the action. `cancel(tenant, ids, reason, code)` ends tasks."""

    def __init__(self, db: Database, budgets: BudgetView, leader: Leader, stopping: Stopping, cancel: Cancel) -> None:
        self._db, self._budgets, self._leader = db, budgets, leader
        self._stopping, self._cancel = stopping, cancel

    async def tick(self) -> float | None:
        stopping = {budget.id: budget for budget in self._budgets.budgets if _at(budget) is not None}
        if not stopping or not await self._leader.leads():
            return None
        async with self._db.read() as connection:
            rows = await connection.fetch(_PASSED, list(stopping), [_at(budget) for budget in stopping.values()])
        for row in rows:
            budget = stopping[row["budget_id"]]
            if budget.scope.per is None:
                await self._stop(budget, row["id"])
            else:
                await self._end(budget, row["key"])
        return None

    async def _stop(self, budget: BudgetRecord, account_id: UUID) -> None:
        by = Caller(f"budget:{account_id}", budget.created_by_tenant, frozenset({"admin"}))
        reason = f"The budget {budget.name!r} is passed; the stop stands until it is lifted."
        try:
            await self._stopping.stop(by, Selector(budget.scope.tenant, budget.scope.pool), reason)
        except NotFound as exc:
            log.warning("budget_stops_nothing", budget=budget.name, error=str(exc))

    async def _end(self, budget: BudgetRecord, key: str) -> None:
        async with self._db.read() as connection:
            rows = await connection.fetch(_OPEN_OF[budget.scope.per or "task"], key, budget.scope.tenant, AT_ONCE)
        for tenant in sorted({row["tenant"] for row in rows}):
            ids = [row["id"] for row in rows if row["tenant"] == tenant]
            ended = await self._cancel(tenant, ids, f"The budget {budget.name!r} is passed.", CODE)
            log.warning("budget_ended_tasks", budget=budget.name, key=key, tasks=len(ended))


def _at(budget: BudgetRecord) -> object:
    """The amount at which it stops; None: it never does."""
    percents = [item.percent for item in budget.thresholds if item.action == "stop"]
    return budget.limit * min(percents) / 100 if percents else None
