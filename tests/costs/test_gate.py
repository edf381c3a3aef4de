"""Budgets at the gate, with real PostgreSQL: what starts, and what is reserved for it."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import orjson

from app.costs.estimates import Need
from app.tasks import queue, spending
from tests.costs.gate_bench import NOW, PAUSE, Bench, dec
from tests.tasks.queue_driver import AGENT, MANAGER, insert, task


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


async def test_nothing_starts_under_budgets_that_changed_since_they_were_read(bench: Bench) -> None:
    new = task()
    await insert(bench.db, new)
    await bench.budget("0.5")  # not read yet
    passed, _ = await bench.pass_()
    assert (passed.started, passed.aside) == ({}, set())
    passed, _ = await bench.pass_()
    assert passed.aside == {new.id}, "the refused start made the gate read them"


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


async def test_tenants_may_name_their_threads_alike(bench: Bench) -> None:
    await bench.budget("1", pool=None, per="thread")
    await bench.budgets.refresh()
    new = [task(tenant=tenant, thread_id="conversation-1") for tenant in ("a", "b")]
    await insert(bench.db, *new)
    assert set((await bench.pass_())[0].started) == {item.id for item in new}
    rows = await bench.all("SELECT key FROM budget_accounts ORDER BY key")
    assert [row["key"] for row in rows] == ["a/conversation-1", "b/conversation-1"]
