"""The feed of a tenant: one order, nothing skipped, whatever the transactions do."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.db import Database, plain_url
from app.tasks import feed, queue
from app.tasks.feed import BEGINNING, Cursor, Filters, Page
from tests.support.service import Backing
from tests.tasks.queue_driver import claim, insert, settle, succeeded, task, tasks

ALL = Filters()
type Key = tuple[int, UUID, int]


def keys(page: Page) -> list[Key]:
    return [event.cursor.key for event in page.items]


async def whole(db: Database, filters: Filters = ALL, limit: int = 100, tenant: str = "t") -> list[Key]:
    """The feed from the beginning to its end."""
    found, after = [], None
    while True:
        page = await feed.read(db, tenant, after, filters, limit)
        assert len(page.items) <= limit
        found += keys(page)
        after = page.cursor
        if not page.more:
            return found


async def stored(db: Database) -> set[tuple[UUID, int]]:
    async with db.read() as connection:
        return {(row[0], row[1]) for row in await connection.fetch("SELECT task_id, seq FROM events")}


async def burn(db: Database, count: int) -> None:
    """Let so many transaction ids pass."""
    async with db.hot() as connection:
        await connection.execute(
            f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        )


async def test_a_slow_transaction_is_not_skipped(db: Database, backing: Backing) -> None:
    """A reader that trusts the highest id it sees passes over what commits below it; the feed waits for it."""
    slow = await asyncpg.connect(plain_url(backing.database_url))
    early, late = task("p"), task("q")
    transaction = slow.transaction()
    await transaction.start()
    await queue.insert(slow, [early])  # type: ignore[arg-type]
    await insert(db, late)
    async with db.read() as connection:
        highest = await connection.fetchval("SELECT max(tx) FROM events")
    page = await feed.read(db, "t", None, ALL, 100)
    assert page.items == [] and not page.more, "behind the horizon nothing is certain"
    await transaction.commit()
    await slow.close()
    async with db.read() as connection:
        trusting = await connection.fetch("SELECT task_id FROM events WHERE tx > $1", highest)
    assert trusting == [], "this is what the other way would have found"
    page = await feed.read(db, "t", page.cursor, ALL, 100)
    assert [event.cursor.task_id for event in page.items] == [early.id, late.id]


@pytest.mark.parametrize("seed", range(3))
async def test_every_event_is_read_once_while_transactions_overlap(db: Database, backing: Backing, seed: int) -> None:
    """Twelve writers, each with transactions of its own length, that commit or roll back in any order."""
    rng = random.Random(seed)
    writers = [await asyncpg.connect(plain_url(backing.database_url)) for _ in range(12)]
    pools = [f"p{n}" for n in range(len(writers))]  # a queue's turns would make them wait for each other
    open_: dict[int, asyncpg.transaction.Transaction] = {}
    found: list[Key] = []
    after: Cursor | None = None
    for _ in range(400):
        n = rng.randrange(len(writers))
        if n not in open_:
            open_[n] = writers[n].transaction()
            await open_[n].start()
        elif rng.random() < 0.6:
            await queue.insert(writers[n], tasks(rng.choice([1, 1, 5]), pools[n]))  # type: ignore[arg-type]
        elif rng.random() < 0.9:
            await open_.pop(n).commit()
        else:
            await open_.pop(n).rollback()
        if rng.random() < 0.3:
            page = await feed.read(db, "t", after, ALL, rng.choice([1, 3, 100]))
            found, after = found + keys(page), page.cursor
    for transaction in open_.values():
        await transaction.commit()
    for writer in writers:
        await writer.close()
    while True:
        page = await feed.read(db, "t", after, ALL, 7)
        found, after = found + keys(page), page.cursor
        if not page.more:
            break
    assert found == sorted(set(found)), "in one order, each once"
    assert {(task_id, seq) for _, task_id, seq in found} == await stored(db)
    assert await whole(db) == found, "and the same for who comes later"


async def test_what_is_wanted_is_found(db: Database) -> None:
    mine, other = task("p", thread_id="talk"), task("q")
    await insert(db, mine, other, task(tenant="u"))
    await claim(db, 1)
    await settle(db, succeeded(mine.id, 1))
    expected: list[tuple[Filters, list[tuple[UUID, int]]]] = [
        (ALL, [(mine.id, 1), (other.id, 1), (mine.id, 2), (mine.id, 3)]),
        (Filters(("task.queued",)), [(mine.id, 1), (other.id, 1)]),
        (Filters(("task.r", "task.s")), [(mine.id, 2), (mine.id, 3)]),
        (Filters(("ask.",)), []),
        (Filters(("task.%",)), []),
        (Filters(pool="q"), [(other.id, 1)]),
        (Filters(task_id=mine.id), [(mine.id, 1), (mine.id, 2), (mine.id, 3)]),
        (Filters(thread_id="talk", types=("task.q",)), [(mine.id, 1)]),
        (Filters(task_id=mine.id, pool="q"), []),
    ]
    for filters, events in expected:
        for limit in (1, 2, 100):
            assert [(task_id, seq) for _, task_id, seq in await whole(db, filters, limit)] == events
    (event,) = (await feed.read(db, "t", None, Filters(("task.running",)), 1)).items
    assert (event.type, event.pool, event.thread_id) == ("task.running", "p", "talk")
    assert '"fence"' in event.data
    assert await whole(db, Filters(task_id=mine.id), tenant="u") == [], "another tenant's"


async def test_a_reader_from_far_behind_comes_to_the_end(db: Database) -> None:
    """Through stretches of transactions that have nothing for it, and past many events that it does not want."""
    first, last = task(thread_id="x"), task(thread_id="x")
    await insert(db, first)
    await burn(db, 3 * feed.WINDOW)
    await insert(db, *tasks(feed.SCAN + 10))
    await insert(db, last)
    assert [key[1] for key in await whole(db, Filters(thread_id="x"))] == [first.id, last.id]
    assert len(await whole(db, limit=97)) == feed.SCAN + 12
    end = await feed.end(db)
    assert await feed.is_ahead(db, Cursor(end.tx + 100_000)) and not await feed.is_ahead(db, end)


async def test_a_page_reads_along_the_index(db: Database) -> None:
    for _ in range(20):
        await insert(db, *tasks(500))
    async with db.hot() as connection:
        for given in ("SELECT 1", "ANALYZE events", "SET plan_cache_mode = force_generic_plan"):
            await connection.execute(given)
            plan = "\n".join(
                row[0]
                for row in await connection.fetch(
                    "EXPLAIN " + feed._READ_ALL, "t", 0, feed.NO_TASK, 0, 2**62, 200, [], None, None, 200
                )
            )
            assert "ix_events_tenant_tx" in plan and "Seq Scan" not in plan, plan
        await connection.execute("RESET plan_cache_mode")


async def test_a_cursor_whose_event_is_gone_is_lost(db: Database) -> None:
    one, two = task(), task()
    await insert(db, one, two)
    (first, second) = (event.cursor for event in (await feed.read(db, "t", None, ALL, 2)).items)
    assert not await feed.is_lost(db, "t", first, 3600)
    assert not await feed.is_lost(db, "t", BEGINNING, 3600)
    assert not await feed.is_lost(db, "t", await feed.end(db), 3600)
    assert await feed.is_lost(db, "u", first, 3600), "another tenant's"
    assert await feed.is_lost(db, "t", Cursor.before(5, datetime(2020, 1, 1, tzinfo=UTC)), 3600)
    assert not await feed.is_lost(db, "t", Cursor.before(5, datetime(2020, 1, 1, tzinfo=UTC)), 0), "all is kept"
    async with db.hot() as connection:
        await connection.execute("DELETE FROM events WHERE task_id = $1", one.id)
        await connection.execute("UPDATE events SET at = now() - interval '2 hours'")
    assert await feed.is_lost(db, "t", first, 0)
    assert await feed.is_lost(db, "t", second, 3600), "others of its time may be gone"
    assert not await feed.is_lost(db, "t", second, 3 * 3600)


@given(st.integers(0, 10**18 - 1), st.uuids(), st.integers(1, 10**9 - 1))
def test_cursors_are_read_as_they_are_written(tx: int, task_id: UUID, seq: int) -> None:
    cursor = Cursor(tx, task_id, seq)
    assert Cursor.read(str(cursor)) == cursor and cursor.key == (tx, task_id, seq) and cursor.at is None


@given(st.integers(0, 250_000_000_000))
def test_a_cursor_without_an_event_tells_its_time(second: int) -> None:
    at = datetime.fromtimestamp(second, UTC)
    cursor = Cursor.before(7, at)
    assert Cursor.read(str(cursor)) == cursor and cursor.key == (7, feed.NO_TASK, 0)
    assert cursor.at is not None and abs((cursor.at - at).total_seconds()) < 0.002


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", f"1.2.{UUID(int=1)}x", f"-1.2.{UUID(int=1)}", f"1.x.{UUID(int=1)}", f"{10**18}.1.{UUID(int=1)}",
     f"1.{10**9}.{UUID(int=1)}", "1.1.0", f"1.0.{UUID(int=2**128 - 1)}", f"٢.1.{UUID(int=1)}"],
)  # fmt: skip
def test_what_is_no_cursor_is_not_read(text: str) -> None:
    assert Cursor.read(text) is None
