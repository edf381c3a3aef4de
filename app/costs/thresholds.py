"""Thresholds that are passed: one event each.

What counts is what is committed: spent, and reserved by what runs. A pause counts as passed a little earlier, when a
task waits for the account's money: the last bit of a limit is mostly too small for the next task, and is never spent.

An account remembers what was reported of it (`reported`), in the transaction that writes the events and with its row
locked: two passes at once report once. It begins anew with another limit, and in a rolling window once the amount has
fallen well below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import orjson

from app.core.db import Database, HotConnection
from app.core.jsonbody import dump_json
from app.costs.accounts import SPENT_NOW
from app.costs.budget_view import COLUMNS
from app.costs.records import ACTIONS, BudgetRecord, Threshold

EVENT = "budget.threshold"
BATCH = 100
"""Accounts locked at once."""
MAX_PARKED = 10_000
OVERLAP_S = 60.0
"""An account is looked at so long after it was touched: its transaction may have taken that long to commit."""
FULL_S = 600.0
"""And all are, whether touched or not, after so long."""
NEAR = Decimal("0.8")
"""From this share of a threshold on a task that waits makes a pause of it; a rolling window that falls below may report
the threshold again."""

_NOW = "SELECT clock_timestamp()"
_ACCOUNT = f"""a.id, a.budget_id, a.key, a.window_start, a.window_end, a.unit, a.slice_s, a."limit",
  {SPENT_NOW} AS spent, a.reserved, a.reported, a.event_seq"""
# Coarse: what has passed the lowest threshold of its budget, or did once.
_OPEN = f"""
SELECT {_ACCOUNT} FROM budget_accounts a JOIN unnest($3::uuid[], $4::numeric[]) AS b(id, percent) ON b.id = a.budget_id
WHERE ($1::timestamptz IS NULL OR a.touched_at > $1) AND (a.window_end IS NULL OR a.window_end > $2)
  AND ((a.spent + a.reserved) * 100 >= a."limit" * b.percent OR a.reported <> '{{}}')
