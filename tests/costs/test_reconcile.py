"""Drift is found, told, and put right; nothing that is right is touched; old accounts go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.costs import reconcile
from app.costs.budget_loop import BudgetLoop
from app.costs.budget_service import Budgets
from app.costs.budget_view import BudgetView
from app.costs.records import Scope
from app.costs.thresholds import Thresholds
from tests.costs.ledger_rows import ADMIN, account, make, task


async def value(db: Database, statement: str, *args: Any) -> Any:
    async with db.hot() as connection:
        return await connection.fetchval(statement, *args)


async def reserved(db: Database, account_id: UUID) -> Decimal:
    return Decimal(await value(db, "SELECT reserved FROM budget_accounts WHERE id = $1", account_id))


async def test_drift_is_reported_and_put_right(db: Database) -> None:
    budget = await make(db)
    right = await account(db, budget, "1", "7.5")
    tokens = await make(db, "t", unit="tokens")
    leaked, missing = await account(db, tokens, "0", "40"), await account(db, budget, "0", "0", key="x")
    await task(db, "running", {right: "5", missing: "1.25"})
    await task(db, "queued", {right: "2.5"})  # broken off, and its agent may still work
    found = {item.account_id: (item.recorded, item.actual, item.unit) for item in await reconcile.reconcile(db)}
    assert found == {
        leaked: (Decimal(40), Decimal(0), "tokens"),
        missing: (Decimal(0), Decimal("1.25"), "usd"),
    }
    assert reconcile.DRIFT._value.get() == 1.25
    assert reconcile.DRIFTED._value.get() == 2
    assert [await reserved(db, item) for item in (right, leaked, missing)] == [Decimal("7.5"), 0, Decimal("1.25")]
    assert await reconcile.reconcile(db) == []
    assert reconcile.DRIFT._value.get() == reconcile.DRIFTED._value.get() == 0


async def test_a_repair_counts_what_a_claim_commits_at_that_moment(db: Database) -> None:
    """A claim holds the account's lock, and adds a hold and its reservation together."""
    budget = await make(db)
    account_id = await account(db, budget, "0", "9")
    running = await task(db, "running")
    found = await reconcile.drifts(db)
    async with db.hot() as connection, connection.transaction():
        await connection.execute("SELECT FROM budget_accounts WHERE id = $1 FOR UPDATE", account_id)
        repairing = asyncio.create_task(reconcile.repair(db, found))
        while not await value(db, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await connection.execute(
            "UPDATE tasks SET holds = ARRAY[$2::uuid], hold_amounts = ARRAY[3.0] WHERE id = $1", running, account_id
        )
        await connection.execute("UPDATE budget_accounts SET reserved = reserved + 3 WHERE id = $1", account_id)
    assert await repairing == 1
    assert await reserved(db, account_id) == 3
    assert await reconcile.drifts(db) == []


async def test_an_account_that_was_opened_with_an_old_limit_gets_the_new_one(db: Database) -> None:
    budget = await make(db)
    account_id, past = await account(db, budget), await account(db, budget, at=datetime.now(UTC) - timedelta(days=3))
    await value(db, """UPDATE budget_accounts SET "limit" = 7, reported = '{500}'""")
    assert await reconcile.relimit(db) == 1
    assert await value(db, """SELECT "limit" FROM budget_accounts WHERE id = $1""", account_id) == 100
    assert await value(db, """SELECT "limit" FROM budget_accounts WHERE id = $1""", past) == 7
    assert await reconcile.relimit(db) == 0


async def test_accounts_of_long_ago_go_and_what_is_still_asked_stays(db: Database) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=9)
    daily = await make(db, "daily")
    total = await make(db, "total", window_kind="total")
    each = await make(db, "each", window_kind="total", scope=Scope(per="task"))
    short = await make(db, "short", window_kind="rolling", rolling_s=3600.0)
    long = await make(db, "long", window_kind="rolling", rolling_s=30 * 86_400.0)
    dead = await make(db, "dead", window_kind="total")
    gone = [
        await account(db, daily, "5", at=long_ago),
        await account(db, each, "5", key="old"),
        await account(db, short, "5"),
        await account(db, dead, "5"),
    ]
    kept = [
        await account(db, daily, "5"),
        await account(db, daily, "5", "1", at=long_ago - timedelta(days=1)),  # something is still held there
        await account(db, total, "5"),
        await account(db, long, "5"),
        await account(db, each, "5", "1", key="holding"),
    ]
    await value(db, "UPDATE budget_accounts SET touched_at = $1", long_ago)
    kept.append(await account(db, each, "5", key="new"))
    await Budgets(db, BudgetView(db)).delete("dead", ADMIN)
    for item in (gone[0], kept[0]):
        await value(db, "INSERT INTO budget_slices (account_id, start, spent) VALUES ($1, now(), 1)", item)
        await value(
            db,
            "INSERT INTO events (task_id, seq, tenant, type, data) VALUES ($1, 1, 'default', 'budget.threshold', '{}')",
            item,
        )
    await reconcile.prune(db, 7 * 86_400.0)
    assert set(await value(db, "SELECT array_agg(id) FROM budget_accounts")) == set(kept)
    for table, column in (("budget_slices", "account_id"), ("events", "task_id")):
        assert await value(db, f"SELECT array_agg({column}) FROM {table}") == [kept[0]]
    assert await reconcile.prune(db, 7 * 86_400.0) == 0


async def test_the_leader_does_all_of_it(db: Database, clock: Clock) -> None:
    budget = await make(db)
    account_id = await account(db, budget, "90", "1")
    loops = [
        BudgetLoop(db, Leader(db, clock, "budgets", holder), clock, Thresholds(db), 86_400.0) for holder in ("a", "b")
    ]
    for loop in loops:
        await loop.tick()
    assert await reserved(db, account_id) == 0
    assert await value(db, "SELECT count(*) FROM events WHERE task_id = $1", account_id) == 3
