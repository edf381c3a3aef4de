"""What a broken-off attempt used is written once, and not where a later attempt tells it again."""

from __future__ import annotations

from uuid import UUID

from app.core.db import Database
from app.tasks import spending
from app.tasks.queue import UsageRow
from app.tasks.spending import Spent
from tests.tasks.queue_driver import claim, returned, running, settle, succeeded, table

SPENT = (UsageRow("m", 10, 1), UsageRow("n", 20, 2, '{"cached": 3}'))


async def spend(db: Database, task_id: UUID, fence: int, *, ended: bool) -> None:
    async with db.hot() as connection:
        await spending.spend(connection, Spent(task_id, fence, "t", "p", SPENT, "cancelled", ended))


async def test_a_cancelled_attempt_is_paid_for_once(db: Database) -> None:
    task_id = await running(db)
    for _ in range(2):
        await spend(db, task_id, 1, ended=True)
    assert [(row["model"], row["input_tokens"]) for row in await table(db, "usage", task_id)] == [("m", 10), ("n", 20)]


async def test_what_was_settled_with_its_usage_is_not_paid_for_again(db: Database) -> None:
    task_id = await running(db)
    await settle(db, succeeded(task_id, 1, usage=SPENT))
    await spend(db, task_id, 1, ended=True)
    assert len(await table(db, "usage", task_id)) == 2


async def test_a_run_that_a_later_attempt_joined_tells_its_usage_itself(db: Database) -> None:
    task_id = await running(db)
    await settle(db, returned(task_id, 1))
    await claim(db, 1)
    await spend(db, task_id, 1, ended=False)
    assert await table(db, "usage", task_id) == []
    await spend(db, task_id, 1, ended=True)
    assert len(await table(db, "usage", task_id)) == 2, "an agent that was told to stop: nobody joins that run"
