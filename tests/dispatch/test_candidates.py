"""Reading ahead: whatever is kept, every pass sees the queue in its order, and nothing that is out of date."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from app.dispatch.candidates import AHEAD, KEPT_S, LEFT_S, MAX_SHARES, SHARED_FROM, Candidates, Read, Share
from app.tasks.queue import Ready
from tests.dispatch.records import ready_task, task_id

POOLS = ("p", "q")
ALONE = Share()


def a_task(number: int, priority: int = 0, pool: str = "p") -> Ready:
    return ready_task(pool, id=task_id(number), priority=priority)


def in_order(tasks: list[Ready]) -> list[Ready]:
    """The queue's order: highest priority first, then as they came."""
    return sorted(tasks, key=lambda task: (-task.priority, task.id.int))


class PassesOverAQueue(RuleBasedStateMachine):
    """The model is the queue itself: tasks come with a hint, this manager and others start them.

    A pass may take what is gone; of what is there it takes the front, and `may_have` is False only when all of it was
    taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.candidates = Candidates()
        self.queue: dict[str, list[Ready]] = {pool: [] for pool in POOLS}
        self.read_at: dict[str, float] = {}
        self.stale = set(POOLS)
        self.now = 100.0
        self.count = 0

    def submit(self, pool: str, priorities: list[int]) -> None:
        for priority in priorities:
            self.count += 1
            self.queue[pool] = in_order([*self.queue[pool], a_task(self.count, priority, pool)])
        self.candidates.drop([pool])
        self.stale.add(pool)

    def remove(self, tasks: Iterable[Ready]) -> None:
        gone = list(tasks)
        self.queue = {pool: [task for task in queue if task not in gone] for pool, queue in self.queue.items()}

    @rule(pool=st.sampled_from(POOLS), priorities=st.lists(st.integers(-1, 1), min_size=1, max_size=12))
    def tasks_come(self, pool: str, priorities: list[int]) -> None:
        self.submit(pool, priorities)

    @rule(seconds=st.sampled_from([0.01, 0.04, KEPT_S, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def other_managers_start_some(self, data: st.DataObject) -> None:
        there = [task for pool in POOLS for task in self.queue[pool]]
        if there:
            self.remove(data.draw(st.lists(st.sampled_from(there), max_size=4)))

    @rule(
        wanted=st.dictionaries(st.sampled_from(POOLS), st.integers(1, 9), min_size=1),
        begun=st.integers(0, 9),
        hinted=st.sets(st.sampled_from(POOLS)),
    )
    def a_pass(self, wanted: dict[str, int], begun: int, hinted: set[str]) -> None:
        """Read, take, start the first few that are there, give the rest back; hints may come while it reads."""
        before = dict(self.queue)
        limits = self.candidates.to_read(wanted, ALONE, self.now)
        self.check_limits(limits, wanted)
        found = [task for pool, limit in limits.items() for task in self.queue[pool][: limit.limit]]
        self.stale -= limits.keys()
        for pool in sorted(hinted):
            self.submit(pool, [0])
        self.candidates.put(limits, found, ALONE, self.now)
        self.read_at.update(dict.fromkeys(limits, self.now))
        for pool, count in wanted.items():
            dropped = pool in hinted and pool not in limits
            self.take(pool, count, [] if dropped else before[pool], begun)

    def check_limits(self, limits: dict[str, Read], wanted: dict[str, int]) -> None:
        assert limits.keys() <= wanted.keys()
        for pool, count in wanted.items():
            fresh = pool not in self.stale and self.now - self.read_at[pool] < KEPT_S
            assert pool in limits or fresh, "what is out of date is read again"
            if pool in limits:
                assert limits[pool] == Read(count * AHEAD if fresh else count)

    def take(self, pool: str, count: int, expected: list[Ready], begun: int) -> None:
        taken = self.candidates.take(pool, count)
        assert len(taken) <= count and taken == in_order(taken)
        there = [task for task in taken if task in self.queue[pool]]
        assert there == expected[: len(there)], "from the front, without a gap"
        assert self.candidates.may_have(pool) or there == self.queue[pool]
        self.remove(there[:begun])
        rest = taken[taken.index(there[begun]) :] if len(there) > begun else []
        self.candidates.give_back(pool, rest)
        assert self.candidates.take(pool, len(rest)) == rest, "given back, it is next"
        self.candidates.give_back(pool, rest)


TestPassesOverAQueue = PassesOverAQueue.TestCase


def read(candidates: Candidates, tasks: list[Ready], count: int, now: float = 0.0, share: Share = ALONE) -> None:
    """One read of pool p."""
    limits = candidates.to_read({"p": count}, share, now)
    found = tasks[: limits["p"].limit] if limits else []
    candidates.put(limits, found, share, now)


def counts(candidates: Candidates, wanted: dict[str, int], now: float, share: Share = ALONE) -> dict[str, int]:
    """How many would be read of each pool."""
    return {pool: read.limit for pool, read in candidates.to_read(wanted, share, now).items()}


def test_a_pool_that_is_drained_fast_is_read_ahead() -> None:
    candidates, tasks = Candidates(), [a_task(n) for n in range(100)]
    read(candidates, tasks, 5)
    assert candidates.take("p", 9) == tasks[:5]
    assert counts(candidates, {"p": 5}, KEPT_S / 2) == {"p": 5 * AHEAD}
    read(candidates, tasks[5:], 5, KEPT_S / 2)
    for number in range(AHEAD):
        assert counts(candidates, {"p": 5}, KEPT_S / 2) == {}, f"{number} of {AHEAD} parts are used"
        assert candidates.take("p", 5) == tasks[5 + 5 * number : 10 + 5 * number]
    assert counts(candidates, {"p": 5}, KEPT_S / 2) == {"p": 5 * AHEAD}


def test_an_empty_queue_is_not_read_again_while_that_is_fresh() -> None:
    candidates = Candidates()
    read(candidates, [], 5)
    assert counts(candidates, {"p": 5}, KEPT_S * 0.9) == {} and not candidates.may_have("p")
    assert counts(candidates, {"p": 5}, KEPT_S) == {"p": 5}


def test_a_hint_while_it_is_read_makes_that_read_good_for_one_pass_only() -> None:
    candidates, tasks = Candidates(), [a_task(n) for n in range(9)]
    limits = candidates.to_read({"p": 5}, ALONE, 0.0)
    candidates.drop(["p"])
    candidates.put(limits, tasks[:5], ALONE, 0.0)
    assert candidates.take("p", 2) == tasks[:2]
    assert candidates.may_have("p")
    assert counts(candidates, {"p": 2}, 0.0) == {"p": 2}, "though three are kept, and were read just now"


def test_a_hint_for_one_pool_leaves_the_others_kept() -> None:
    candidates = Candidates()
    limits = candidates.to_read({"p": 1, "q": 1}, ALONE, 0.0)
    candidates.put(limits, [a_task(1), a_task(2, pool="q")], ALONE, 0.0)
    candidates.drop(["p"])
    assert candidates.take("p", 1) == [] and candidates.may_have("p")
    assert counts(candidates, {"p": 1, "q": 1}, 0.0) == {"p": 1}
    assert candidates.take("q", 1) == [a_task(2, pool="q")]


def test_what_is_given_back_after_a_hint_is_read_again() -> None:
    candidates, tasks = Candidates(), [a_task(n) for n in range(5)]
    read(candidates, tasks, 5)
    taken = candidates.take("p", 5)
    candidates.drop(["p"])
    candidates.give_back("p", taken)
    assert candidates.take("p", 5) == []
    assert counts(candidates, {"p": 5}, 0.0) == {"p": 5}


@pytest.mark.parametrize(
    ("count", "managers", "limit"),
    [
        (SHARED_FROM - 1, 4, SHARED_FROM - 1),
        (SHARED_FROM, 1, SHARED_FROM),
        (SHARED_FROM, 2, 2 * SHARED_FROM),
        (10, MAX_SHARES, 10 * MAX_SHARES),
        (10, 50, 10 * MAX_SHARES),
    ],
)
def test_with_more_managers_more_is_read_up_to_a_bound(count: int, managers: int, limit: int) -> None:
    assert Share(0, managers).limit(count) == limit
    assert counts(Candidates(), {"p": count}, 0.0, Share(0, managers)) == {"p": limit}


queues = st.lists(st.integers(-2, 2), max_size=40).map(
    lambda priorities: in_order([a_task(number * 7919 % 1009, rank) for number, rank in enumerate(priorities)])
)
shares = st.integers(1, 6).flatmap(lambda count: st.builds(Share, st.integers(0, count - 1), st.just(count)))


def first_taken(tasks: list[Ready], share: Share, full: bool) -> list[Ready]:
    """All that a manager would start after a read of these tasks, which came back full or did not."""
    candidates = Candidates()
    candidates.put({"p": Read(len(tasks) if full else len(tasks) + 1)}, tasks, share, 0.0)
    return candidates.take("p", len(tasks))


@given(queues, shares)
def test_of_a_short_queue_all_is_taken_the_own_share_first(tasks: list[Ready], share: Share) -> None:
    ordered = first_taken(tasks, share, full=False)
    assert [task.priority for task in ordered] == [task.priority for task in tasks]
    for _, group in groupby(ordered, key=lambda task: task.priority):
        same = list(group)
        before = [task for task in tasks if task in same]
        own = [task for task in before if share.owns(task)]
        few = share.count == 1 or len(tasks) < SHARED_FROM
        assert same == (before if few else own + [task for task in before if task not in own])


@given(st.integers(2, 6), st.permutations(range(60)))
def test_of_a_long_queue_managers_take_different_tasks_and_miss_none(managers: int, order: list[int]) -> None:
    tasks = [a_task(number) for number in order]
    parts = [first_taken(tasks, Share(index, managers), full=True) for index in range(managers)]
    assert {len(part) for part in parts} == {len(tasks) // managers}
    assert sorted(task.id.int for part in parts for task in part) == sorted(order)
    assert all(part == [task for task in tasks if task in part] for part in parts), "in the queue's order"


@pytest.mark.parametrize(("waited_s", "anyones"), [(LEFT_S * 0.9, False), (LEFT_S, True)])
def test_what_another_manager_leaves_lying_is_anyones(waited_s: float, anyones: bool) -> None:
    candidates, tasks = Candidates(), [a_task(number) for number in range(16)]
    own = tasks[1::2]
    candidates.put({"p": Read(16)}, tasks, Share(1, 2), 0.0)
    assert candidates.take("p", 16) == own
    candidates.put({"p": Read(16)}, tasks, Share(1, 2), waited_s)
    assert candidates.take("p", 16) == (tasks if anyones else own)
    assert candidates.may_have("p")


def test_a_long_queue_is_read_by_shares_and_now_and_then_as_a_whole() -> None:
    candidates, share = Candidates(), Share(1, 2)
    read(candidates, [a_task(number) for number in range(64)], 16, share=share)
    candidates.take("p", 64)
    assert candidates.to_read({"p": 16}, share, LEFT_S / 2) == {"p": Read(16 * AHEAD, own=True)}
    assert candidates.to_read({"p": 16}, share, LEFT_S) == {"p": Read(16 * AHEAD * 2)}
    candidates.drop(["p"])
    assert candidates.to_read({"p": 16}, share, LEFT_S / 2) == {"p": Read(32)}, "something new may come first"


def test_when_the_own_share_is_used_up_the_whole_queue_is_read() -> None:
    candidates, share = Candidates(), Share(1, 2)
    read(candidates, [a_task(number) for number in range(64)], 16, share=share)
    candidates.take("p", 64)
    reads = candidates.to_read({"p": 16}, share, 0.01)
    candidates.put(reads, [a_task(101)], share, 0.01)
    assert candidates.take("p", 16) == [a_task(101)] and candidates.may_have("p")
    assert candidates.to_read({"p": 16}, share, 0.02) == {"p": Read(16 * AHEAD * 2)}
