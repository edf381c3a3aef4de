"""Rows as the ledger writes them, for tests of what looks at them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from app.auth.callers import Caller
from app.core.db import Database
from app.costs.budget_service import Budgets
from app.costs.budget_spec import BudgetSpec
from app.costs.budget_view import BudgetView
from app.costs.records import BudgetRecord, Scope, Threshold
from app.costs.windows import window

ADMIN = Caller("k1", "default", frozenset({"admin"}))


def spec(limit: str = "100", *thresholds: Threshold, **fields: Any) -> BudgetSpec:
    chosen: dict[str, Any] = {"thresholds": thresholds} if thresholds else {}
    base: dict[str, Any] = {"scope": Scope(), "window_kind": "day", "zone": "UTC", "rolling_s": None, "unit": "usd"}
    return BudgetSpec(**{**base, "limit": Decimal(limit), **chosen, **fields})


async def make(
    db: Database, name: str = "b", limit: str = "100", *thresholds: Threshold, **fields: Any
) -> BudgetRecord:
    return await Budgets(db, BudgetView(db)).put(name, spec(limit, *thresholds, **fields), ADMIN)


async def account(
    db: Database, budget: BudgetRecord, spent: str = "0", reserved: str = "0", key: str = "", at: datetime | None = None
) -> UUID:
    """Open the account of a window (now's) or set what stands in it."""
    span = window(budget.window_kind, budget.zone, budget.rolling_s, at or datetime.now(UTC))
    account_id = budget.account_id(key, span.start)
    async with db.hot() as connection:
        await connection.execute(
            """INSERT INTO budget_accounts (id, budget_id, key, window_start, window_end, unit, slice_s, "limit", spent,
              reserved) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (id) DO UPDATE SET spent = EXCLUDED.spent, reserved = EXCLUDED.reserved, touched_at = now()""",
            account_id, budget.id, key, span.start, span.end, budget.unit, span.slice_s, budget.limit,
            Decimal(spent), Decimal(reserved),
        )  # fmt: skip
    return account_id


async def task(db: Database, status: str, holds: dict[UUID, str] | None = None, parked_by: UUID | None = None) -> UUID:
    """A task with what it holds, or that waits for an account."""
    task_id, held = uuid4(), holds or {}
    async with db.hot() as connection:
        await connection.execute("INSERT INTO pools (name) VALUES ('echo') ON CONFLICT DO NOTHING")
        await connection.execute(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
              holds, hold_amounts, parked_by)
            VALUES ($1, 'default', 'k1', 'echo', 't', 'null', 0, 0, $2, 1, $3, $4, $5)""",
            task_id, status, list(held) or None, [Decimal(amount) for amount in held.values()] or None, parked_by,
        )  # fmt: skip
    return task_id
