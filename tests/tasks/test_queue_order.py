"""Who is next: priority, then fair between tenants, then age. Against a naive model of start-time fair queueing."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.db import Database
from app.dispatch.candidates import Share
from app.tasks import queue
from tests.tasks.queue_driver import AGENT, MANAGER, claim, insert, new_manager, returned, task, tasks

_pools = itertools.count()


async def test_higher_priority_first_and_age_inside_one_tenant(db: Database) -> None:
    new = [task(priority=p) for p in (0, 5, -3, 5, 0, 9)]
    await insert(db, *new)
    wanted = sorted(new, key=lambda item: (-item.priority, item.id.int))
    assert [item.id for item in await claim(db, 10)] == [item.id for item in wanted]


@pytest.mark.parametrize("served_before", [0, 1, 500])
async def test_ten_tasks_behind_a_thousand_of_another_are_among_the_next_twenty(
    db: Database, served_before: int
) -> None:
    """The bound: with k tenants waiting, n tasks of a newcomer are done within k·n claims."""
    await insert(db, *tasks(1000, tenant="a"))
    if served_before:
        await claim(db, served_before)
    await insert(db, *tasks(10, tenant="b"))
    assert Counter(item.tenant for item in await claim(db, 20)) == {"a": 10, "b": 10}


async def test_three_tenants_take_turns(db: Database) -> None:
    for tenant in "abc":
        await insert(db, *tasks(50, tenant=tenant))
    turns = [item.tenant for item in await claim(db, 90)]
    assert all(Counter(turns[n : n + 3]) == {"a": 1, "b": 1, "c": 1} for n in range(0, 90, 3))


async def test_a_tenant_that_was_idle_gets_no_credit(db: Database) -> None:
    await insert(db, *tasks(1, tenant="idle"))
    await insert(db, *tasks(300, tenant="busy"))
    await claim(db, 201)
    await insert(db, *tasks(100, tenant="idle"))
    served = Counter(item.tenant for item in await claim(db, 40))
    assert abs(served["idle"] - served["busy"]) <= 1


async def test_an_emptied_queue_starts_even(db: Database) -> None:
    await insert(db, *tasks(100, tenant="a"))
    await claim(db, 100)
    await insert(db, *tasks(10, tenant="b"), *tasks(10, tenant="a"))
    assert Counter(item.tenant for item in await claim(db, 10)) == {"a": 5, "b": 5}


async def test_a_tenant_is_not_held_to_what_it_used_while_alone(db: Database) -> None:
    await insert(db, *tasks(200, tenant="a"))
    await claim(db, 200)
    await insert(db, *tasks(5, tenant="a"))
    await insert(db, *tasks(200, tenant="b"))
    assert Counter(item.tenant for item in await claim(db, 10)) == {"a": 5, "b": 5}


async def test_two_open_claims_never_share_a_task(db: Database) -> None:
    await insert(db, *tasks(30))
    async with db.hot() as one, db.hot() as two:
        found = await queue.ready(one, [("p", 30, False)])
        placed = [(item.id, item.fence, AGENT) for item in found]
        transaction = one.transaction()
        await transaction.start()
        first = await queue.start(one, MANAGER, placed[:12])
        async with asyncio.timeout(5):  # skips what is locked instead of waiting for it
            second = await queue.start(two, new_manager(), placed)
        await transaction.commit()
        third = await queue.start(two, new_manager(), placed)
    assert len(first) == 12 and len(second) == 18 and third == {}
    assert first.keys() | second.keys() == {item.id for item in found}


@pytest.mark.parametrize("managers", [1, 2, 3, 5])
async def test_the_shares_of_the_managers_are_the_whole_queue(db: Database, managers: int) -> None:
    new = [task(id=uuid4()) for _ in range(40)]
    await insert(db, *new)
    async with db.hot() as connection:
        whole = [item.id for item in await queue.ready(connection, [("p", 50, False)])]
        for index in range(managers):
            share = Share(index, managers)
            found = await queue.ready(connection, [("p", 50, True)], share.index, share.count)
            assert all(share.owns(item) for item in found)
            assert [item.id for item in found] == [task_id for task_id in whole if task_id in {i.id for i in found}]
            new = [item for item in new if item.id not in {i.id for i in found}]
    assert new == [] and len(whole) == 40


async def test_what_was_read_and_has_moved_on_is_not_started(db: Database) -> None:
    """Cancelled, run elsewhere and returned, expired, or not due any more: each was ready when it was read."""
    cancelled, ran, expired, delayed, still = new = tasks(5)
    await insert(db, *new)
    async with db.hot() as connection:
        found = {item.id: item for item in await queue.ready(connection, [("p", 5, False)])}
        await queue.cancel(connection, "t", [cancelled.id], "no longer wanted")
        assert await queue.start(connection, MANAGER, [(ran.id, 0, AGENT)])
        await queue.settle(connection, [returned(ran.id, 1)])
        await connection.execute("UPDATE tasks SET start_deadline_at = now() WHERE id = $1", expired.id)
        await connection.execute("UPDATE tasks SET wake_at = now() + interval '1 h' WHERE id = $1", delayed.id)
        started = await queue.start(connection, MANAGER, [(item.id, item.fence, AGENT) for item in found.values()])
    assert started.keys() == {still.id}


async def test_claimers_at_once_run_every_task_exactly_once(db: Database) -> None:
    new = tasks(200)
    await insert(db, *new)
    claimed: list[object] = []

    async def claimer() -> None:
        while len(claimed) < 200:
            claimed.extend(item.id for item in await claim(db, 7))

    await asyncio.gather(*(claimer() for _ in range(6)))
    assert len(claimed) == 200 and set(claimed) == {item.id for item in new}


class NaiveFairQueue:
    """Start-time fair queueing, all lengths and weights 1, kept in plain lists.

    A task's start tag is the later of its tenant's last finish tag and the virtual time: the start tag at the head of
    the queue, or the furthest finish tag when the queue is empty. The tag here is the finish tag, start + 1.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, str]] = []
        self.finish: dict[str, int] = defaultdict(int)

    def submit(self, batch: list[tuple[int, str]]) -> None:
        """(number, tenant) pairs that arrive at one instant."""
        virtual = min(self.waiting)[0] - 1 if self.waiting else max(self.finish.values(), default=0)
        for number, tenant in batch:
            self.finish[tenant] = max(self.finish[tenant], virtual) + 1
            self.waiting.append((self.finish[tenant], number, tenant))

    def claim(self, count: int) -> list[int]:
        chosen = sorted(self.waiting)[:count]
        self.waiting = sorted(self.waiting)[count:]
        return [number for _, number, _ in chosen]


