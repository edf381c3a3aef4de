"""Accounts of budgets, to be read: what is spent and reserved in which window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.core.db import HotConnection
from app.costs.records import BudgetRecord, Threshold
from app.costs.windows import CALENDAR, window

ZERO, HUNDRED = Decimal(0), Decimal(100)
LOOK = 10_000
"""Accounts of one budget that are looked at for the fullest ones."""

# Of a rolling window: without the slices that have left it, though nobody has taken them out yet.
SPENT_NOW = """a.spent - CASE WHEN a.slice_s IS NULL THEN 0 ELSE COALESCE((
    SELECT sum(s.spent) FROM budget_slices s WHERE s.account_id = a.id
      AND s.start <= clock_timestamp() - make_interval(secs => 61 * a.slice_s)), 0) END"""
_COLUMNS = f"""a.id, a.budget_id, a.key, a.window_start, a.window_end, a.unit, a."limit",
  {SPENT_NOW} AS spent, a.reserved, a.opened_at, a.touched_at"""
_EXACT = f"SELECT {_COLUMNS} FROM budget_accounts a WHERE a.id = ANY($1)"  # noqa: S608 - only constants
_FULLEST = f"""
SELECT f.* FROM unnest($1::uuid[], $2::timestamptz[]) AS b(id, start) CROSS JOIN LATERAL (
  SELECT {_COLUMNS} FROM (
    SELECT * FROM budget_accounts WHERE budget_id = b.id AND {{of_window}} LIMIT {LOOK}) a
  ORDER BY (a.spent + a.reserved) / a."limit" DESC, a.id LIMIT $3) f
"""  # noqa: S608
_FULLEST_DATED = _FULLEST.format(of_window="window_start = b.start")
_FULLEST_UNDATED = _FULLEST.format(of_window="window_start IS NULL")
_DATED = f"""
SELECT {_COLUMNS} FROM budget_accounts a WHERE a.budget_id = $1 AND a.window_start IS NOT NULL
  AND ($2::text IS NULL OR a.key = $2) AND ($3::timestamptz IS NULL OR (a.window_start, a.id) < ($3, $4))
ORDER BY a.window_start DESC, a.id DESC LIMIT $5
"""  # noqa: S608
_UNDATED = f"""
SELECT {_COLUMNS} FROM budget_accounts a WHERE a.budget_id = $1 AND a.window_start IS NULL
  AND ($2::text IS NULL OR a.key = $2) AND ($3::uuid IS NULL OR a.id < $3) ORDER BY a.id DESC LIMIT $4
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """One account. Amounts in `unit`; `opened_at` None: nothing has started in it yet."""

    id: UUID
    budget_id: UUID
    key: str
    window_start: datetime | None
    window_end: datetime | None
    unit: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal
    opened_at: datetime | None
    touched_at: datetime | None

    @property
    def committed(self) -> Decimal:
        return self.spent + self.reserved

    @property
    def remaining(self) -> Decimal:
        return max(ZERO, self.limit - self.committed)

    @property
    def percent(self) -> float:
        """Of the limit, committed."""
        return round(float(self.committed * 100 / self.limit), 2)

    def reached(self, thresholds: Sequence[Threshold]) -> list[Threshold]:
        """Thresholds that are passed, lowest first."""
        return sorted(
            (item for item in thresholds if self.committed * HUNDRED >= self.limit * item.percent),
            key=lambda item: item.percent,
        )


async def current(
    connection: HotConnection, budgets: Sequence[BudgetRecord], now: datetime, limit: int = 1
) -> Mapping[UUID, Sequence[AccountRecord]]:
    """By budget id, its accounts of the window that `now` is in: the fullest first, at most `limit` each. A budget
    without `per` has exactly one; where nothing has started yet it is empty."""
    found: dict[UUID, list[AccountRecord]] = {budget.id: [] for budget in budgets}
    empty = {account.id: account for budget in budgets if (account := _empty(budget, now)) is not None}
    there = {row["id"]: AccountRecord(*row) for row in await connection.fetch(_EXACT, list(empty))}
    for account_id, account in empty.items():
        found[account.budget_id].append(there.get(account_id, account))
    for dated, statement in ((True, _FULLEST_DATED), (False, _FULLEST_UNDATED)):
        many = [item for item in budgets if item.scope.per is not None and (item.window_kind in CALENDAR) == dated]
        if many:
            starts = [window(item.window_kind, item.zone, item.rolling_s, now).start for item in many]
            for row in await connection.fetch(statement, [item.id for item in many], starts, limit):
                found[row["budget_id"]].append(AccountRecord(*row))
    return found


def _empty(budget: BudgetRecord, now: datetime) -> AccountRecord | None:
    """The one account of a budget without `per`, as if nothing were in it."""
    if budget.scope.per is not None:
        return None
    span = window(budget.window_kind, budget.zone, budget.rolling_s, now)
    account_id = budget.account_id("", span.start)
    return AccountRecord(
        account_id, budget.id, "", span.start, span.end, budget.unit, budget.limit, ZERO, ZERO, None, None
    )


async def page(
    connection: HotConnection,
    budget: BudgetRecord,
    key: str | None,
    after: tuple[datetime | None, UUID] | None,
    limit: int,
) -> list[AccountRecord]:
    """Accounts of a budget, past windows too, the newest window first; `after`: (window_start, id) of the last one."""
    if budget.window_kind in CALENDAR:
        rows = await connection.fetch(_DATED, budget.id, key, *(after or (None, None)), limit)
    else:
        rows = await connection.fetch(_UNDATED, budget.id, key, None if after is None else after[1], limit)
    return [AccountRecord(*row) for row in rows]
