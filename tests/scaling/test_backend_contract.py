"""What every backend does, whatever its replicas are: see `app.scaling.backends.base.Backend`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.core.db import Database
from app.scaling.backends.base import Fleet
from tests.scaling.backend_stages import POOL, STAGES, Stage, busy, converged, ended, tasks, work


@pytest.fixture(params=sorted(STAGES))
async def stage(request: Any, db: Database, tmp_path: Path) -> AsyncIterator[Stage]:
    async with STAGES[request.param](db, tmp_path) as made:
        yield made


async def until_rest(stage: Stage, replicas: int) -> Fleet:
    """Passes until so many replicas are there and ready, and a further pass changes nothing."""
    end = time.monotonic() + 60
    while True:
        fleet = await stage.fleet()
        await work(stage)
        if (fleet.replicas, fleet.ready, len(await stage.members())) == (replicas, replicas, replicas):
            return fleet
        assert time.monotonic() < end, f"it does not come to rest: {fleet}, {await stage.members()}"


async def test_it_says_of_which_kind_it_is(stage: Stage) -> None:
    assert stage.backend.kind in STAGES
    assert set(await stage.backend.owned()) == set()


async def test_it_keeps_as_many_as_are_wanted_and_owns_the_pool(stage: Stage) -> None:
    await stage.want(3)
    fleet = await until_rest(stage, 3)
    members = await stage.members()
    assert fleet.conditions == ()
    assert await stage.fleet() == Fleet(3, 3)
    assert await stage.members() == members
    assert set(await stage.backend.owned()) == {POOL}


async def test_a_replica_is_ready_when_its_agent_works_and_then_its_start_was_measured(stage: Stage) -> None:
    await stage.want(1)
    await stage.fleet()
    await stage.started()
    before = await stage.fleet()
    assert (before.replicas, before.ready) == (1, 0)
    told = [*before.cold_starts_s]
    for _ in range(3):
        await work(stage)
        told += (await stage.fleet()).cold_starts_s
    assert len(told) == 1
    assert 0 <= told[0] < 60


async def test_it_grows_by_what_is_missing_only(stage: Stage) -> None:
    await stage.want(2)
    await until_rest(stage, 2)
    first = set(await stage.members())
    await stage.want(4)
    await until_rest(stage, 4)
    assert first < set(await stage.members())


async def test_idle_ones_leave_first_and_nothing_is_lost(stage: Stage) -> None:
    await stage.want(3)
    await until_rest(stage, 3)
    worker = (await stage.members())[1]
    await busy(stage, worker)
    await stage.want(1)
    await until_rest(stage, 1)
    assert await stage.members() == [worker]
    assert await tasks(stage) == [("running", 1)]


async def test_a_busy_one_that_leaves_gets_nothing_new_and_stays_until_its_task_ends(stage: Stage) -> None:
    await stage.want(1)
    await until_rest(stage, 1)
    (worker,) = await stage.members()
    await busy(stage, worker)
    await stage.want(0)
    await stage.fleet()
    for _ in range(3):
        fleet = await stage.fleet()
        await work(stage)
        assert (fleet.replicas, fleet.ready) == (1, 0)
    assert await stage.desk.status(await stage.agent_of(worker)) == "draining"
    assert await stage.members() == [worker]
    await ended(stage, worker)
    await until_rest(stage, 0)
    assert await tasks(stage) == [("succeeded", 1)]


async def test_at_the_end_of_its_grace_what_it_runs_is_returned_uncounted(stage: Stage) -> None:
    await stage.want(1, grace_s=0.05)
    await until_rest(stage, 1)
    await busy(stage, (await stage.members())[0])
    await stage.want(0, grace_s=0.05)
    await until_rest(stage, 0)
    assert await tasks(stage) == [("queued", 0)]


async def test_one_that_dies_is_replaced(stage: Stage) -> None:
    await stage.want(2)
    await until_rest(stage, 2)
    first, second = await stage.members()
    await stage.kill(first)
    end = time.monotonic() + 60
    while len(await stage.members()) != 2:
        await stage.fleet()
        await work(stage)
        assert time.monotonic() < end, "nobody took its place"
    assert second in await stage.members()


async def test_replicas_that_cannot_start_are_a_condition_and_not_an_error(stage: Stage) -> None:
    await stage.want(1, broken=True)
    fleet = await stage.fleet()
    for _ in range(3):
        await work(stage)
        fleet = await stage.fleet()
    assert len(fleet.conditions) == 1
    assert fleet.conditions[0].message
    assert fleet.ready == 0
    await stage.want(1)
    assert (await until_rest(stage, 1)).conditions == ()


async def test_of_a_pool_that_somebody_else_launches_nothing_stays(stage: Stage) -> None:
    await stage.want(2)
    await until_rest(stage, 2)
    worker = (await stage.members())[0]
    await busy(stage, worker)
    await stage.released()
    for _ in range(4):
        await stage.fleet()
        await work(stage)
    assert await stage.members() == [worker]
    assert set(await stage.backend.owned()) == {POOL}
    await ended(stage, worker)
    await until_rest(stage, 0)
    assert set(await stage.backend.owned()) == set()


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.01])
async def test_a_pass_may_be_cut_short_anywhere(stage: Stage, after_s: float) -> None:
    for wanted in (3, 1):
        await stage.want(wanted)
        for _ in range(5):
            cut = asyncio.create_task(stage.fleet())
            await asyncio.wait({cut}, timeout=after_s)
            cut.cancel()
            await asyncio.gather(cut, return_exceptions=True)
        await until_rest(stage, wanted)
        assert await stage.fleet() == Fleet(wanted, wanted)


async def test_two_managers_who_both_believe_to_lead_end_where_one_would(stage: Stage) -> None:
    other = await stage.twin()
    await stage.want(3)
    await until_rest(stage, 3)
    worker = (await stage.members())[0]
    await busy(stage, worker)
    for wanted in (1, 4, 2):
        await stage.want(wanted)
        for _ in range(3):
            await asyncio.gather(stage.fleet(), converged(stage.view, other))
            await work(stage)
        await until_rest(stage, wanted)
        assert worker in await stage.members()
    assert await tasks(stage) == [("running", 1)]
