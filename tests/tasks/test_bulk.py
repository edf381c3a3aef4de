"""Bulk moves over real tables: which tasks fit, in which batches they are moved, what is left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.db import Database
from app.tasks.bulk import BATCH, MOVABLE, Action, Bulk, EmptyFilter, Filter, where
from tests.tasks import queue_driver as driver

FAR = datetime(2100, 1, 1, tzinfo=UTC)


class Moves:
    """`Tasks` as far as bulk moves know it: notes each batch, moves all of it but the stubborn."""

    def __init__(self, db: Database) -> None:
        self.db, self.batches, self.stubborn = db, list[list[UUID]](), set[UUID]()

    async def cancel_many(self, tenant: str, task_ids: Sequence[UUID], reason: str) -> list[UUID]:
        return await self._move(tenant, task_ids, "cancelled")

    async def retry_many(self, tenant: str, task_ids: Sequence[UUID]) -> list[UUID]:
        return await self._move(tenant, task_ids, "queued")

    async def _move(self, tenant: str, task_ids: Sequence[UUID], status: str) -> list[UUID]:
        self.batches.append(list(task_ids))
        async with self.db.hot() as connection:
            rows = await connection.fetch(
                "UPDATE tasks SET status = $3 WHERE tenant = $1 AND id = ANY($2) AND NOT id = ANY($4) RETURNING id",
                tenant,
                task_ids,
                status,
                list(self.stubborn),
            )
        return [*(row["id"] for row in rows), UUID(int=7)]  # a sub-task that came along


@pytest.fixture
def moves(db: Database) -> Moves:
    return Moves(db)


@pytest.fixture
def bulk(db: Database, moves: Moves) -> Bulk:
    return Bulk(db, moves)  # type: ignore[arg-type]


async def cancel(bulk: Bulk, limit: int = 1000, dry_run: bool = False, **wanted: Any) -> tuple[int, int, bool]:
    outcome = await bulk.cancel("t", Filter(**wanted), "why", dry_run=dry_run, limit=limit)
    assert outcome.dry_run == dry_run
    return outcome.matched, outcome.done, outcome.more


async def test_many_are_moved_in_bounded_batches_callers_before_the_called(
    db: Database, bulk: Bulk, moves: Moves
) -> None:
    made = driver.tasks(2 * BATCH + 5)
    await driver.insert(db, *made, driver.task(pool="q"), driver.task(tenant="u"))
    assert await cancel(bulk, dry_run=True, pool="p") == (len(made), 0, False)
    assert moves.batches == []
    assert await cancel(bulk, limit=BATCH + 1, pool="p") == (len(made), BATCH + 1, True)
    assert await cancel(bulk, pool="p") == (BATCH + 4, BATCH + 4, False)
    assert [len(batch) for batch in moves.batches] == [BATCH, 1, BATCH, 4]
    assert [task_id for batch in moves.batches for task_id in batch] == [task.id for task in made]
    assert await cancel(bulk, pool="p") == (0, 0, False)


async def test_what_will_not_move_is_not_counted_and_not_tried_for_ever(db: Database, bulk: Bulk, moves: Moves) -> None:
    made = driver.tasks(3)
    moves.stubborn = {made[0].id}
    await driver.insert(db, *made)
    assert await cancel(bulk, status="queued") == (3, 2, False)
    assert await cancel(bulk, limit=1, status="queued") == (1, 0, False)


@pytest.mark.parametrize(
    ("wanted", "fit"),
    [
        ({"pool": "p"}, {"a", "b", "c"}),
        ({"status": "running"}, set()),
        ({"status": "succeeded"}, set()),
        ({"type": "other"}, {"b"}),
        ({"concurrency_key": "k"}, {"c"}),
        ({"thread_id": "th"}, {"d"}),
        ({"pool": "p", "type": "work"}, {"a", "c"}),
        ({"created_before": FAR}, {"a", "b", "c", "d"}),
        ({"created_after": FAR}, set()),
        ({"created_after": FAR - timedelta(days=40_000), "pool": "q"}, {"d"}),
        ({"error_code": "boom"}, set()),
        ({"ids": ()}, set()),
    ],
)
async def test_a_filter_is_of_what_fits_all_of_it(
    db: Database, bulk: Bulk, wanted: dict[str, Any], fit: set[str]
) -> None:
    made = {
        "a": driver.task(),
        "b": driver.task(type="other"),
        "c": driver.task(concurrency_key="k"),
        "d": driver.task(pool="q", thread_id="th"),
    }
    await driver.insert(db, *made.values())
    assert await cancel(bulk, **wanted) == (len(fit), len(fit), False)
    async with db.hot() as connection:
        rows = await connection.fetch("SELECT id FROM tasks WHERE status = 'cancelled'")
    assert {row["id"] for row in rows} == {made[name].id for name in fit}


async def test_only_failed_tasks_are_retried(db: Database, bulk: Bulk) -> None:
    task_id = await driver.running(db)
    await driver.insert(db, *driver.tasks(2))
    await driver.settle(db, driver.failed(task_id, 1))
    outcome = await bulk.retry("t", Filter(error_code="bad"), dry_run=False, limit=10)
    assert (outcome.matched, outcome.done, outcome.more) == (1, 1, False)
    outcome = await bulk.retry("t", Filter(status="queued"), dry_run=False, limit=10)
    assert outcome.matched == 0


async def test_a_filter_of_everything_is_refused(bulk: Bulk) -> None:
    for dry_run in (True, False):
        with pytest.raises(EmptyFilter):
            await bulk.cancel("t", Filter(), "", dry_run=dry_run, limit=1)


@given(
    st.sampled_from(["cancel", "retry"]),
    st.builds(
        Filter,
        st.none() | st.sampled_from(["held", "queued", "failed"]),
        st.none() | st.text(),
        type=st.none() | st.text(),
        error_code=st.none() | st.text(),
        ids=st.none() | st.lists(st.uuids(), max_size=3).map(tuple),
    ),
)
def test_what_callers_give_never_becomes_sql(action: Action, wanted: Filter) -> None:
    condition, values = where(action, "t", wanted)
    given_ = [name for name in Filter.__dataclass_fields__ if name != "status" and getattr(wanted, name) is not None]
    assert len(values) == 2 + len(given_)
    assert condition.count("$") == len(values)
    assert set("$0123456789 _=()<>").issuperset(char for char in condition if not char.isalpha())
    assert set(values[1]) <= set(MOVABLE[action])