"""  # noqa: S608 - only constants
_THESE = f"SELECT {_ACCOUNT} FROM budget_accounts a WHERE a.id = ANY($1) ORDER BY a.id"  # noqa: S608
_LOCKED = f"{_THESE} FOR UPDATE OF a"
_BUDGETS = f"SELECT {COLUMNS} FROM budgets"  # noqa: S608
# Jumps from one account to the next in ix_tasks_parked, however many tasks wait for each.
_PARKED = f"""
WITH RECURSIVE parked AS (
  (SELECT parked_by FROM tasks WHERE status = 'queued' AND parked_by IS NOT NULL ORDER BY parked_by LIMIT 1)
  UNION ALL
  SELECT (SELECT t.parked_by FROM tasks t WHERE t.status = 'queued' AND t.parked_by > p.parked_by
          ORDER BY t.parked_by LIMIT 1) FROM parked p WHERE p.parked_by IS NOT NULL
)
SELECT parked_by FROM parked WHERE parked_by IS NOT NULL LIMIT {MAX_PARKED}
"""  # noqa: S608
_REMEMBER = "UPDATE budget_accounts SET reported = $2, event_seq = $3 WHERE id = $1"
_EVENT = "INSERT INTO events (task_id, seq, tenant, type, data) VALUES ($1, $2, $3, $4, $5)"


@dataclass(frozen=True, slots=True)
class Look:
    """One account as it was read."""

    id: UUID
    budget_id: UUID
    key: str
    window_start: datetime | None
    window_end: datetime | None
    unit: str
    slice_s: float | None
    limit: Decimal
    spent: Decimal
    reserved: Decimal
    reported: Sequence[int]
    event_seq: int

    @property
    def committed(self) -> Decimal:
        return self.spent + self.reserved


@dataclass(frozen=True, slots=True)
class Reached:
    """A threshold that an account has just passed."""

    budget: BudgetRecord
    threshold: Threshold
    account: Look

    @property
    def tenant(self) -> str:
        """Whose event it is: that of the scope, else of whoever made the budget."""
        return self.budget.scope.tenant or self.budget.created_by_tenant


def code_of(threshold: Threshold) -> int:
    """A threshold as a number: ten times its percent, and its action."""
    return int(threshold.percent) * 10 + ACTIONS.index(threshold.action)


def judge(account: Look, thresholds: Sequence[Threshold], parked: bool) -> tuple[list[Threshold], list[int]]:
    """What is to be reported now, lowest first, and all that is reported then (codes, in order)."""
    fresh, codes = [], set[int]()
    for threshold in sorted(thresholds, key=lambda item: item.percent):
        code, at = code_of(threshold), account.limit * threshold.percent / 100
        near = account.committed >= at * NEAR
        passed = account.committed >= at or (near and parked and threshold.action == "pause")
        known = code in account.reported
        if passed and not known:
            fresh.append(threshold)
        if passed or (known and (near or account.slice_s is None)):
            codes.add(code)
    return fresh, sorted(codes)


def event_data(reached: Reached) -> dict[str, object]:
    """What the event says. Amounts are decimal text."""
    budget, account, scope = reached.budget, reached.account, reached.budget.scope
    label = None if scope.label_key is None else {"key": scope.label_key, "value": scope.label_value}
    return {
        "budget": budget.name,
        "scope": {
            "tenant": scope.tenant,
            "pool": scope.pool,
            "model": scope.model,
            "label": label,
            "per": scope.per,
        },
        "key": account.key,
        "percent": int(reached.threshold.percent),
        "action": reached.threshold.action,
        "unit": account.unit,
        "limit": format(account.limit, "f"),
        "spent": format(account.spent, "f"),
        "reserved": format(account.reserved, "f"),
        "window_start": account.window_start,
        "window_end": account.window_end,
    }


type OnReached = Callable[[Sequence[Reached]], Awaitable[None]]
type Within = Callable[[HotConnection, Sequence[Reached]], Awaitable[None]]


async def _nobody(_: Sequence[Reached]) -> None:
    pass


async def _nothing(_: HotConnection, __: Sequence[Reached]) -> None:
    pass


class Thresholds:
    """One pass: look at the accounts that were touched since the last one, at those that tasks wait for, and now and
    then at all.

    `within` is called in the transaction that reports, so what it writes is written exactly once; it holds the locks of
    accounts and must not wait for those of tasks. `on_reached` is told after the commit; a crash in between loses that
    word.
    """

    def __init__(self, db: Database, on_reached: OnReached = _nobody, within: Within = _nothing) -> None:
        self._db, self._on_reached, self._within = db, on_reached, within
        self._since: datetime | None = None
        self._full_at: datetime | None = None
        self._known: dict[UUID, BudgetRecord] = {}

    def forget(self) -> None:
        """Look at all accounts in the next pass: another manager led in between."""
        self._since = self._full_at = None

    async def run(self) -> list[Reached]:
        """What this pass reported."""
        async with self._db.read() as connection:
            now: datetime = await connection.fetchval(_NOW)
            budgets = {row["id"]: _budget(row) for row in await connection.fetch(_BUDGETS)}
            waiting = frozenset(row["parked_by"] for row in await connection.fetch(_PARKED))
            full = self._full_at is None or now >= self._full_at or budgets != self._known
            news = await _news(connection, budgets, waiting, None if full else self._since, now)
        found = list[Reached]()
        for start in range(0, len(news), BATCH):
            found += await self._report(news[start : start + BATCH], budgets, waiting)
        if full:
            self._full_at = now + timedelta(seconds=FULL_S)
        self._since, self._known = now - timedelta(seconds=OVERLAP_S), budgets
        if found:
            await self._on_reached(found)
        return found

    async def _report(
        self, ids: Sequence[UUID], budgets: Mapping[UUID, BudgetRecord], waiting: Collection[UUID]
    ) -> list[Reached]:
        """Judge these accounts again, locked, and write what is new."""
        found = list[Reached]()
        async with self._db.hot() as connection, connection.transaction():
            for row in await connection.fetch(_LOCKED, ids):
                account = Look(*row)
                found += await _write(connection, account, budgets[account.budget_id], account.id in waiting)
            if found:
                await self._within(connection, found)
        return found


async def _news(
    connection: HotConnection,
    budgets: Mapping[UUID, BudgetRecord],
    waiting: Collection[UUID],
    since: datetime | None,
    now: datetime,
) -> list[UUID]:
    """Accounts of which there is something to write, as they are read without a lock."""
    watched = {
        id_: min(item.percent for item in budget.thresholds) for id_, budget in budgets.items() if budget.thresholds
    }
    # Shortly after its end a window may still be settled.
    open_after = now - timedelta(seconds=FULL_S)
    news = dict[UUID, None]()

    def look(row: asyncpg.Record) -> None:
        account = Look(*row)
        budget = budgets.get(account.budget_id)
        if budget is not None:
            fresh, codes = judge(account, budget.thresholds, account.id in waiting)
            if fresh or codes != sorted(account.reported):
                news[account.id] = None

    async with connection.transaction():
        opened = connection.cursor(_OPEN, since, open_after, list(watched), list(watched.values()), prefetch=BATCH)
        async for row in opened:
            look(row)
        if waiting:
            async for row in connection.cursor(_THESE, list(waiting), prefetch=BATCH):
                look(row)
    return list(news)


async def _write(connection: HotConnection, account: Look, budget: BudgetRecord, parked: bool) -> list[Reached]:
    fresh, codes = judge(account, budget.thresholds, parked)
    found = [Reached(budget, threshold, account) for threshold in fresh]
    for seq, reached in enumerate(found, start=account.event_seq + 1):
        await connection.execute(_EVENT, account.id, seq, reached.tenant, EVENT, dump_json(event_data(reached)))
    await connection.execute(_REMEMBER, account.id, codes, account.event_seq + len(found))
    return found


def _budget(row: asyncpg.Record) -> BudgetRecord:
    return BudgetRecord.of({**dict(row), "thresholds": orjson.loads(row["thresholds"])})