submits = st.lists(st.tuples(st.just("submit"), st.sampled_from("abcd")), min_size=1, max_size=12)
moves = st.lists(submits | st.tuples(st.just("claim"), st.integers(1, 8)), min_size=1, max_size=14)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
async def test_claims_follow_the_model_and_waiting_tenants_get_equal_shares(
    db: Database, script: list[list[tuple[str, str]] | tuple[str, int]]
) -> None:
    model, pool = NaiveFairQueue(), f"model-{next(_pools)}"
    tenant_of: dict[int, str] = {}
    waiting: Counter[str] = Counter()
    since_idle: dict[str, Counter[str]] = {}
    for move in script:
        if isinstance(move, list):
            new = [task(pool, tenant) for _, tenant in move]
            tenant_of.update((item.id.int, item.tenant) for item in new)
            model.submit([(item.id.int, item.tenant) for item in new])
            await insert(db, *new)
            for item in new:
                if not waiting[item.tenant]:
                    since_idle[item.tenant] = Counter()
                waiting[item.tenant] += 1
            continue
        got = [item.id.int for item in await claim(db, move[1], pool)]
        assert got == model.claim(move[1])
        for tenant in (tenant_of[number] for number in got):
            busy = [name for name in waiting if waiting[name]]
            for name in busy:
                since_idle[name][tenant] += 1
            for a, b in itertools.combinations(busy, 2):
                # both have waited all the time since the later of them came
                later = min(since_idle[a], since_idle[b], key=lambda served: served.total())
                assert abs(later[a] - later[b]) <= 2, "SFQ: l_a/w_a + l_b/w_b"
            waiting[tenant] -= 1
