"""Budgets at the gate, with real PostgreSQL: what starts, what is reserved, what is booked, what waits."""

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
from app.tasks import queue, spending
from app.tasks.queue import Ready, Settled, UsageRow
from app.tasks.spending import Spent
from tests.support.service import Backing
from tests.tasks.queue_driver import AGENT, MANAGER, insert, task

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


async def test_without_a_budget_all_start_and_hold_nothing(bench: Bench) -> None:
    new = task()
    await insert(bench.db, new)
    passed, _ = await bench.pass_()
    assert list(passed.started) == [new.id]
    assert await bench.end(new.id, 1, "0.25")
    assert await bench.accounts() == []
    assert (await bench.task(new.id))["cost_usd"] == Decimal("0.25")
    (used,) = await bench.all("SELECT outcome, type, cost_usd, price_version FROM usage")
    assert tuple(used) == ("succeeded", "work", Decimal("0.25"), "v")


async def test_only_what_the_budget_covers_starts_and_the_rest_waits_with_a_reason(bench: Bench) -> None:
    await bench.budget("2.5")
    await bench.budgets.refresh()
    new = [task() for _ in range(4)]
    await insert(bench.db, *new)
    passed, _ = await bench.pass_()
    assert len(passed.started) == 2
    assert passed.aside == {new[2].id, new[3].id}
    assert await bench.accounts() == [dec("0", "2")]
    waiting = await bench.task(new[2].id)
    assert (waiting["status"], waiting["wake_at"] > NOW) == ("queued", True)
    (event,) = await bench.all("SELECT data FROM events WHERE task_id = $1 AND type = 'task.parked'", new[2].id)
    told = orjson.loads(event["data"])
    assert (told["budget"], told["reason"], told["left"], told["unit"]) == ("b", "exhausted", "0.5", "usd")


async def test_the_end_books_the_real_cost_and_makes_room(bench: Bench) -> None:
    await bench.budget("2")
    await bench.budgets.refresh()
    new = [task() for _ in range(3)]
    await insert(bench.db, *new)
    await bench.pass_()
    assert await bench.end(new[0].id, 1, "0.1")
    assert not await bench.end(new[0].id, 1, "0.1"), "a doubled settle books nothing"
    assert await bench.accounts() == [dec("0.1", "1")]
    await bench.unparking.tick()
    async with bench.db.hot() as connection:
        assert await queue.wake_due(connection, 10) == [], "0.9 are left, and 1 is needed"
    assert await bench.end(new[1].id, 1, "0.9")
    await bench.unparking.tick()
    async with bench.db.hot() as connection:
        await queue.wake_due(connection, 10)
    passed, _ = await bench.pass_()
    assert list(passed.started) == [new[2].id]
    assert await bench.accounts() == [dec("1", "1")]


async def test_nothing_starts_under_budgets_that_changed_since_they_were_read(bench: Bench) -> None:
    new = task()
    await insert(bench.db, new)
    await bench.budget("0.5")  # not read yet
    passed, _ = await bench.pass_()
    assert (passed.started, passed.aside) == ({}, set())
    passed, _ = await bench.pass_()
    assert passed.aside == {new.id}, "the refused start made the gate read them"


