"""Concurrency keys: never more at once than the limit, nothing left behind, whatever happens in between."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.db import Database
from app.tasks import admission, queue
from tests.tasks.queue_driver import (
    claim,
    failed,
    insert,
    manager_lives,
    new_manager,
    retried,
    returned,
    settle,
    succeeded,
    task,
)

_pools = itertools.count(1)


async def limit(db: Database, count: int | None, kind: str = "pool", name: str = "p") -> None:
    async with db.hot() as connection:
        await connection.execute(
            "INSERT INTO limits (kind, name, concurrency) VALUES ($1, $2, $3) "
            "ON CONFLICT (kind, name) DO UPDATE SET concurrency = EXCLUDED.concurrency",
            kind,
            name,
            count,
        )


def keyed(pool: str = "p", key: str = "k", **fields: Any) -> Any:
    return task(pool, concurrency_key=key, gated=True, **fields)


async def admit(db: Database, *keys: str) -> dict[str, bool]:
    """Under these keys of the pool "p", or all."""
    async with db.hot() as connection:
        return dict(await admission.admit(connection, [("p", "t", key) for key in keys] or None))


async def test_a_keyed_task_waits_until_there_is_room(db: Database) -> None:
    await limit(db, 2)
    await insert(db, *(keyed() for _ in range(5)), task())
    assert len(await claim(db, 10)) == 1, "only the one without a key"
    assert await admit(db) == {"p": False}
    first = await claim(db, 10)
    assert len(first) == 2
    assert await admit(db) == {}
    await settle(db, succeeded(first[0].id, 1))
    await admit(db)
    assert len(await claim(db, 10)) == 1


async def test_the_pool_limit_goes_before_the_tenants_and_none_admits_all(db: Database) -> None:
    await limit(db, 1, "tenant", "t")
    await insert(db, *(keyed("other") for _ in range(3)), *(keyed("p") for _ in range(3)))
    await limit(db, 2, "pool", "p")
    await admit(db)
    assert len(await claim(db, 10, "other")) == 1 and len(await claim(db, 10, "p")) == 2
    await limit(db, None, "tenant", "t")
    await admit(db)
    assert len(await claim(db, 10, "other")) == 2


async def test_the_highest_priority_is_admitted_first_then_the_oldest(db: Database) -> None:
    await limit(db, 1)
    new = [keyed(), keyed(priority=5), keyed(priority=5)]
    await insert(db, *new)
    order = []
    for _ in new:
        await admit(db)
        (got,) = await claim(db, 5)
        order.append(got.id)
        await settle(db, succeeded(got.id, 1))
    assert order == [new[1].id, new[2].id, new[0].id]


async def test_a_retry_gives_its_room_away_and_asks_again(db: Database) -> None:
    await limit(db, 1)
    one, two = keyed(), keyed()
    await insert(db, one, two)
    await admit(db)
    assert [item.id for item in await claim(db, 5)] == [one.id]
    freed = queue.Freed()
    async with db.hot() as connection:
        await queue.settle(connection, [retried(one.id, 1, delay_s=0.01)], freed)
    assert freed.keys == {("p", "t", "k")}
    await admit(db)
    assert [item.id for item in await claim(db, 5)] == [two.id]
    async with db.hot() as connection:
        await asyncio.sleep(0.02)
        assert await queue.wake_due(connection, 10, freed) == []
    assert await admit(db) == {} and await claim(db, 5) == []
    await settle(db, failed(two.id, 1))
    await admit(db)
    assert [item.id for item in await claim(db, 5)] == [one.id]


async def test_a_crashed_run_keeps_no_room_for_ever(db: Database) -> None:
    await limit(db, 1)
    dead = new_manager()
    await manager_lives(db, dead, silent_s=60)
    one, two = keyed(), keyed()
    await insert(db, one, two)
    await admit(db)
    assert [item.id for item in await claim(db, 5, manager=dead)] == [one.id]
    async with db.hot() as connection:
        (lost,) = await queue.rescue(connection, 5.0, 0, 10)
    assert lost["status"] == "failed" and lost["key"] == "k"
    await admit(db)
    assert [item.id for item in await claim(db, 5)] == [two.id]


acts = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.sampled_from("ab"), st.integers(1, 4)),
        st.tuples(st.just("admit"), st.just(""), st.integers(1, 3)),
        st.tuples(st.just("claim"), st.just(""), st.integers(1, 6)),
        st.tuples(st.sampled_from(["succeed", "return", "retry", "cancel"]), st.just(""), st.integers(0, 5)),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts, st.integers(1, 3))
async def test_no_more_run_than_may_and_all_come_to_an_end(
    db: Database, script: list[tuple[str, str, int]], most: int
) -> None:
    pool = f"keyed-{next(_pools)}"
    await limit(db, most, "pool", pool)
    running: dict[UUID, int] = {}
    for verb, key, count in script:
        if verb == "insert":
            await insert(db, *(keyed(pool, key) for _ in range(count)))
        elif verb == "admit":
            await asyncio.gather(*(admit(db) for _ in range(count)))
        elif verb == "claim":
            running |= {item.id: item.fence + 1 for item in await claim(db, count, pool)}
        elif running:
            await _end(db, verb, running, list(running)[count % len(running)])
        await _check(db, pool, most)
    async with asyncio.timeout(30):
        while await _open(db, pool):
            await admit(db)
            async with db.hot() as connection:
                await connection.execute("UPDATE tasks SET wake_at = now() WHERE wake_at < 'infinity'")
                await queue.wake_due(connection, 100)
            running |= {item.id: item.fence + 1 for item in await claim(db, 9, pool)}
            await _check(db, pool, most)
            for task_id in list(running):
                await _end(db, "succeed", running, task_id)


async def _end(db: Database, verb: str, running: dict[UUID, int], task_id: UUID) -> None:
    fence = running.pop(task_id)
    if verb == "cancel":
        async with db.hot() as connection:
            await queue.cancel(connection, "t", [task_id], "no")
        return
    ends = {"succeed": succeeded(task_id, fence), "return": returned(task_id, fence)}
    await settle(db, ends.get(verb) or retried(task_id, fence, delay_s=30.0))


async def _check(db: Database, pool: str, most: int) -> None:
    async with db.hot() as connection:
        rows = await connection.fetch(
            """SELECT concurrency_key, count(*) AS n FROM tasks
            WHERE pool = $1 AND (status = 'running' OR (status = 'queued' AND wake_at IS NULL)) GROUP BY 1""",
            pool,
        )
    assert all(row["n"] <= most for row in rows), [dict(row) for row in rows]


async def _open(db: Database, pool: str) -> int:
    async with db.hot() as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM tasks WHERE pool = $1 AND status IN ('queued', 'running')", pool
        )
    return int(count)


async def test_two_who_admit_at_once_wait_for_each_other(db: Database) -> None:
    await limit(db, 3)
    await insert(db, *(keyed() for _ in range(9)))
    await asyncio.gather(*(admit(db) for _ in range(6)))
    async with db.hot() as connection:
        rows: list[asyncpg.Record] = await connection.fetch("SELECT id FROM tasks WHERE wake_at IS NULL")
    assert len(rows) == 3


@pytest.mark.parametrize("keys", [1, 40])
async def test_a_full_key_keeps_nobody_elses_room(db: Database, keys: int) -> None:
    await limit(db, 1)
    await insert(db, *(keyed(key=f"k{number}") for number in range(keys) for _ in range(20)))
    await admit(db)
    assert len(await claim(db, 100)) == keys


async def test_only_the_named_keys_are_looked_at(db: Database) -> None:
    await limit(db, 1)
    await insert(db, *(keyed(key=key) for key in "abcab"))
    assert await admit(db, "b", "nobody's") == {"p": False}
    assert len(await claim(db, 9)) == 1
    async with db.hot() as connection:
        found = await connection.fetch("SELECT concurrency_key FROM tasks WHERE status = 'running'")
    assert [row["concurrency_key"] for row in found] == ["b"]
