"""The bound on a pool's queue, kept by counts that age."""

from __future__ import annotations

import pytest

from app.approvals.opening import Question, open_many, supersede
from app.approvals.policy import Policy
from app.core.db import Database
from app.tasks.depth import RECOUNT_CLOSE_S, RECOUNT_FAR_S, Depth, QueueFull
from tests.core.database import HandClock
from tests.tasks.queue_driver import claim, insert, tasks


async def test_the_bound_holds_between_counts(db: Database, clock: HandClock) -> None:
    depth = Depth(db, clock, 100)
    await depth.admit({"p": 60})
    await depth.admit({"p": 40})
    with pytest.raises(QueueFull) as full:
        await depth.admit({"p": 101})
    assert full.value.status == 503 and int(full.value.headers["Retry-After"]) >= 1


async def test_what_others_queued_counts_after_a_recount(db: Database, clock: HandClock) -> None:
    depth = Depth(db, clock, 100)
    await depth.admit({"p": 1})
    await insert(db, *tasks(100))
    await depth.admit({"p": 1})  # our count is at most 5 s old
    clock.forward(RECOUNT_FAR_S)
    with pytest.raises(QueueFull):
        await depth.admit({"p": 1})
    await depth.admit({"other": 100})


async def test_a_full_queue_opens_when_tasks_were_claimed(db: Database, clock: HandClock) -> None:
    depth = Depth(db, clock, 10)
    await insert(db, *tasks(10))
    with pytest.raises(QueueFull):
        await depth.admit({"p": 1})
    await claim(db, 10)
    clock.forward(0.1)
    with pytest.raises(QueueFull):
        await depth.admit({"p": 1})  # counted a moment ago: full is full, and refusing costs nothing
    clock.forward(RECOUNT_CLOSE_S)
    await depth.admit({"p": 10})


async def test_a_batch_fits_whole_or_not_at_all(db: Database, clock: HandClock) -> None:
    depth = Depth(db, clock, 10)
    with pytest.raises(QueueFull):
        await depth.admit({"p": 11})
    clock.forward(1)
    await depth.admit({"p": 10})


async def test_a_batch_over_two_pools_leaves_no_trace_in_one_when_the_other_is_full(
    db: Database, clock: HandClock
) -> None:
    depth = Depth(db, clock, 10)
    for _ in range(3):
        with pytest.raises(QueueFull):
            await depth.admit({"a": 6, "b": 11})
    await depth.admit({"a": 10})


async def test_held_tasks_fill_it_too_until_they_end(db: Database, clock: HandClock) -> None:
    held = tasks(6, held=True)
    await insert(db, *held, *tasks(3))
    questions = [Question(new.id, "t", "p", "start", "start", "start", "{}", "key", Policy(60.0)) for new in held]
    async with db.hot() as connection, connection.transaction():
        await open_many(connection, questions)
    depth = Depth(db, clock, 10)
    with pytest.raises(QueueFull):
        await depth.admit({"p": 2})
    async with db.hot() as connection, connection.transaction():
        await supersede(connection, [held[0].id], "cancelled")
    clock.forward(RECOUNT_CLOSE_S)
    await depth.admit({"p": 2})
