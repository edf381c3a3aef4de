"""Events of budgets: each threshold once, in the feed of whoever it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.db import Database, HotConnection
from app.costs.budget_service import Budgets
from app.costs.budget_view import BudgetView
from app.costs.records import ACTIONS, Scope, Threshold
from app.costs.thresholds import Look, Reached, Thresholds, code_of, judge
from app.tasks import feed
from app.tasks.feed import Filters
from app.webhooks.fanout import body_of
from app.webhooks.records import NO_TASK, WebhookRecord
from app.wiring.feeds import webhook_feed
from tests.costs.ledger_rows import ADMIN, account, make, spec, task


def at(percent: int, action: str = "notify") -> Threshold:
    return Threshold(Decimal(percent), action)


def look(spent: str, *, reported: Sequence[int] = (), rolling: bool = False, limit: str = "100") -> Look:
    amounts = (Decimal(limit), Decimal(spent), Decimal(0))
    return Look(uuid4(), uuid4(), "", None, None, "usd", 10.0 if rolling else None, *amounts, reported, 0)


def codes(thresholds: Sequence[Threshold]) -> list[tuple[int, str]]:
    return [(int(item.percent), item.action) for item in thresholds]


ALL = (at(50), at(80), at(100, "pause"), at(100, "stop"))
amounts = st.decimals(0, 250, places=2)


@given(steps=st.lists(amounts, max_size=20), limit=st.decimals("0.01", 200, places=2))
def test_what_is_passed_is_reported_once_and_what_is_not_never(steps: list[Decimal], limit: Decimal) -> None:
    reported: list[int] = []
    told: list[int] = []
    for spent in steps:
        fresh, reported = judge(look(str(spent), reported=reported, limit=str(limit)), ALL, parked=False)
        told += map(code_of, fresh)
    highest = max(steps, default=Decimal(0))
    passed = sorted(code_of(item) for item in ALL if steps and highest >= limit * item.percent / 100)
    assert sorted(told) == passed == sorted(reported)


def test_codes_tell_thresholds_apart() -> None:
    every = [at(percent, action) for percent in range(1, 1001) for action in ACTIONS]
    assert len({code_of(item) for item in every}) == len(every)


def test_a_rolling_window_may_report_again_once_it_has_fallen_well_below() -> None:
    fresh, known = judge(look("85", rolling=True), ALL, parked=False)
    assert codes(fresh) == [(50, "notify"), (80, "notify")]
    assert judge(look("70", reported=known, rolling=True), ALL, parked=False) == ([], known)
    fresh, less = judge(look("60", reported=known, rolling=True), ALL, parked=False)
    assert (fresh, less) == ([], [500])
    fresh, _ = judge(look("81", reported=less, rolling=True), ALL, parked=False)
    assert codes(fresh) == [(80, "notify")]
    # A calendar window never falls: what is reserved may, and that is no news.
    assert judge(look("0", reported=known), ALL, parked=False) == ([], known)


def test_a_pause_is_told_when_tasks_wait_for_the_last_bit_and_a_stop_is_not() -> None:
    told = codes(judge(look("97"), ALL, parked=True)[0])
    assert told == [(50, "notify"), (80, "notify"), (100, "pause")]
    assert judge(look("30"), ALL, parked=True)[0] == []
    assert (100, "pause") not in codes(judge(look("97"), ALL, parked=False)[0])


async def events(db: Database, account_id: UUID) -> list[dict[str, Any]]:
    async with db.read() as connection:
        rows = await connection.fetch("SELECT * FROM events WHERE task_id = $1 ORDER BY seq", account_id)
    return [{**dict(row), "data": orjson.loads(row["data"])} for row in rows]


async def test_two_passes_at_once_report_once(db: Database) -> None:
    told: list[Reached] = []

    async def hear(reached: Sequence[Reached]) -> None:
        told.extend(reached)

    budget = await make(db, "b", "100", at(50), at(50, "throttle"), at(80), at(100, "stop"))
    ids = [await account(db, budget, "70.5", "12")]
    each = await make(db, "each", "1", at(100, "pause"), scope=Scope(tenant="acme", per="task"))
    ids += [await account(db, each, "2", key=str(n)) for n in range(150)]

    async def note(connection: HotConnection, reached: Sequence[Reached]) -> None:
        for item in reached:
            await connection.execute("INSERT INTO pools (name) VALUES ($1)", f"{item.account.id}-{item.threshold}")

    await asyncio.gather(*(Thresholds(db, hear, note).run() for _ in range(4)))
    assert len(told) == 153
    async with db.read() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pools") == 153
    found = await events(db, ids[0])
    assert [(row["seq"], row["data"]["percent"], row["data"]["action"]) for row in found] == [
        (1, 50, "notify"),
        (2, 50, "throttle"),
        (3, 80, "notify"),
    ]
    assert {(row["type"], row["tenant"]) for row in found} == {("budget.threshold", "default")}
    said = found[0]["data"]
    assert (said["budget"], said["limit"], said["spent"], said["reserved"]) == ("b", "100", "70.5", "12")
    assert (
        datetime.fromisoformat(said["window_start"]) <= datetime.now(UTC) < datetime.fromisoformat(said["window_end"])
    )
    assert (await events(db, ids[1]))[0]["tenant"] == "acme"


async def test_what_cannot_be_written_with_its_event_is_tried_again(db: Database) -> None:
    async def fail(_: HotConnection, __: Sequence[Reached]) -> None:
        raise RuntimeError("no")

    budget = await make(db, "b", "1", at(100, "stop"))
    account_id = await account(db, budget, "1")
    with pytest.raises(RuntimeError):
        await Thresholds(db, within=fail).run()
    assert await events(db, account_id) == []
    assert len(await Thresholds(db).run()) == 1


async def test_a_pass_sees_what_is_touched_raised_or_waited_for(db: Database) -> None:
    passes = Thresholds(db)
    budget = await make(db, "b", "100", at(80), at(100, "pause"), window_kind="total")
    await account(db, budget, "10")
    assert await passes.run() == []
    account_id = await account(db, budget, "95")
    assert codes([item.threshold for item in await passes.run()]) == [(80, "notify")]
    assert await passes.run() == []
    # Not touched, but a task waits for it now.
    async with db.hot() as connection:
        await connection.execute("UPDATE budget_accounts SET touched_at = now() - interval '1 hour'")
    await task(db, "queued", parked_by=account_id)
    assert codes([item.threshold for item in await passes.run()]) == [(100, "pause")]
    assert await passes.run() == []
    # Another limit is another question, and another threshold is looked for in all accounts.
    await Budgets(db, BudgetView(db)).put("b", spec("105", at(80), at(90), window_kind="total"), ADMIN)
    assert codes([item.threshold for item in await passes.run()]) == [(80, "notify"), (90, "notify")]
    assert [row["seq"] for row in await events(db, account_id)] == [1, 2, 3, 4]


async def test_past_windows_deleted_budgets_and_budgets_that_only_count_report_nothing(db: Database) -> None:
    past = await make(db, "past", "1", at(50))
    await account(db, past, "1", at=datetime.now(UTC) - timedelta(days=2))
    gone = await make(db, "gone", "1", at(50))
    await account(db, gone, "1")
    await Budgets(db, BudgetView(db)).delete("gone", ADMIN)
    counting = await make(db, "counting", "1", at(50))
    await Budgets(db, BudgetView(db)).put("counting", spec("1", thresholds=()), ADMIN)
    await account(db, counting, "1")
    assert await Thresholds(db).run() == []


async def test_the_feed_and_webhooks_of_the_tenant_have_them(db: Database) -> None:
    budget = await make(db, "b", "10", at(50), scope=Scope(tenant="acme"))
    account_id = await account(db, budget, "6")
    async with db.hot() as connection:
        await connection.execute("INSERT INTO pools (name) VALUES ('echo'), ('other')")
    of_pool = await make(db, "pool", "10", at(50), scope=Scope(tenant="acme", pool="echo"))
    await account(db, of_pool, "6")
    await Thresholds(db).run()
    page = await feed.read(db, "acme", None, Filters(), 10)
    assert sorted((item.pool, item.thread_id) for item in page.items) == [("", None), ("echo", None)]
    whole = next(item for item in page.items if item.pool == "")
    assert orjson.loads(feed.feed_json(whole))["task_id"] == str(account_id)
    assert (await feed.read(db, "default", None, Filters(), 10)).items == []

    async def named(types: Sequence[str], pool: str | None) -> list[str]:
        found = await webhook_feed(db, "acme", (0, NO_TASK, 0), types, pool, 10)
        hook = WebhookRecord(uuid4(), "acme", "", "", [], pool, True, 1, 0, NO_TASK, 0, datetime.now(UTC))
        return sorted(orjson.loads(body_of(hook, event))["data"]["budget"] for event in found.events)

    assert await named(["budget."], None) == ["b", "pool"]
    assert await named([], "echo") == ["pool"]
    assert await named(["task."], None) == await named([], "other") == []
    threads = await feed.read(db, "acme", None, Filters(thread_id="x"), 10)
    assert threads.items == []
