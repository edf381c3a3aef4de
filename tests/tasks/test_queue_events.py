"""Events of a task: numbered without holes under concurrent writers, and no reader that follows misses one."""

from __future__ import annotations

import asyncio
from uuid import UUID

from app.core.db import Database
from app.events import queries
from app.tasks import queue
from app.tasks.queue import Note, Started
from tests.tasks.queue_driver import (
    AGENT,
    MANAGER,
    claim,
    event_types,
    everything,
    insert,
    returned,
    row,
    running,
    settle,
    succeeded,
    table,
    tasks,
)


async def test_notes_keep_their_order_within_and_between_tasks(db: Database) -> None:
    one, two = await running(db), await running(db)
    notes = [Note(one if n % 3 else two, 1, "task.progress", f'{{"n": {n}}}') for n in range(30)]
    async with db.hot() as connection:
        assert await queue.record(connection, notes) == {(one, 1), (two, 1)}
    for task_id in (one, two):
        stored = [event["data"] for event in await table(db, "events", task_id)][2:]
        assert stored == [item.data for item in notes if item.task_id == task_id]
        assert await event_types(db, task_id) == ["task.queued", "task.running"] + ["task.progress"] * len(stored)


async def test_notes_of_a_stale_fence_are_refused_alone_and_beside_fresh_ones(db: Database) -> None:
    task_id = await running(db)
    await settle(db, returned(task_id, 1))
    before = await everything(db)
    stale = Note(task_id, 1, "task.progress", '"stale"')
    async with db.hot() as connection:
        assert await queue.record(connection, [stale]) == set()
    assert await everything(db) == before
    await claim(db, 1)
    fresh = Note(task_id, 2, "task.progress", '"fresh"')
    async with db.hot() as connection:
        assert await queue.record(connection, [stale, fresh, stale]) == {(task_id, 2)}
    types = await event_types(db, task_id)
    assert types.count("task.progress") == 1
    assert (await table(db, "events", task_id))[-1]["data"] == '"fresh"'
    assert (await row(db, task_id))["event_seq"] == len(types)


async def test_notes_after_the_end_are_refused(db: Database) -> None:
    task_id = await running(db)
    await settle(db, succeeded(task_id, 1))
    async with db.hot() as connection:
        assert await queue.record(connection, [Note(task_id, 1, "task.progress", "{}")]) == set()
    assert (await event_types(db, task_id))[-1] == "task.succeeded"


async def test_under_eight_writers_numbers_have_no_hole_and_a_follower_misses_none(db: Database) -> None:
    task_id = await running(db)
    writers, each = 8, 12

    async def write(writer: int) -> None:
        for n in range(each):
            async with db.hot() as connection, connection.transaction():
                await queue.record(connection, [Note(task_id, 1, "task.progress", f"[{writer}, {n}]")] * (1 + n % 3))
                await asyncio.sleep(0.001 * (writer % 3))  # hold the lock a little: others must queue behind it

    async def follow() -> list[int]:
        seen: list[int] = []
        while True:
            ended = writing.done()
            found = await queries.of_task(db, task_id, seen[-1] if seen else 0, 7)
            for event in found:
                assert event.seq == len(seen) + 1, "a number appeared before a smaller one"
                seen.append(event.seq)
            if ended and not found:
                return seen

    async def write_all() -> None:
        await asyncio.gather(*(write(n) for n in range(writers)))
        await settle(db, succeeded(task_id, 1))

    writing = asyncio.ensure_future(write_all())
    followers = await asyncio.gather(*(follow() for _ in range(2)), writing)
    total = 2 + writers * sum(1 + n % 3 for n in range(each)) + 1
    assert followers[0] == followers[1] == list(range(1, total + 1))
    assert (await event_types(db, task_id))[-1] == "task.succeeded"
    by_writer: dict[int, list[int]] = {}
    for event in await table(db, "events", task_id):
        if event["type"] == "task.progress":
            writer, n = (int(part) for part in event["data"].strip("[]").split(","))
            by_writer.setdefault(writer, []).append(n)
    assert all(order == sorted(order) for order in by_writer.values())


async def test_every_move_of_a_task_adds_exactly_one_event(db: Database) -> None:
    new = tasks(1)
    await insert(db, *new)
    task_id = new[0].id
    for fence in (1, 2, 3):
        assert [item.fence for item in await claim(db, 1)] == [fence - 1]
        await settle(db, returned(task_id, fence))
    async with db.hot() as connection:
        strangers = [(task_id, 2, AGENT), (UUID(int=9**9), 3, AGENT)]
        assert await queue.start(connection, MANAGER, strangers) == {}, "a stale fence, and no task at all"
        assert await queue.start(connection, MANAGER, [(task_id, 3, AGENT), *strangers]) == {
            task_id: Started(4, 1, "{}")
        }
    assert await event_types(db, task_id) == ["task.queued"] + ["task.running", "task.returned"] * 3 + ["task.running"]
