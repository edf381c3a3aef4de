"""From the feed to deliveries: each event once, none skipped, whoever writes when and however many lead."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import pytest

from app.core.db import Database
from app.webhooks.records import NO_TASK, FeedPage, Position
from tests.webhooks.desk import CALLER, Desk, add_event, write_event

URL = "http://127.0.0.1:9/hook"


async def test_a_webhook_gets_what_happens_from_now_on(db: Database) -> None:
    await add_event(db, "task.queued")
    async with Desk(db) as desk:
        webhook = await desk.webhook(URL)
        task_id = await add_event(db, "task.succeeded", seq=7, attempt=1)
        await add_event(db, tenant="another")
        await desk.spread()
        made = await desk.one(webhook)
        assert (made.task_id, made.seq, made.type, made.status, made.tries) == (
            task_id, 7, "task.succeeded", "pending", 0,
        )  # fmt: skip
        assert desk.told == 1
        await desk.spread()
        assert len(await desk.all(webhook)) == 1


async def test_prefixes_and_pools_are_chosen_and_the_cursor_moves_past_the_rest(db: Database) -> None:
    async with Desk(db) as desk:
        failures = await desk.webhook(URL, types=["task.failed", "task.exp"])
        pooled = await desk.webhook(URL, pool="echo")
        for kind in ("task.queued", "task.failed", "task.expired", "task.running"):
            await add_event(db, kind)
        echo = await add_event(db, pool="echo")
        await add_event(db, pool="other")
        await desk.spread()
        assert [item.type for item in await desk.all(failures)] == ["task.failed", "task.expired"]
        assert [item.task_id for item in await desk.all(pooled)] == [echo]


async def test_an_open_transaction_holds_the_feed_back_and_nothing_is_skipped(db: Database) -> None:
    async with Desk(db) as desk:
        webhook = await desk.webhook(URL)
        async with db.hot() as connection:
            transaction = connection.transaction()
            await transaction.start()
            slow = await write_event(connection)
            quick = await add_event(db)
            await desk.spread()
            assert await desk.all(webhook) == []
            await transaction.commit()
        await desk.spread()
        assert [item.task_id for item in await desk.all(webhook)] == [slow, quick]


async def test_slow_and_quick_writers_at_once_leave_no_gap(db: Database) -> None:
    rng = random.Random(4)
    written: list[UUID] = []

    async def write(pauses: int) -> None:
        async with db.hot() as connection, connection.transaction():
            task_id = await write_event(connection)
            for _ in range(pauses):
                await connection.execute("SELECT 1")
            written.append(task_id)

    async with Desk(db) as desk:
        webhook = await desk.webhook(URL)
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write(rng.choice((0, 3, 60)))) for _ in range(150)]
            while not all(writer.done() for writer in writers):
                await desk.spread()
        await desk.spread()
        found = [item.task_id for item in await desk.all(webhook)]
        assert sorted(found) == sorted(written)


async def test_two_leaders_write_each_delivery_once(db: Database) -> None:
    async with Desk(db) as one, Desk(db) as two:
        webhook = await one.webhook(URL)
        for _ in range(30):
            await add_event(db)
        for _ in range(5):
            record = await one.webhooks.get(CALLER, webhook.id)
            await asyncio.gather(one.fan_out.follow(record), two.fan_out.follow(record))
        assert len(await one.all(webhook)) == 30


async def test_only_the_leader_reads(db: Database) -> None:
    async with Desk(db) as one, Desk(db) as two:
        webhook = await one.webhook(URL)
        await one.spread()
        await add_event(db)
        await two.spread()
        assert await one.all(webhook) == []
        await one.spread()
        assert len(await one.all(webhook)) == 1


async def test_a_pass_cut_short_between_pages_goes_on_where_it_was(db: Database) -> None:
    class Cut(Desk):
        left = 2

        async def read(self, tenant: str, after: Position, types: object, pool: str | None, limit: int) -> FeedPage:
            self.left -= 1
            if self.left < 0:
                raise ConnectionError("cut")
            return await super().read(tenant, after, [], pool, min(limit, 4))

    async with Cut(db) as desk:
        webhook = await desk.webhook(URL)
        for _ in range(20):
            await add_event(db)
        with pytest.raises(ConnectionError):
            await desk.spread()
        assert len(await desk.all(webhook)) == 8
        desk.left = 100
        await desk.spread()
        items = await desk.all(webhook)
        assert (len(items), len({item.task_id for item in items})) == (20, 20)


async def test_what_is_above_the_bound_waits_in_the_feed(db: Database) -> None:
    async with Desk(db, max_pending=5) as desk:
        webhook = await desk.webhook(URL)
        tasks = [await add_event(db) for _ in range(12)]
        await desk.spread()
        assert len(await desk.all(webhook)) == 5
        while len(await desk.all(webhook)) < 12:
            await desk.sql("UPDATE webhook_deliveries SET status = 'delivered', delivered_at = now()")
            await desk.spread()
        assert [item.task_id for item in await desk.all(webhook)] == tasks


async def test_a_disabled_webhook_gets_nothing_and_starts_anew(db: Database) -> None:
    async with Desk(db) as desk:
        webhook = await desk.webhook(URL)
        await add_event(db)
        await desk.spread()
        await desk.webhooks.change(CALLER, webhook.id, {"enabled": False})
        missed = await add_event(db)
        await desk.spread()
        (given_up,) = await desk.all(webhook)
        assert (given_up.status, given_up.answer) == ("failed", "The webhook was disabled.")
        await desk.webhooks.change(CALLER, webhook.id, {"enabled": True})
        after = await add_event(db)
        await desk.spread()
        found = [item.task_id for item in await desk.all(webhook)]
        assert found[-1] == after
        assert missed not in found


async def test_old_deliveries_are_forgotten(db: Database) -> None:
    async with Desk(db, retention_s=3600) as desk:
        webhook = await desk.webhook(URL)
        old, young = await add_event(db), await add_event(db)
        await desk.spread()
        await desk.sql("UPDATE webhook_deliveries SET created_at = now() - interval '2 hours' WHERE task_id = $1", old)
        desk.clock.seconds += 3600
        await desk.spread()
        assert [item.task_id for item in await desk.all(webhook)] == [young]


async def test_a_cursor_moves_past_much_that_is_not_wanted_and_not_for_little(db: Database) -> None:
    seen: list[int] = []

    class Far(Desk):
        through = 0

        async def read(self, tenant: str, after: Position, types: object, pool: str | None, limit: int) -> FeedPage:
            seen.append(after[0])
            return FeedPage((after[0] + self.through, NO_TASK, 0))

    async with Far(db) as desk:
        webhook = await desk.webhook(URL)
        for desk.through in (9_999, 10_000, 0):
            await desk.spread()
        assert seen == [webhook.cursor_tx, webhook.cursor_tx, webhook.cursor_tx + 10_000]
