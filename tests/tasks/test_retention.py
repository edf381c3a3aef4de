"""Retention: what may be deleted, whole or not at all, by however many passes at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import uuid_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.settings import TaskSettings
from app.tasks import queue
from app.tasks.models import FINAL_STATUSES, TASK_STATUSES
from app.tasks.retention import RetentionLoop, id_at, rest_s
from app.wiring import Yard
from tests.core.database import HandClock
from tests.support.waiting import until_async
from tests.tasks.queue_driver import claim, event_types, failed, insert, row, settle, table, tasks

DAY_S = 86_400.0


@dataclass(frozen=True)
class Past:
    """A task as it stands in the tables; `age_s` is the time since it ended."""

    status: str
    age_s: float
    events: int = 3
    attempts: int = 1

    @property
    def final(self) -> bool:
        return self.status in FINAL_STATUSES


async def write(db: Database, history: list[Past]) -> dict[UUID, Past]:
    """Replace all tasks by these; ids rise in their order."""
    ids = {UUID(int=number): past for number, past in enumerate(history, 1)}
    async with db.hot() as connection:
        await connection.execute("TRUNCATE tasks, attempts, events, usage")
        await connection.executemany(
            """INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts,
              event_seq, fence, finished_at)
            VALUES ($1, 't', 'k', 'p', 'work', '{}', 0, 1, $2, 3, $3, $4, now() - make_interval(secs => $5))""",
            [(i, p.status, p.events, p.attempts, p.age_s if p.final else None) for i, p in ids.items()],
        )
        await connection.executemany(
            "INSERT INTO events (task_id, seq, tenant, type, data) VALUES ($1, $2, 't', 'task.progress', '{}')",
            [(i, seq) for i, p in ids.items() for seq in range(1, p.events + 1)],
        )
        tried = [(i, fence) for i, p in ids.items() for fence in range(1, p.attempts + 1)]
        await connection.executemany(
            "INSERT INTO attempts (task_id, fence, attempt, pool, outcome, counted) VALUES ($1, $2, 1, 'p', 'x', true)",
            tried,
        )
        await connection.executemany(
            """INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities)
            VALUES ($1, $2, 0, 't', 'p', 'm', 1, 2, '{}')""",
            tried,
        )
    return ids


def loop_of(
    db: Database, keep_s: float, *, batch: int = 5000, lease: str = "retention", clock: Clock | None = None
) -> RetentionLoop:
    clock = clock or HandClock()
    leader = Leader(db, clock, lease, lease)
    return RetentionLoop(db, leader, clock, TaskSettings(retention_s=keep_s, retention_batch=batch))


async def one_pass(loop: RetentionLoop) -> int:
    """Tick until the pass is over; how many ticks it took."""
    ticks = 1
    while await loop.tick() is not None:
        ticks += 1
        await asyncio.sleep(0)
    return ticks


async def left(db: Database, name: str) -> set[UUID]:
    return set(await by_task(db, name))


async def by_task(db: Database, name: str) -> dict[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = {}
    for item in await table(db, name):
        found.setdefault(item["id" if name == "tasks" else "task_id"], []).append(item)
    return found


def counted(name: str) -> float:
    return REGISTRY.get_sample_value("yard_retention_deleted_total", {"table": name}) or 0.0


ages = st.sampled_from([0.0, 30.0, 0.9 * DAY_S, 1.1 * DAY_S, 40 * DAY_S])
pasts = st.builds(Past, st.sampled_from(TASK_STATUSES), ages, events=st.integers(1, 6), attempts=st.integers(0, 3))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pasts, max_size=25), st.sampled_from([1, 7, 5000]))
async def test_only_what_ended_long_ago_goes_and_goes_whole(db: Database, history: list[Past], batch: int) -> None:
    ids = await write(db, history)
    stay = {i for i, past in ids.items() if not past.final or past.age_s < DAY_S}
    before = {name: await by_task(db, name) for name in ("tasks", "attempts", "events", "usage")}
    await one_pass(loop_of(db, DAY_S, batch=batch))
    for name in ("tasks", "attempts", "events"):
        assert await by_task(db, name) == {i: rows for i, rows in before[name].items() if i in stay}, name
    assert await by_task(db, "usage") == before["usage"], "usage is money"


async def test_a_task_with_many_events_has_a_batch_for_itself(db: Database) -> None:
    await write(db, [Past("failed", 2 * DAY_S, events=count) for count in (5, 5, 90, 5, 5)])
    loop, sizes = loop_of(db, DAY_S, batch=20), []
    while True:
        before = len(await table(db, "events"))
        if await loop.tick() is None:
            break
        sizes.append(before - len(await table(db, "events")))
    assert sizes == [100, 10], "cut after the first row past 20"


async def test_passes_at_once_delete_each_row_once(db: Database) -> None:
    await write(db, [Past("succeeded", 2 * DAY_S)] * 300 + [Past("succeeded", 0.0)] * 20)
    before = {name: counted(name) for name in ("tasks", "attempts", "events")}
    loops = [loop_of(db, DAY_S, batch=40, lease=f"lease-{number}") for number in range(3)]
    async with asyncio.timeout(60):
        await asyncio.gather(*map(one_pass, loops))
    await one_pass(loop_of(db, DAY_S, lease="after"))  # rows that one pass skipped may have been another's
    assert {name: counted(name) - was for name, was in before.items()} == {"tasks": 300, "attempts": 300, "events": 900}
    assert len(await left(db, "tasks")) == len(await left(db, "events")) == 20


async def test_a_pass_that_is_cut_leaves_nothing_half(db: Database) -> None:
    ids = await write(db, [Past("succeeded", 2 * DAY_S)] * 10)
    loop = loop_of(db, DAY_S)
    async with db.hot() as other:
        async with other.transaction():
            await other.execute("SELECT FROM attempts WHERE task_id = $1 FOR UPDATE", list(ids)[4])
            deleting = asyncio.create_task(loop.tick())
            await until_async(lambda: blocked(db), "the statement waits in its middle")
            deleting.cancel()
            await asyncio.gather(deleting, return_exceptions=True)
        assert await left(db, "tasks") == await left(db, "events") == await left(db, "attempts") == set(ids)
    await one_pass(loop)
    assert await left(db, "tasks") | await left(db, "events") | await left(db, "attempts") == set()


async def blocked(db: Database) -> bool:
    async with db.read() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(await connection.fetchval(waiting))


async def test_a_task_that_somebody_holds_is_skipped_and_a_replay_under_way_wins(db: Database) -> None:
    new = tasks(3)
    await insert(db, *new)
    for item in await claim(db, 3):
        await settle(db, failed(item.id, 1))
    async with db.hot() as connection:
        await connection.execute("UPDATE tasks SET finished_at = now() - interval '2 days'")
        async with connection.transaction():
            await queue.retry(connection, "t", [new[1].id])
            async with asyncio.timeout(2):  # the lock timeout is 3 s: nothing waited
                await one_pass(loop_of(db, DAY_S))
    assert await left(db, "tasks") == {new[1].id}
    await one_pass(loop_of(db, DAY_S))
    assert (await row(db, new[1].id))["status"] == "queued"
    assert await event_types(db, new[1].id) == ["task.queued", "task.running", "task.failed", "task.replayed"]


async def test_zero_keeps_for_ever(db: Database) -> None:
    await write(db, [Past("succeeded", 4000 * DAY_S)])
    assert await loop_of(db, 0.0).tick() is None
    assert len(await left(db, "tasks")) == 1


async def test_only_the_leader_deletes(db: Database) -> None:
    await write(db, [Past("succeeded", 2 * DAY_S)])
    assert await Leader(db, HandClock(), "retention", "another").leads()
    assert await loop_of(db, DAY_S).tick() is None
    assert len(await left(db, "tasks")) == 1


async def test_a_pass_says_what_it_did(db: Database) -> None:
    await write(db, [Past("succeeded", 2 * DAY_S)] * 4)
    with capture_logs() as logs:
        await one_pass(loop_of(db, DAY_S, batch=10))
        await one_pass(loop_of(db, DAY_S))
    said = [entry for entry in logs if entry["event"] == "retention_deleted"]
    assert [(entry["tasks"], entry["attempts"], entry["events"]) for entry in said] == [(4, 4, 12)]


def test_it_rests_three_times_as_long_as_it_works() -> None:
    assert rest_s(0.0) == 0.0 and rest_s(0.5) == 1.5


def test_the_bound_of_a_moment_is_above_every_id_made_before_and_below_every_later_one() -> None:
    before = datetime.now(UTC)
    made = UUID(bytes=uuid_utils.uuid7().bytes)
    after = datetime.now(UTC)
    assert id_at(before) <= made < id_at(after + timedelta(milliseconds=2))
    assert id_at(datetime(1900, 1, 1, tzinfo=UTC)) == UUID(int=0)


class Tomorrow(Clock):
    def now(self) -> datetime:
        return super().now() + timedelta(days=1)


async def test_a_deleted_task_is_unknown_and_its_idempotency_key_free(app: tuple[httpx.AsyncClient, Yard]) -> None:
    client, yard = app
    await client.put("/v1/pools/p", json={})
    key = {"Idempotency-Key": "order-1"}
    first = (await client.post("/v1/tasks", json={"pool": "p", "payload": {}}, headers=key)).json()["id"]
    assert (await client.post(f"/v1/tasks/{first}/cancel")).json()["status"] == "cancelled"
    async with yard.db.hot() as connection:
        await connection.execute("UPDATE tasks SET finished_at = now() - interval '2 days'")
    await one_pass(loop_of(yard.db, DAY_S / 2, lease="by hand", clock=Tomorrow()))
    for path in (f"/v1/tasks/{first}", f"/v1/tasks/{first}/events"):
        assert (await client.get(path)).status_code == 404
    for verb in ("cancel", "retry"):
        assert (await client.post(f"/v1/tasks/{first}/{verb}")).status_code == 404
    again = await client.post("/v1/tasks", json={"pool": "p", "payload": {}}, headers=key)
    assert again.status_code == 202 and again.json()["id"] != first
    assert "Idempotency-Replayed" not in again.headers


@pytest.mark.parametrize("wrong", [-1.0, float("inf"), float("nan"), 1e12])
def test_a_retention_that_is_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="retention_s"):
        TaskSettings(retention_s=wrong)
