"""Settling: written once, only under the current fence, with attempt, event and usage in one step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.core.db import Database
from app.tasks import queue
from app.tasks.queue import Settled, UsageRow
from tests.tasks.queue_driver import (
    AGENT,
    MANAGER,
    claim,
    event_types,
    everything,
    failed,
    insert,
    retried,
    returned,
    row,
    settle,
    succeeded,
    table,
    task,
    tasks,
)

USAGE = (UsageRow("small", 10, 20), UsageRow("large", 1, 2, '{"cached": 3}'))


async def running(db: Database, count: int = 1, **fields: Any) -> list[queue.Ready]:
    await insert(db, *tasks(count, **fields))
    return await claim(db, count)


async def test_a_result_is_written_with_its_attempt_event_and_usage(db: Database) -> None:
    task_id = (await running(db))[0].id
    assert await settle(db, succeeded(task_id, 1, usage=USAGE)) == {(task_id, 1)}
    stored = await row(db, task_id)
    assert (stored["status"], stored["result"], stored["manager_id"]) == ("succeeded", '"done"', None)
    assert stored["finished_at"] >= stored["started_at"]
    (attempt,) = await table(db, "attempts", task_id)
    assert (attempt["fence"], attempt["attempt"], attempt["outcome"], attempt["counted"]) == (1, 1, "succeeded", True)
    assert (attempt["agent_id"], attempt["manager_id"]) == (AGENT, MANAGER)
    used = [(u["model"], u["input_tokens"], u["output_tokens"], u["quantities"]) for u in await table(db, "usage")]
    assert used == [("small", 10, 20, "{}"), ("large", 1, 2, '{"cached": 3}')]
    assert await event_types(db, task_id) == ["task.queued", "task.running", "task.succeeded"]


@pytest.mark.parametrize("late", [succeeded, failed, returned, retried])
async def test_a_late_result_of_an_older_attempt_changes_nothing(db: Database, late: Any) -> None:
    task_id = (await running(db))[0].id
    await settle(db, returned(task_id, 1))
    while_queued = await everything(db)
    assert await settle(db, late(task_id, 1, usage=USAGE)) == set()
    assert await everything(db) == while_queued
    await claim(db, 1)
    while_running = await everything(db)
    for fence in (0, 1, 3):
        assert await settle(db, late(task_id, fence, usage=USAGE)) == set()
    assert await everything(db) == while_running


@pytest.mark.parametrize("second", [succeeded, failed, returned, retried])
async def test_a_final_task_never_changes_again(db: Database, second: Any) -> None:
    task_id = (await running(db))[0].id
    await settle(db, failed(task_id, 1, usage=USAGE))
    before = await everything(db)
    assert await settle(db, second(task_id, 1, usage=USAGE)) == set()
    assert await everything(db) == before


async def test_settles_of_one_attempt_at_once_write_one(db: Database) -> None:
    task_id = (await running(db))[0].id
    rivals = [succeeded(task_id, 1, usage=USAGE), failed(task_id, 1), returned(task_id, 1)] * 3
    ours = await asyncio.gather(*(settle(db, rival) for rival in rivals))
    assert sum(map(len, ours)) == 1
    assert len(await table(db, "attempts", task_id)) == 1
    assert len(await event_types(db, task_id)) == 3


async def test_a_stale_and_a_current_end_in_one_batch_are_told_apart(db: Database) -> None:
    task_id = (await running(db))[0].id
    await settle(db, returned(task_id, 1))
    await claim(db, 1)
    stale, current = failed(task_id, 1, usage=USAGE), succeeded(task_id, 2, usage=USAGE[:1])
    assert await settle(db, stale, current) == {(task_id, 2)}
    assert (await row(db, task_id))["status"] == "succeeded"
    assert [(u["fence"], u["model"]) for u in await table(db, "usage")] == [(2, "small")]


async def test_a_batch_of_every_kind_of_end(db: Database) -> None:
    found = await running(db, 5)
    ended: list[Settled] = [
        succeeded(found[0].id, 1, usage=USAGE),
        failed(found[1].id, 1, usage=USAGE[:1]),
        returned(found[2].id, 1, rejoin=True),
        retried(found[3].id, 1, delay_s=3600.0),
        succeeded(found[4].id, 99),
    ]
    assert await settle(db, *ended) == {(item.id, 1) for item in found[:4]}
    rows = [await row(db, item.id) for item in found]
    assert [r["status"] for r in rows] == ["succeeded", "failed", "queued", "queued", "running"]
    assert [r["attempt"] for r in rows] == [1, 1, 0, 1, 1], "a return gives the attempt back"
    assert [r["fence"] for r in rows] == [1] * 5, "but never the fence"
    assert [r["rejoin"] for r in rows] == [False, False, True, False, False]
    assert (rows[3]["wake_at"] - rows[3]["queued_at"]).total_seconds() == pytest.approx(3600, abs=1)
    assert rows[2]["wake_at"] is None and rows[2]["finished_at"] is None
    assert [r["error_code"] for r in rows] == [None, "bad", None, "bad", None]
    again = await claim(db, 10)
    assert [(item.id, item.fence, item.attempt, item.agent_id, item.rejoin) for item in again] == [
        (found[2].id, 1, 0, AGENT, True)
    ]
    assert {(a["counted"], a["outcome"]) for a in await table(db, "attempts")} == {
        (True, "succeeded"), (True, "failed"), (False, "refused")
    }  # fmt: skip


async def test_crossing_batches_do_not_deadlock(db: Database) -> None:
    found = await running(db, 120)
    one = [succeeded(item.id, 1) for item in found]
    two = [returned(item.id, 1) for item in reversed(found)]
    ours = await asyncio.gather(settle(db, *one), settle(db, *two), settle(db, *one[::-1]))
    assert sum(map(len, ours)) == 120


async def test_an_empty_batch_is_nothing(db: Database) -> None:
    assert await settle(db) == set()
    await insert(db, task())
