"""Fair shares by weight inside one priority: start-time fair queueing with l/w turns, and its bound.

While tenants a and b both wait, the tasks served of each differ by |W_a/w_a − W_b/w_b| ≤ 1/w_a + 1/w_b (Goyal, Vin &
Cheng 1996, theorem 1, all lengths 1).
"""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.db import Database
from tests.tasks.queue_driver import claim, insert, returned, settle, task, tasks

_pools = itertools.count(1)
WEIGHTS = {"one": 1.0, "two": 2.0, "five": 5.0, "half": 0.5}


async def weigh(db: Database, **weights: float) -> None:
    async with db.hot() as connection:
        for tenant, weight in weights.items():
            await connection.execute(
                "INSERT INTO limits (kind, name, weight) VALUES ('tenant', $1, $2) "
                "ON CONFLICT (kind, name) DO UPDATE SET weight = EXCLUDED.weight",
                tenant,
                weight,
            )


@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
async def test_ten_tasks_do_not_wait_for_a_hundred_thousand(db: Database, weight: float) -> None:
    """The k-th task of the small tenant starts after at most k · w_big/w_small + 1 of the big one's."""
    await weigh(db, big=1.0, small=weight)
    for _ in range(10):
        await insert(db, *tasks(10_000, tenant="big"))
    await claim(db, 50)
    await insert(db, *tasks(10, tenant="small"))
    order = [item.tenant for item in await claim(db, 130)]
    places = [place for place, tenant in enumerate(order) if tenant == "small"]
    assert len(places) == 10
    for k, place in enumerate(places, start=1):
        assert place - (k - 1) <= k / weight + 1


moves = st.lists(
    st.lists(st.sampled_from(sorted(WEIGHTS)), min_size=1, max_size=12) | st.integers(1, 9), min_size=1, max_size=14
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves, st.booleans())
async def test_waiting_tenants_are_served_by_their_weights(
    db: Database, script: list[list[str] | int], give_back: bool
) -> None:
    await weigh(db, **WEIGHTS)
    pool = f"weighted-{next(_pools)}"
    waiting: Counter[str] = Counter()
    since: dict[str, Counter[str]] = {}
    for move in script:
        if isinstance(move, list):
            await insert(db, *(task(pool, tenant) for tenant in move))
            for tenant in move:
                if not waiting[tenant]:
                    since[tenant] = Counter()
                waiting[tenant] += 1
            continue
        got = await claim(db, move, pool)
        for served in (item.tenant for item in got):
            busy = [name for name in waiting if waiting[name]]
            for name in busy:
                since[name][served] += 1
            for a, b in itertools.combinations(busy, 2):
                later = min(since[a], since[b], key=lambda counts: counts.total())
                gap = abs(later[a] / WEIGHTS[a] - later[b] / WEIGHTS[b])
                assert gap <= 1 / WEIGHTS[a] + 1 / WEIGHTS[b] + 1e-9
            waiting[served] -= 1
        if give_back and got:  # what comes back takes no turn from the others, and loses none
            await settle(db, returned(got[0].id, got[0].fence + 1))
            assert (await claim(db, 1, pool))[0].id == got[0].id or waiting.total() > 0
            return
