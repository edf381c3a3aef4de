"""A gate of money over real PostgreSQL, and verbs around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from app.core.db import Database
from app.costs.budget_view import BudgetView
from app.costs.estimates import Need
from app.dispatch.gate import Gate, Passed
from app.dispatch.unparking import Unparking
from app.settings import DatabaseSettings
from app.tasks import queue
from app.tasks.queue import Ready, Settled, UsageRow
from tests.support.service import Backing
from tests.tasks.queue_driver import AGENT, MANAGER

NOW = datetime.now(UTC)  # as the database has it: what is parked is not due at once
PAUSE = [{"percent": 100, "action": "pause"}]
_PUT = """
INSERT INTO budgets (name, id, tenant, pool, model, per, window_kind, zone, rolling_s, unit, "limit", thresholds,
  on_exhausted, created_by, created_by_tenant)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'UTC', $8, $9, $10, $11, $12, 'me', 'default')
"""


class HandClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class Expecting:
    """Estimates by the type of a task."""

    def __init__(self, by_type: Callable[[str], Mapping[str, Need]]) -> None:
        self._by_type = by_type

    def expect(self, _pool: str, task_type: str, *_: object) -> Mapping[str, Need]:
        return self._by_type(task_type)


class Bench:
    """A gate, and verbs around it. Each attempt is expected to cost 1 USD and 100 tokens of `m`."""

    def __init__(self, db: Database) -> None:
        self.db, self.budgets = db, BudgetView(db)
        self.expected = {"m": Need(Decimal(1), Decimal(100))}
        estimates: Any = SimpleNamespace(expect=lambda *_: self.expected)
        clock: Any = HandClock()
        self.gate = Gate(self.budgets, estimates, clock, recheck_s=3600, approval_expires_s=60, pool=lambda _name: None)
        self.unparking = Unparking(db, self.budgets, clock, lambda: None, gap_s=0.0)

    async def budget(self, limit: str, name: str = "b", **fields: Any) -> UUID:
        known: dict[str, Any] = {
            "tenant": None,
            "pool": "p",
            "model": None,
            "per": None,
            "window_kind": "day",
            "rolling_s": None,
            "unit": "usd",
            "thresholds": PAUSE,
            "on_exhausted": "wait",
            **fields,
        }
        budget_id = uuid4()
        async with self.db.hot() as connection, connection.transaction():
            await connection.execute(
                _PUT,
                name,
                budget_id,
                *(known[key] for key in ("tenant", "pool", "model", "per", "window_kind", "rolling_s", "unit")),
                Decimal(limit),
                orjson.dumps(known["thresholds"]).decode(),
                known["on_exhausted"],
            )
            await connection.execute("UPDATE budget_epoch SET epoch = epoch + 1")
        return budget_id

    async def pass_(self, count: int = 50) -> tuple[Passed, dict[UUID, Ready]]:
        """One pass of a dispatch loop over the queue."""
        agent: Any = SimpleNamespace(id=AGENT)
        async with self.db.hot() as connection:
            found = await queue.ready(connection, [("p", count, False)])
            passed = await self.gate.start(connection, MANAGER, [(item, agent) for item in found])
        return passed, {item.id: item for item in found}

    async def end(self, task_id: UUID, fence: int, cost: str | None, status: str = "succeeded", **fields: Any) -> bool:
        usage = UsageRow("m", 60, 40, "{}", None if cost is None else Decimal(cost), None if cost is None else "v")
        ended = Settled(task_id, fence, status, status, f"task.{status}", "{}", usage=(usage,), **fields)
        async with self.db.hot() as connection:
            return bool(await queue.settle(connection, [ended]))

    async def accounts(self) -> list[tuple[Decimal, Decimal]]:
        """(spent, reserved) of each account, oldest first."""
        rows = await self.all("SELECT spent, reserved FROM budget_accounts ORDER BY opened_at, id")
        return [(row["spent"].normalize() + 0, row["reserved"].normalize() + 0) for row in rows]

    async def all(self, query: str, *values: object) -> list[Any]:
        async with self.db.hot() as connection:
            return await connection.fetch(query, *values)

    async def task(self, task_id: UUID) -> Any:
        (row,) = await self.all("SELECT * FROM tasks WHERE id = $1", task_id)
        return row


@pytest.fixture
async def bench(backing: Backing) -> AsyncIterator[Bench]:
    db = Database(DatabaseSettings(url=backing.database_url))
    await db.start()
    bench = Bench(db)
    await bench.budgets.refresh()
    yield bench
    await db.stop()


def dec(*numbers: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(number) for number in numbers)
