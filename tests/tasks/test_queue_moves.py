"""The other moves: cancel, replay, wake, expire, rescue."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.core.db import Database
from app.tasks import queue
from tests.tasks.queue_driver import (
    AGENT,
    MANAGER,
    claim,
    event_types,
    everything,
    failed,
    insert,
    manager_lives,
    new_manager,
    returned,
    row,
    running,
    settle,
    succeeded,
    table,
    task,
    tasks,
)


async def cancel(db: Database, task_id: UUID, tenant: str = "t") -> tuple[str, int] | None:
    async with db.hot() as connection:
        done = await queue.cancel(connection, tenant, [task_id], "not needed")
    return (done[0]["was"], done[0]["fence"]) if done else None


async def retry(db: Database, task_id: UUID, tenant: str = "t") -> bool:
    async with db.hot() as connection:
        return bool(await queue.retry(connection, tenant, [task_id]))


async def rescue(db: Database, max_rescues: int = 50, limit: int = 100) -> dict[UUID, str]:
    async with db.hot() as connection:
        return {item["id"]: item["status"] for item in await queue.rescue(connection, 5.0, max_rescues, limit)}


async def test_a_queued_task_is_cancelled_for_good(db: Database) -> None:
    new = task()
    await insert(db, new)
    assert await cancel(db, new.id) == ("queued", 0)
    before = await everything(db)
    assert await cancel(db, new.id) is None
    assert await claim(db, 5) == []
    assert await everything(db) == before
    assert await event_types(db, new.id) == ["task.queued", "task.cancelled"]


async def test_a_running_task_is_cancelled_and_its_result_refused(db: Database) -> None:
    task_id = await running(db)
    assert await cancel(db, task_id) == ("running", 1)
    before = await everything(db)
    assert await settle(db, succeeded(task_id, 1)) == set()
    assert await everything(db) == before
    (attempt,) = await table(db, "attempts", task_id)
    assert (attempt["outcome"], attempt["manager_id"], attempt["agent_id"]) == ("cancelled", MANAGER, AGENT)


async def test_another_tenant_cannot_cancel_or_retry(db: Database) -> None:
    task_id = await running(db)
    assert await cancel(db, task_id, "stranger") is None
    await settle(db, failed(task_id, 1))
    assert not await retry(db, task_id, "stranger")
    assert (await row(db, task_id))["status"] == "failed"


async def test_cancel_and_settle_at_once_have_one_winner(db: Database) -> None:
    for _ in range(10):
        task_id = await running(db)
        ours, cancelled = await asyncio.gather(settle(db, succeeded(task_id, 1)), cancel(db, task_id))
        assert bool(ours) != (cancelled is not None)
        assert (await row(db, task_id))["status"] == ("succeeded" if ours else "cancelled")
        assert len(await event_types(db, task_id)) == 3


async def test_a_failed_task_is_replayed_with_its_attempts_reset_and_its_fence_kept(db: Database) -> None:
    task_id = await running(db)
    assert not await retry(db, task_id), "it runs"
    await settle(db, failed(task_id, 1))
    assert await retry(db, task_id)
    assert not await retry(db, task_id), "it is queued"
    stored = await row(db, task_id)
    assert (stored["status"], stored["attempt"], stored["fence"], stored["error_code"]) == ("queued", 0, 1, None)
    assert (await claim(db, 1))[0].id == task_id
    assert await settle(db, succeeded(task_id, 1)) == set(), "the attempt before the replay is stale"
    assert await settle(db, succeeded(task_id, 2)) == {(task_id, 2)}


async def test_only_failed_tasks_are_replayed(db: Database) -> None:
    done, cancelled = await running(db), await running(db)
    await settle(db, succeeded(done, 1))
    await cancel(db, cancelled)
    assert not await retry(db, done) and not await retry(db, cancelled)


async def test_due_tasks_wake_once_and_the_next_is_announced(db: Database) -> None:
    now = datetime.now(UTC)
    due, later = task("due", run_at=now + timedelta(hours=1)), task("later", run_at=now + timedelta(hours=2))
    await insert(db, due, later)
    async with db.hot() as connection:
        assert await queue.wake_due(connection, 10) == []
        assert await queue.next_wake_s(connection) == pytest.approx(3600, abs=30)
        await connection.execute("UPDATE tasks SET wake_at = now() - interval '1 s' WHERE pool = 'due'")
        assert await queue.wake_due(connection, 10) == ["due"]
        assert await queue.wake_due(connection, 10) == []
        assert await queue.next_wake_s(connection) == pytest.approx(7200, abs=30)
    assert len(await claim(db, 5, "due")) == 1 and await claim(db, 5, "later") == []


async def test_a_missed_start_deadline_expires_and_is_never_claimed(db: Database) -> None:
    late, fine, begun = task(deadline_s=3600.0), task(deadline_s=3600.0), task("other", deadline_s=3600.0)
    await insert(db, late, fine, begun)
    await claim(db, 1, "other")
    async with db.hot() as connection:
        await connection.execute(
            "UPDATE tasks SET start_deadline_at = now() - interval '1 s' WHERE id = ANY($1)", [late.id, begun.id]
        )
    assert [item.id for item in await claim(db, 5)] == [fine.id], "not even before it is swept"
    async with db.hot() as connection:
        assert await queue.expire(connection, 10) == [late.id], "a started task keeps no start deadline"
        assert await queue.expire(connection, 10) == []
    assert (await row(db, late.id))["status"] == "expired"
    assert await event_types(db, late.id) == ["task.queued", "task.expired"]


async def test_a_pinned_task_goes_to_its_agent_only(db: Database) -> None:
    agent = new_manager()
    await insert(db, task(pinned_agent_id=agent), *tasks(2))
    assert len(await claim(db, 5)) == 2
    async with db.hot() as connection, connection.transaction():
        assert await queue.pinned_to(connection) == [agent]
        assert await queue.ready_pinned(connection, [new_manager()], [5]) == []
        assert len(await queue.ready_pinned(connection, [agent], [5])) == 1


async def test_the_tasks_of_a_dead_manager_return_uncounted_and_those_of_a_live_one_stay(db: Database) -> None:
    dead, live = new_manager(), new_manager()
    await manager_lives(db, dead, silent_s=6)
    await manager_lives(db, live, silent_s=4)
    await insert(db, *tasks(3))
    lost = (await claim(db, 1, manager=dead))[0].id
    kept = (await claim(db, 1, manager=live))[0].id
    rowless = (await claim(db, 1, manager=new_manager()))[0].id
    assert await rescue(db) == {lost: "queued", rowless: "queued"}
    assert await rescue(db) == {}
    assert (await row(db, kept))["status"] == "running"
    stored = await row(db, lost)
    assert (stored["attempt"], stored["fence"], stored["rescues"], stored["rejoin"]) == (0, 1, 1, True)
    (attempt,) = await table(db, "attempts", lost)
    assert (attempt["manager_id"], attempt["outcome"], attempt["counted"]) == (dead, "lost", False)
    assert await settle(db, succeeded(lost, 1)) == set(), "the dead manager was only asleep"
    assert await settle(db, succeeded(kept, 1)) == {(kept, 1)}
    assert await event_types(db, lost) == ["task.queued", "task.running", "task.rescued"]


async def test_a_task_whose_managers_die_too_often_fails(db: Database) -> None:
    await insert(db, task())
    for turn in range(3):
        task_id = (await claim(db, 1, manager=new_manager()))[0].id
        assert await rescue(db, max_rescues=2) == {task_id: "queued" if turn < 2 else "failed"}
    stored = await row(db, task_id)
    assert (stored["status"], stored["error_code"]) == ("failed", "rescue_limit")
    assert stored["finished_at"] is not None
    assert (await event_types(db, task_id))[-1] == "task.failed"
    assert await retry(db, task_id)
    assert (await row(db, task_id))["rescues"] == 0


async def test_rescuers_at_once_take_each_task_once(db: Database) -> None:
    await insert(db, *tasks(60))
    await claim(db, 60, manager=new_manager())
    found = await asyncio.gather(*(rescue(db, limit=25) for _ in range(4)))
    assert sum(map(len, found)) == len({task_id for part in found for task_id in part})
    while await rescue(db, limit=25):
        pass
    assert {r["rescues"] for r in await table(db, "tasks")} == {1}


async def test_what_is_not_ours_any_more_is_named(db: Database) -> None:
    mine, cancelled, settled, superseded = [await running(db) for _ in range(4)]
    await cancel(db, cancelled)
    await settle(db, succeeded(settled, 1), returned(superseded, 1))
    await claim(db, 1)
    deleted = UUID(int=10**9)
    held = [(task_id, 1) for task_id in (mine, cancelled, settled, superseded, deleted)]
    async with db.hot() as connection:
        found = await queue.not_ours(connection, held)
    assert sorted(found) == sorted(
        [(cancelled, 1, "cancelled"), (settled, 1, "succeeded"), (superseded, 1, "running"), (deleted, 1, "deleted")]
    )


async def test_depth_counts_the_queued_up_to_its_cap(db: Database) -> None:
    await insert(db, *tasks(7), task("other"))
    await claim(db, 2)
    async with db.hot() as connection:
        assert [await queue.depth(connection, "p", cap) for cap in (3, 5, 99)] == [3, 5, 5]
