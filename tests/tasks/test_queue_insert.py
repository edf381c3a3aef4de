"""Inserting: one row and one event a task, idempotency keys inside a batch, across batches and across managers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.core.db import Database
from app.tasks import queue
from tests.tasks.queue_driver import AGENT, MANAGER, claim, event_types, insert, row, table, task, tasks


async def test_each_new_task_is_queued_with_its_first_event(db: Database) -> None:
    new = tasks(3)
    assert await insert(db, *new) == {item.id for item in new}
    for item in new:
        assert await event_types(db, item.id) == ["task.queued"]
        stored = await row(db, item.id)
        assert (stored["status"], stored["attempt"], stored["fence"], stored["event_seq"]) == ("queued", 0, 0, 1)


async def test_a_key_in_use_writes_nothing_inside_a_batch_and_across_batches(db: Database) -> None:
    first, twin, other = (task(idempotency_key=key) for key in ("k", "k", "k2"))
    assert await insert(db, first, twin, other) == {first.id, other.id}
    again, fresh = task(idempotency_key="k"), task(idempotency_key="k3")
    assert await insert(db, again, fresh) == {fresh.id}
    assert len(await table(db, "tasks")) == len(await table(db, "events")) == 3


async def test_keys_belong_to_a_tenant(db: Database) -> None:
    one, two = task(tenant="a", idempotency_key="k"), task(tenant="b", idempotency_key="k")
    assert await insert(db, one, two) == {one.id, two.id}


async def test_the_same_key_from_many_connections_at_once_makes_one_task(db: Database) -> None:
    rivals = [task(idempotency_key="k") for _ in range(10)]
    added = await asyncio.gather(*(insert(db, rival) for rival in rivals))
    assert sum(map(len, added)) == 1
    assert len(await table(db, "tasks")) == 1


async def test_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(db: Database) -> None:
    for turn in range(6):
        keys = [f"{turn}-{n}" for n in range(150)]
        one = [task(f"one-{turn}", idempotency_key=key) for key in keys]
        two = [task(f"two-{turn}", idempotency_key=key) for key in reversed(keys)]
        added = await asyncio.gather(insert(db, *one), insert(db, *two))
        assert sum(map(len, added)) == len(keys)


async def test_batches_of_many_tenants_and_pools_at_once_do_not_deadlock(db: Database) -> None:
    names = [(f"pool{n % 4}", f"tenant{n % 7}") for n in range(28)]
    batches = [[task(*name) for name in order] for order in (names, names[::-1], names[::2] + names[1::2]) * 4]
    await asyncio.gather(*(insert(db, *batch) for batch in batches))
    assert len(await table(db, "tasks")) == 12 * 28


async def test_run_at_and_the_deadline_that_counts_from_it(db: Database) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    late, past = task(run_at=soon, deadline_s=60.0), task(run_at=soon - timedelta(hours=2), deadline_s=60.0)
    await insert(db, late, past)
    stored = await row(db, late.id)
    assert stored["wake_at"] == soon and stored["start_deadline_at"] == soon + timedelta(seconds=60)
    stored = await row(db, past.id)
    assert stored["wake_at"] is None
    assert stored["start_deadline_at"] - stored["created_at"] == timedelta(seconds=60)
    assert [item.id for item in await claim(db, 10)] == [past.id]


@pytest.mark.parametrize("text", ['"\\u2028é"', '{"a": [1, 2.5, null]}', "0", '"\\\\u0000"'])
async def test_a_payload_comes_back_as_it_went_in(db: Database, text: str) -> None:
    new = task(payload=text)
    await insert(db, new)
    async with db.hot() as connection:
        started = await queue.start(connection, MANAGER, [(new.id, 0, AGENT)])
    assert started[new.id].payload == text
