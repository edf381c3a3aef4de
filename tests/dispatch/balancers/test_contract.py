"""What every balancer keeps, whatever its strategy; the seam's text is in `balancers/base.py`."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dispatch.balancers.base import MAX_SCAN, AgentView, Outcome

from .offers import DONE, TASK, Counting, Pool, agent, choices, idle, join_all, offer
from .subjects import GUARDED_BAD, MAY_WAIT, SUBJECTS, reachable_strings, subject

MAX_READ = 2 * MAX_SCAN
"""Most agents one choice may read: a walk of MAX_SCAN and, where that was in vain, a draw of as many."""

WAIT_BOUND_S = 600.0
"""A task of a second or so that waited so long is placed on whatever is offered."""

every_subject = pytest.mark.parametrize("name", SUBJECTS)
every_strategy = pytest.mark.parametrize("name", [name for name in SUBJECTS if name != GUARDED_BAD])


@every_subject
def test_one_agent_is_the_only_choice(name: str) -> None:
    assert set(choices(subject(name), idle(["only"]), 20)) <= {"only", None}


@every_subject
@pytest.mark.parametrize("count", [1, 2, MAX_SCAN, MAX_SCAN + 1, 5_000])
@pytest.mark.parametrize("known", [False, True])
def test_offers_of_any_size(name: str, count: int, known: bool) -> None:
    """Agents may be offered before, or without, their `joined`."""
    balancer, offered = subject(name), idle(f"a{n}" for n in range(count))
    if known:
        join_all(balancer, offered)
    chosen = set(choices(balancer, offered, 30))
    assert chosen <= {view.id for view in offered} | {None}
    assert chosen != {None}


@every_subject
def test_an_offered_agent_is_never_changed(name: str) -> None:
    balancer, offered = subject(name), offer(agent("a", weight=9), agent("b", in_flight=3), agent("c", slots=1))
    join_all(balancer, offered)
    for chosen in choices(balancer, offered, 30):
        if chosen is not None:
            balancer.started(chosen, TASK, 1.0)
            balancer.finished(chosen, TASK, DONE, 2.0)
    assert list(offered) == [agent("a", weight=9), agent("b", in_flight=3), agent("c", slots=1)]


@every_strategy
@pytest.mark.parametrize("free", [5_000, 200, MAX_SCAN + 1, MAX_SCAN])
def test_the_work_of_a_choice_is_bounded(name: str, free: int) -> None:
    """Of 5,000 members `free` are offered: all, some, or so few that a walk round the members finds hardly any."""
    balancer, ids = subject(name), [f"a{n}" for n in range(5_000)]
    join_all(balancer, idle(ids))
    counting = Counting(idle(random.Random(1).sample(ids, free)))
    for n in range(200):
        before = counting.read
        balancer.choose(TASK, counting, n / 100)
        assert counting.read - before <= MAX_READ


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name not in MAY_WAIT])
def test_a_strategy_that_needs_no_patience_never_keeps_a_task_waiting(name: str) -> None:
    assert None not in choices(subject(name), idle("abc"), 30)


@every_strategy
def test_who_waited_long_enough_is_placed_on_anything(name: str) -> None:
    """Even if all that is offered has only ever failed, and slowly, while others answered at once."""
    pool = Pool(subject(name))
    for agent_id in "abcdefghij":
        pool.join(agent_id, slots=1, version="good" if agent_id < "h" else "bad")
    for _ in range(300):
        while pool.running:
            slow = pool.running[0][0] >= "h"
            pool.now += 1.0
            pool.finish(0, Outcome(ok=not slow, seconds=5.0 if slow else 0.1))
        while pool.place() is not None:
            pass
    for agent_id in "abcdefg":
        pool.free.discard(agent_id)
    while pool.running:
        pool.finish(0)
        for agent_id in "abcdefg":
            pool.free.discard(agent_id)
    assert len(pool.free) == 3
    assert pool.place(waited_s=WAIT_BOUND_S) is not None


@every_subject
def test_equal_idle_agents_all_get_work(name: str) -> None:
    pool = Pool(subject(name))
    for agent_id in "abcd":
        pool.join(agent_id, slots=1)
    for _ in range(40):
        while pool.place() is not None:
            pass
        if pool.running:
            pool.finish(0)
    assert set(pool.finished) | {agent_id for agent_id, _ in pool.running} == set("abcd")


@every_subject
def test_what_was_not_expected_changes_nothing(name: str) -> None:
    balancer = subject(name)
    balancer.finished("before", TASK, DONE, 1.0)
    balancer.left("stranger", 2.0)
    balancer.started("unasked", TASK, 3.0)
    balancer.finished("unasked", TASK, DONE, 4.0)
    balancer.finished("unasked", TASK, DONE, 5.0)
    if name != GUARDED_BAD:
        assert not {"before", "stranger", "unasked"} & reachable_strings(balancer)
        assert choices(balancer, idle("ab"), 40) == choices(subject(name), idle("ab"), 40)


@every_subject
def test_a_late_finish_does_not_bring_back_one_that_left(name: str) -> None:
    pool = Pool(subject(name))
    for agent_id in ("stays", "leaves"):
        pool.join(agent_id, slots=4)
    while len(pool.running) < 8:
        pool.place(waited_s=WAIT_BOUND_S)
    pool.leave("leaves")
    while pool.running:
        pool.finish(0)
    others = [pool.place(waited_s=WAIT_BOUND_S) for _ in range(4)]
    assert set(others) <= {"stays", None}
    assert name == GUARDED_BAD or "leaves" not in reachable_strings(pool.balancer) or name.endswith("round_robin")


@every_subject
@pytest.mark.parametrize("tick_s", [0.0, 0.01, 7_200.0])
def test_work_is_conserved(name: str, tick_s: float) -> None:
    """Every task is placed in the end and finishes once, though some agents fail; waiting only defers."""
    order, pool = random.Random(3), Pool(subject(name), tick_s=tick_s)
    for n in range(6):
        pool.join(f"a{n}", slots=1 + n % 3, weight=1.0 + n, version=f"v{n % 2}")
    waiting, waited_s = 300, 0.0
    while waiting or pool.running:
        placed = waiting > 0 and pool.place(waited_s=waited_s) is not None
        waiting -= placed
        waited_s = 0.0 if placed or not len(pool.free) else waited_s + 1.0
        assert waited_s <= WAIT_BOUND_S or name == GUARDED_BAD
        assert len(pool.running) <= sum(view.slots for view in pool.members.values())
        if pool.running and (order.random() < 0.4 or not waiting):
            pool.finish(order.randrange(len(pool.running)), Outcome(order.random() < 0.8, order.random()))
    assert pool.finished.total() == 300


type Clock = Callable[[random.Random], float]


def still(_: random.Random) -> float:
    return 0.0


def leaping(rng: random.Random) -> float:
    return rng.choice([0.0, 0.001, 1.0, 86_400.0, 3e7])


def stepping_back(rng: random.Random) -> float:
    return rng.choice([-86_400.0, -1.0, 0.0, 0.5, 3_600.0])


@every_subject
@pytest.mark.parametrize("step", [still, leaping, stepping_back])
def test_any_clock_is_survived(name: str, step: Clock) -> None:
    rng, pool = random.Random(9), Pool(subject(name), tick_s=0.0)
    for n in range(12):
        pool.join(f"a{n}", slots=2, version=f"v{n % 3}")
    for _ in range(1_500):
        pool.now += step(rng)
        if pool.running and rng.random() < 0.5:
            ok = rng.random() < 0.6
            pool.finish(rng.randrange(len(pool.running)), Outcome(ok, rng.expovariate(1.0), rng.random() < 0.9))
        else:
            pool.place(waited_s=rng.choice([0.0, WAIT_BOUND_S]))
    while pool.running:
        pool.finish(0)
    assert any(pool.place(waited_s=WAIT_BOUND_S) is not None for _ in range(20))


def churned(name: str, seed: int, events_count: int = 400) -> tuple[Pool, list[str | None], set[str]]:
    """A pool after so many random events, its choices in order, and the ids of those who left."""
    events, pool = random.Random(seed), Pool(subject(name, seed))
    chosen: list[str | None] = []
    gone: set[str] = set()
    for n in range(events_count):
        what = events.random()
        if what < 0.15:
            pool.join(f"agent-{n}", events.randint(1, 3), events.randint(1, 10), f"v{events.randint(1, 3)}")
        elif what < 0.25 and pool.members:
            leaver = events.choice(sorted(pool.members))
            pool.leave(leaver)
            gone.add(leaver)
        elif what < 0.5 and pool.running:
            outcome = Outcome(events.random() < 0.7, events.random(), events.random() < 0.9, events.random() < 0.9)
            pool.finish(events.randrange(len(pool.running)), outcome)
        else:
            chosen.append(pool.place())
    return pool, chosen, gone


@every_subject
def test_the_same_seed_makes_the_same_choices(name: str) -> None:
    first = churned(name, 11)[1]
    assert first == churned(name, 11)[1]
    assert set(first) != {None}


@every_subject
def test_those_who_left_are_forgotten(name: str) -> None:
    pool, _, gone = churned(name, 5)
    while pool.running:
        pool.finish(0)
    for agent_id in list(pool.members):
        gone.add(agent_id)
        pool.leave(agent_id)
    assert len(gone) > 40
    assert len(gone & reachable_strings(pool.balancer)) <= remembered_at_most(name)


@every_subject
def test_memory_is_bounded_by_the_pool_however_many_come_and_go(name: str) -> None:
    pool = Pool(subject(name))
    for n in range(2_000):
        pool.join(f"agent-{n}", slots=1, version=f"v{n % 4}")
        if n >= 20:
            pool.leave(f"agent-{n - 20}")
        pool.place(waited_s=WAIT_BOUND_S)
        if len(pool.running) > 10:
            pool.finish(0)
    kept = {word for word in reachable_strings(pool.balancer) if word.startswith("agent-")}
    assert len(kept - pool.members.keys()) <= remembered_at_most(name)


def remembered_at_most(name: str) -> int:
    """How many agents that left a balancer may still name: where a walk stands, or the last choices shown to people."""
    return 50 if name == "ai_optimized" else 2


EVENTS = st.lists(
    st.tuples(st.sampled_from("jjpppppflwu"), st.integers(0, 1_000), st.booleans(), st.booleans(), st.booleans()),
    max_size=60,
)


@every_subject
@settings(max_examples=40, deadline=None)
@given(events=EVENTS, seed=st.integers(0, 1_000))
def test_agents_and_tasks_come_and_go_in_any_order(
    name: str, events: list[tuple[str, int, bool, bool, bool]], seed: int
) -> None:
    """`Pool` checks every choice: j join, p place, f finish, l leave, w weigh, u an unasked finish."""
    pool, joined = Pool(subject(name, seed)), 0
    for event, number, *flags in events:
        members = sorted(pool.members)
        if event == "j":
            joined += 1
            pool.join(f"agent-{joined}", 1 + number % 3, 1 + number % 10, f"v{number % 2}")
        elif event == "p":
            free = len(pool.free) > 0
            assert (pool.place() is not None) == free or name in MAY_WAIT
        elif event == "f" and pool.running:
            pool.finish(number % len(pool.running), Outcome(flags[0], number / 10, flags[1], flags[2]))
        elif event == "l" and members:
            pool.leave(members[number % len(members)])
        elif event == "w" and members:
            pool.weigh(members[number % len(members)], 1 + number % 10)
        elif event == "u" and joined:
            pool.balancer.finished(f"agent-{1 + number % joined}", TASK, Outcome(flags[0], number / 10), pool.now)


@every_subject
@settings(max_examples=25, deadline=None)
@given(ids=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8, unique=True))
def test_ids_may_be_any_text(name: str, ids: list[str]) -> None:
    assert set(choices(subject(name), idle(ids), 12)) <= {*ids, None}


@every_subject
def test_skills_and_types_nobody_configured(name: str) -> None:
    balancer = subject(name)
    offered = offer(
        AgentView("a", 2, 0, skills={"log": 0.0}), AgentView("b", 2, 1, skills={"": 1.0}), AgentView("c", 1, 0)
    )
    assert set(choices(balancer, offered, 12)) <= {"a", "b", "c", None}
