"""What the gate of money does not start: it waits with a reason, is asked about, or fails."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from app.auth.callers import PROBES_TENANT
from app.costs.estimates import Need
from app.tasks import queue
from tests.costs.gate_bench import Bench, Expecting, dec
from tests.tasks.queue_driver import insert, task


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


async def test_the_rest_of_a_long_queue_is_parked_at_once(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    await insert(bench.db, *(task() for _ in range(60)))
    await bench.pass_(5)
    (row,) = await bench.all("SELECT count(*) FROM tasks WHERE parked_by IS NOT NULL")
    assert row["count"] == 59


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


async def test_a_queue_without_money_keeps_no_probe_waiting(bench: Bench) -> None:
    await bench.budget("1")
    await bench.budgets.refresh()
    users = [task(priority=1) for _ in range(10)]
    probe = task(tenant=PROBES_TENANT, synthetic=True)
    await insert(bench.db, *users, probe)
    await bench.pass_(3)
    parked = {row["id"] for row in await bench.all("SELECT id FROM tasks WHERE parked_by IS NOT NULL")}
    assert parked == {new.id for new in users[1:]}
    assert list((await bench.pass_())[0].started) == [probe.id]
    assert await bench.accounts() == [dec("0", "1")]
