"""What is booked when attempts end, and what becomes of reservations that nobody ends."""

from __future__ import annotations

from decimal import Decimal

from app.tasks import queue, spending
from app.tasks.queue import Settled, UsageRow
from app.tasks.spending import Spent
from tests.costs.gate_bench import Bench, dec
from tests.tasks.queue_driver import insert, task


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
