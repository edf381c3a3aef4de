"""Locking and opening accounts. Every verb runs inside the caller's transaction; the locks are held to its end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.core.db import HotConnection
from app.costs import ledger_sql as sql
from app.costs.decide import Account
from app.costs.records import BudgetRecord
from app.costs.windows import Window


@dataclass(frozen=True, slots=True)
class Opening:
    """An account that is wanted, and what it is of."""

    id: UUID
    budget: BudgetRecord
    key: str
    window: Window


async def open_accounts(connection: HotConnection, accounts: Sequence[Opening]) -> None:
    """Make accounts that are not there yet. In a transaction of its own: who holds locks must not wait for more."""
    await connection.execute(
        sql.OPEN,
        [item.id for item in accounts],
        [item.budget.id for item in accounts],
        [item.key for item in accounts],
        [item.window.start for item in accounts],
        [item.window.end for item in accounts],
        [item.budget.unit for item in accounts],
        [item.budget.scope.model for item in accounts],
        [item.window.slice_s for item in accounts],
        [item.budget.limit for item in accounts],
    )


async def lock(
    connection: HotConnection, wanted: Sequence[Opening], others: Collection[UUID] = ()
) -> dict[UUID, Account]:
    """Lock accounts in the order of their ids; those of `wanted` that are there. `others` are locked only."""
    ids = sorted([*(item.id for item in wanted), *others])
    rows = {row["id"]: row for row in await connection.fetch(sql.LOCK, ids)}
    rolling = [item.id for item in wanted if item.window.slice_s is not None]
    if rolling:
        await connection.execute(sql.TURN, rolling)
        rows |= {row["id"]: row for row in await connection.fetch(sql.LOCK, rolling)}
    return {
        item.id: Account(
            item.id,
            item.budget,
            item.budget.limit,
            rows[item.id]["committed"],
            item.window.end,
            rows[item.id]["paced_until"],
        )
        for item in wanted
        if item.id in rows
    }


async def epoch(connection: HotConnection) -> int:
    """How often budgets have changed; what is locked now was not changed since by a later one."""
    return int(await connection.fetchval(f"SELECT {sql.EPOCH}"))


async def pace(connection: HotConnection, accounts: Iterable[Account]) -> None:
    """Write when throttled accounts let the next through."""
    paced = [item for item in accounts if item.paced_until is not None and item.active("throttle")]
    if paced:
        await connection.execute(sql.PACE, [item.id for item in paced], [item.paced_until for item in paced])
