"""Turns that tenants are past are forgotten: nobody's place in the queue changes."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.db import Database
from app.core.leader import Leader
from app.settings import TaskSettings
from app.tasks import queue
from app.tasks.queue_sql import FULL_TURN
from app.tasks.retention import TURNS_BEHIND, RetentionLoop, trim_turns
from tests.core.database import HandClock
from tests.tasks.queue_driver import claim, insert, returned, settle, task, tasks

moves = st.lists(
    st.tuples(st.just("submit"), st.sampled_from("abcd"), st.integers(1, 5))
    | st.tuples(st.just("claim"), st.just(""), st.integers(1, 8))
    | st.tuples(st.just("return"), st.just(""), st.integers(1, 3)),
    min_size=4,
    max_size=16,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
async def test_trimming_turns_changes_no_order(db: Database, script: list[tuple[str, str, int]]) -> None:
    """The same script in two queues, one trimmed to the bone after every move: the same tenants in the same order."""
    async with db.hot() as connection:
        await connection.execute("TRUNCATE tasks, attempts, events, queue_tags")
    served: dict[str, list[list[str]]] = {}
    for pool in ("plain", "trimmed"):
        running: list[queue.Ready] = []
        served[pool] = []
        for verb, tenant, count in script:
            if verb == "submit":
                await insert(db, *tasks(count, pool, tenant))
            elif verb == "claim":
                got = await claim(db, count, pool)
                running += got
                served[pool].append([item.tenant for item in got])
            else:
                back, running = running[:count], running[count:]
                await settle(db, *(returned(item.id, item.fence + 1) for item in back))
            if pool == "trimmed":
                await trim_turns(db, 0, 1000)
        served[pool].append([item.tenant for item in await claim(db, 1000, pool)])
    assert served["trimmed"] == served["plain"]


async def turns(db: Database) -> dict[str, int]:
    async with db.read() as connection:
        return {found["tenant"]: found["last_tag"] for found in await connection.fetch("SELECT * FROM queue_tags")}


BEHIND = TURNS_BEHIND // FULL_TURN
"""So many tasks of one tenant."""


async def test_turns_far_behind_go_and_the_furthest_stays(db: Database) -> None:
    await insert(db, *(task(tenant=f"once-{number}") for number in range(30)))
    await insert(db, *tasks(BEHIND + 50, tenant="busy"))
    assert await trim_turns(db, TURNS_BEHIND, 1000) == 0, "their tasks still wait, so the head is not past them"
    await claim(db, 2 * BEHIND)
    assert await trim_turns(db, TURNS_BEHIND, 10) == 10, "no more than asked for"
    assert await trim_turns(db, TURNS_BEHIND, 1000) == 20
    assert await turns(db) == {"busy": TURNS_BEHIND + 50 * FULL_TURN}
    await insert(db, *tasks(2, tenant="once-1"), *tasks(2, tenant="busy"))
    assert [item.tenant for item in await claim(db, 4)].count("busy") == 2


async def test_the_furthest_turn_stays_even_where_returned_tasks_are_past_it(db: Database) -> None:
    await insert(db, task(tenant="u"))
    await claim(db, 1)
    await insert(db, *tasks(40))
    await settle(db, *(returned(item.id, 1) for item in await claim(db, 40)))
    await claim(db, 39)  # the last one's turn is beyond every row
    assert await trim_turns(db, 0, 1000) == 1
    assert list(await turns(db)) == ["t"]


async def test_a_pass_trims_turns_too(db: Database) -> None:
    await insert(db, task(tenant="once"), *tasks(BEHIND + 5, tenant="busy"))
    await claim(db, 2 * BEHIND)
    clock = HandClock()
    await RetentionLoop(db, Leader(db, clock, "retention", "me"), clock, TaskSettings(retention_s=0)).tick()
    assert list(await turns(db)) == ["busy"]


async def test_submissions_and_trimming_at_once_wait_for_nobody_in_a_circle(db: Database) -> None:
    tenants = [f"t{number}" for number in range(20)]

    async def submits() -> None:
        for _ in range(15):
            await insert(db, *(task(tenant=tenant) for tenant in reversed(tenants)))
            await claim(db, 20)

    async def trims() -> None:
        for _ in range(60):
            await trim_turns(db, 0, 1000)

    async with asyncio.timeout(60):
        await asyncio.gather(submits(), submits(), trims(), trims())