async def test_a_rescued_task_takes_its_own_reservation_over(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    new = task()
    await insert(bench.db, new)
    await bench.pass_()
    async with bench.db.hot() as connection:
        assert await queue.rescue(connection, 5.0, 3, 10)
    assert await bench.accounts() == [dec("0", "1")], "its agent may work on"
    passed, _ = await bench.pass_()
    assert list(passed.started) == [new.id]
    assert await bench.accounts() == [dec("0", "1")]
    assert await bench.end(new.id, 2, "1.5")
    assert await bench.accounts() == [dec("1.5", "0")]


async def test_a_cancelled_attempt_holds_its_estimate_until_it_is_known_what_it_cost(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    new = task()
    await insert(bench.db, new)
    passed, _ = await bench.pass_()
    async with bench.db.hot() as connection, connection.transaction():
        await queue.cancel(connection, "t", [new.id], "no")
    assert await bench.accounts() == [dec("0", "1")]
    accounts = passed.started[new.id].accounts
    usage = [UsageRow("m", 1, 1, "{}", Decimal("0.3"), "v")]
    for _ in range(2):
        async with bench.db.hot() as connection:
            await spending.spend(connection, Spent(new.id, 1, "t", "p", usage, "cancelled", True, accounts))
    assert await bench.accounts() == [dec("0.3", "0")]
    assert (await bench.task(new.id))["cost_usd"] == Decimal("0.3")


async def test_what_nobody_reports_ends_after_a_while(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    new = task()
    await insert(bench.db, new)
    await bench.pass_()
    async with bench.db.hot() as connection, connection.transaction():
        await queue.cancel(connection, "t", [new.id], "no")
    async with bench.db.hot() as connection:
        assert await spending.give_back(connection, 3600, 10) == 0
        assert await spending.give_back(connection, 0, 10) == 1
        assert await spending.give_back(connection, 0, 10) == 0
    assert await bench.accounts() == [dec("0", "0")]


async def test_a_model_without_a_price_keeps_the_estimate_booked(bench: Bench) -> None:
    await bench.budget("5")
    await bench.budgets.refresh()
    new = task()
    await insert(bench.db, new)
    await bench.pass_()
    await bench.end(new.id, 1, None)
    assert await bench.accounts() == [dec("1", "0")]
    assert (await bench.task(new.id))["cost_usd"] is None


async def test_every_scope_is_reserved_or_none(bench: Bench) -> None:
    await bench.budget("10", "wide", pool=None)
    await bench.budget("150", "tokens", unit="tokens")
    await bench.budget("7", "calls", unit="requests", per="thread")
    await bench.budget("3", "model", model="m")
    await bench.budget("3", "other", model="n")
    await bench.budgets.refresh()
    new = [task(thread_id="x"), task(thread_id="x")]
    await insert(bench.db, *new)
    passed, _ = await bench.pass_()
    assert (list(passed.started), passed.aside) == ([new[0].id], {new[1].id})
    rows = await bench.all(
        "SELECT b.name, a.key, a.spent, a.reserved FROM budget_accounts a JOIN budgets b ON b.id = a.budget_id"
    )
    assert {row["name"]: (row["key"], row["reserved"]) for row in rows} == {
        "wide": ("", 1),
        "tokens": ("", 100),
        "calls": ("t/x", 1),
        "model": ("", 1),
        "other": ("", 0),
    }
    await bench.end(new[0].id, 1, "0.5")
    rows = await bench.all("SELECT b.name, a.spent FROM budget_accounts a JOIN budgets b ON b.id = a.budget_id")
    assert {row["name"]: row["spent"] for row in rows} == {
        "wide": Decimal("0.5"),
        "tokens": 100,
        "calls": 1,
        "model": Decimal("0.5"),
        "other": 0,
    }


async def test_a_rolling_window_lets_go_of_what_is_older_than_it(bench: Bench) -> None:
    await bench.budget("1", window_kind="rolling", rolling_s=600.0)
    await bench.budgets.refresh()
    new = [task(), task()]
    await insert(bench.db, new[0])
    await bench.pass_()
    await bench.end(new[0].id, 1, "1")
    await insert(bench.db, new[1])
    assert (await bench.pass_())[0].aside == {new[1].id}
    await bench.all("UPDATE budget_slices SET start = start - interval '595 s'")
    await bench.unparking.tick()
    assert await bench.accounts() == [dec("1", "0")], "a slice of 10 s goes when all of it is older than 600 s"
    await bench.all("UPDATE budget_slices SET start = start - interval '16 s'")
    await bench.unparking.tick()
    async with bench.db.hot() as connection:
        await queue.wake_due(connection, 10)
    assert list((await bench.pass_())[0].started) == [new[1].id]
    assert await bench.accounts() == [dec("0", "1")]


async def test_a_policy_may_fail_what_finds_no_money(bench: Bench) -> None:
    await bench.budget("0.5", on_exhausted="fail")
    await bench.budgets.refresh()
    new = task()
    await insert(bench.db, new)
    assert (await bench.pass_())[0].aside == {new.id}
    row = await bench.task(new.id)
    assert (row["status"], row["error_code"]) == ("failed", "budget_exhausted")
    assert "0.5 usd left" in row["error_message"]


async def test_people_may_let_a_task_start_without_money(bench: Bench) -> None:
    await bench.budget("0.5", thresholds=[{"percent": 100, "action": "require_approval"}])
    await bench.budgets.refresh()
    new = task(payload='{"a": 1}')
    await insert(bench.db, new)
    assert (await bench.pass_())[0].aside == {new.id}
    assert (await bench.task(new.id))["status"] == "held"
    (asked,) = await bench.all("SELECT kind, step, action, status FROM approvals")
    assert tuple(asked) == ("start", "budget:b", "start_over_budget", "pending")
    await bench.all("UPDATE tasks SET status = 'queued'")
    assert list((await bench.pass_())[0].started) == [new.id]
    assert await bench.accounts() == [dec("0", "1")]


async def test_a_throttled_scope_starts_so_many_a_minute(bench: Bench) -> None:
    await bench.budget("100", thresholds=[{"percent": 1, "action": "throttle", "per_minute": 6}])
    await bench.budgets.refresh()
    await insert(bench.db, *(task() for _ in range(5)))
    passed, _ = await bench.pass_()
    # The first sets the pace at nothing spent; the second is above 1 % already, and takes the pace's first place.
    assert len(passed.started) == 2
    (row,) = await bench.all("SELECT paced_until FROM budget_accounts")
    assert (row["paced_until"] - NOW).total_seconds() == 10.0


async def test_a_cheaper_model_is_named_past_a_threshold(bench: Bench) -> None:
    await bench.budget("10", thresholds=[{"percent": 10, "action": "downgrade", "models": {"m": "mini"}}, *PAUSE])
    await bench.budgets.refresh()
    await insert(bench.db, *(task() for _ in range(2)))
    passed, _ = await bench.pass_()
    assert [dict(item.models) for item in passed.started.values()] == [{}, {"m": "mini"}]


async def test_the_rest_of_a_long_queue_is_parked_at_once(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    await insert(bench.db, *(task() for _ in range(60)))
    await bench.pass_(5)
    (row,) = await bench.all("SELECT count(*) FROM tasks WHERE parked_by IS NOT NULL")
    assert row["count"] == 59


async def test_a_reservation_that_ended_since_the_task_was_read_is_not_reckoned_with(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    old, new = task(), task()
    await insert(bench.db, old)
    await bench.pass_()
    async with bench.db.hot() as connection:
        await queue.rescue(connection, 5.0, 3, 10)
        (seen,) = await queue.ready(connection, [("p", 5, False)])
        assert await spending.give_back(connection, 0, 10) == 1
    await insert(bench.db, new)
    agent: Any = SimpleNamespace(id=AGENT)
    async with bench.db.hot() as connection:
        found = [item for item in await queue.ready(connection, [("p", 5, False)]) if item.id == new.id]
        assert list((await bench.gate.start(connection, MANAGER, [(found[0], agent)])).started) == [new.id]
        assert (await bench.gate.start(connection, MANAGER, [(seen, agent)])).started == {}
    assert await bench.accounts() == [dec("0", "1")]


async def test_nothing_fails_for_good_by_a_budget_that_was_raised(bench: Bench) -> None:
    await bench.budget("0.5", on_exhausted="fail")
    await bench.budgets.refresh()
    await bench.all('UPDATE budgets SET "limit" = 100')
    await bench.all("UPDATE budget_epoch SET epoch = epoch + 1")
    new = task()
    await insert(bench.db, new)
    await bench.pass_()
    assert (await bench.task(new.id))["status"] == "queued"
    assert list((await bench.pass_())[0].started) == [new.id]


async def test_what_wants_more_than_is_left_is_not_tried_again(bench: Bench) -> None:
    await bench.budget("1.5")
    await bench.budgets.refresh()
    await insert(bench.db, *(task() for _ in range(20)))
    passed, _ = await bench.pass_()
    await bench.end(next(iter(passed.started)), 1, "1")
    woken = []
    for _ in range(3):
        await bench.unparking.tick()
        async with bench.db.hot() as connection:
            woken.append(len(await queue.wake_due(connection, 100)))
        await bench.pass_()
    assert woken == [0, 0, 0], "0.5 are left, all want 1"


async def test_small_tasks_behind_many_big_ones_start_when_there_is_room_for_them(bench: Bench) -> None:
    sizes = {"big": Decimal(8), "small": Decimal(1)}
    bench.gate._estimates = Expecting(lambda task_type: {"m": Need(sizes[task_type], Decimal(100))})  # type: ignore[assignment]
    await bench.budget("10")
    await bench.budgets.refresh()
    running = [task(type="big"), task(type="small"), task(type="small")]
    await insert(bench.db, *running)
    assert len((await bench.pass_())[0].started) == 3, "all of it is reserved"
    await insert(bench.db, *(task(type="big") for _ in range(250)), *(task(type="small") for _ in range(5)))
    for _ in range(5):
        await bench.pass_(64)
    await bench.end(running[0].id, 1, "5")
    started: list[UUID] = []
    for _ in range(5):
        await bench.unparking.tick()
        async with bench.db.hot() as connection:
            await queue.wake_due(connection, 1000)
        for _ in range(5):
            started += (await bench.pass_(64))[0].started
    assert len(started) == 3, "3 of 10 were left, and three tasks want 1"


async def test_a_model_without_money_stops_nobody_who_does_not_use_it(bench: Bench) -> None:
    await bench.budget("1", "of-m", model="m")
    await bench.budgets.refresh()
    first = task()
    await insert(bench.db, first)
    await bench.pass_()
    await bench.end(first.id, 1, "5")
    bench.expected = {"other": Need(Decimal(1), Decimal(100))}
    other = task()
    await insert(bench.db, other)
    assert list((await bench.pass_())[0].started) == [other.id]


async def test_a_success_without_usage_after_other_attempts_is_written(bench: Bench) -> None:
    new = [task(), task()]
    await insert(bench.db, *new)
    for _ in range(2):
        passed, _ = await bench.pass_()
        fence = max(item.fence for item in passed.started.values())
        for task_id in passed.started:
            status = "queued" if task_id == new[0].id and fence == 1 else "succeeded"
            ended = Settled(task_id, fence, status, status, "task.noted", "{}")
            async with bench.db.hot() as connection:
                assert await queue.settle(connection, [ended])
    rows = await bench.all("SELECT task_id, fence, model, outcome, cost_usd FROM usage")
    assert [tuple(row) for row in rows] == [(new[0].id, 2, "", "succeeded", 0)], "a first attempt needs none"


async def test_tenants_may_name_their_threads_alike(bench: Bench) -> None:
    await bench.budget("1", pool=None, per="thread")
    await bench.budgets.refresh()
    new = [task(tenant=tenant, thread_id="conversation-1") for tenant in ("a", "b")]
    await insert(bench.db, *new)
    assert set((await bench.pass_())[0].started) == {item.id for item in new}
    rows = await bench.all("SELECT key FROM budget_accounts ORDER BY key")
    assert [row["key"] for row in rows] == ["a/conversation-1", "b/conversation-1"]


async def test_a_cancelled_attempt_was_a_request(bench: Bench) -> None:
    await bench.budget("2", unit="requests")
    await bench.budgets.refresh()
    new = task()
    await insert(bench.db, new)
    passed, _ = await bench.pass_()
    async with bench.db.hot() as connection, connection.transaction():
        await queue.cancel(connection, "t", [new.id], "no")
    for _ in range(2):
        async with bench.db.hot() as connection:
            accounts = passed.started[new.id].accounts
            await spending.spend(connection, Spent(new.id, 1, "t", "p", [], "cancelled", True, accounts))
    assert await bench.accounts() == [dec("1", "0")]


async def test_a_deleted_budget_leaves_nothing_behind(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    new = [task(), task()]
    await insert(bench.db, *new)
    await bench.pass_()
    await bench.all("DELETE FROM budgets")
    await bench.all("UPDATE budget_epoch SET epoch = epoch + 1")
    await bench.budgets.refresh()
    await bench.unparking.tick()
    async with bench.db.hot() as connection:
        await queue.wake_due(connection, 10)
    assert list((await bench.pass_())[0].started) == [new[1].id]
    assert await bench.end(new[0].id, 1, "1")
    assert await bench.accounts() == [dec("1", "0")]
