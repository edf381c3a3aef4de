"""ai_optimized as its caller sees it: what it chooses, when it waits, what it shows, and that it stays small."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.balancers.ai import journal
from app.dispatch.balancers.ai.breaker import RESERVED_S
from app.dispatch.balancers.ai.costs import MAX_CLASSES, MAX_TYPES
from app.dispatch.balancers.ai.journal import KEPT
from app.dispatch.balancers.ai.record import Record
from app.dispatch.balancers.ai.threads import MAX_THREADS, Threads
from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.base import AgentView, Ejector, Learner, Outcome, TaskView
from app.dispatch.balancers.offer import FreeAgents
from tests.dispatch.balancers.learners import DONE, FAILED, agents, balancer_of, task, teach


def test_it_is_a_learner_and_an_ejector() -> None:
    assert isinstance(balancer_of(), Learner)
    assert isinstance(balancer_of(), Ejector)


def test_the_quicker_agent_is_chosen() -> None:
    views = agents(3)
    balancer = balancer_of(*views)
    for view, seconds in zip(views, (4.0, 1.0, 4.0), strict=True):
        teach(balancer, view.id, Outcome(True, seconds), 60)
    assert {balancer.choose(task(), FreeAgents(views), 0.0) for _ in range(20)} == {"a1"}


def test_of_equals_the_least_loaded_is_chosen() -> None:
    views = [AgentView(f"a{n}", 4, load) for n, load in enumerate((3, 1, 2))]
    assert balancer_of(*views).choose(task(), FreeAgents(views), 0.0) == "a1"


def test_tasks_spread_over_agents_that_do_not_say_how_much_they_take() -> None:
    views = [AgentView(f"a{n}", 1_000_000, 5 + 5 * n) for n in range(2)]
    balancer = balancer_of(*views)
    for view, seconds in zip(views, (1.5, 1.0), strict=True):
        teach(balancer, view.id, Outcome(True, seconds), 500)
    assert balancer.choose(task(), FreeAgents(views), 0.0) == "a0"
    views[0].in_flight = 50
    assert balancer.choose(task(), FreeAgents(views), 0.0) == "a1"


@pytest.mark.parametrize("with_results", [False, True])
def test_junk_types_do_not_keep_a_real_one_from_learning(with_results: bool) -> None:
    views = agents(2, versions=2, slots=100)
    balancer, offer = balancer_of(*views), FreeAgents(views)
    for n in range(1_000):
        balancer.choose(task(of=f"junk-{n}"), offer, 1.0)
        if with_results:
            teach(balancer, f"a{n % 2}", DONE, 1, of=f"junk-{n}", now=1.0)
    for view, of, seconds in [("a0", "log", 1.0), ("a1", "log", 60.0), ("a0", "scan", 60.0), ("a1", "scan", 1.0)]:
        teach(balancer, view, Outcome(True, seconds), 100, of=of, now=2.0)
    assert {balancer.choose(task(of="log"), offer, 3.0) for _ in range(20)} == {"a0"}
    assert {balancer.choose(task(of="scan"), offer, 3.0) for _ in range(20)} == {"a1"}
    assert len(balancer.learned(3.0)["types"]) <= MAX_TYPES


def test_a_mismatch_is_waited_out_for_a_while() -> None:
    views = agents(2, versions=2)
    balancer = balancer_of(*views)
    teach(balancer, "a0", Outcome(True, 1.0), 100)
    teach(balancer, "a1", Outcome(True, 11.0), 100)
    only = FreeAgents(views[1:])
    assert balancer.choose(task(0.0), only, 1.0) is None
    assert balancer.last_choices()[0]["why"] == journal.WAIT_HOME
    assert balancer.choose(task(0.9), only, 1.0) is None
    assert balancer.choose(task(1.2), only, 1.0) == "a1"
    assert balancer.choose(task(0.0), FreeAgents(views), 1.0) == "a0"


def test_an_agent_is_left_to_the_type_that_waits_for_it() -> None:
    views = agents(2, versions=2)
    balancer = balancer_of(*views)
    for view, of, seconds in [("a0", "log", 1.0), ("a1", "log", 5.0), ("a0", "scan", 5.0), ("a1", "scan", 1.0)]:
        teach(balancer, view, Outcome(True, seconds), 100, of=of)
    only = FreeAgents(views[1:])
    assert balancer.choose(task(2.0), only, 1.0) == "a1"
    balancer.started("a1", task(3.0, of="scan"), 1.0)  # it had waited: there are more
    assert balancer.choose(task(2.0), only, 1.5) is None
    assert balancer.last_choices()[0]["why"] == journal.WAIT_WANTED
    assert balancer.choose(task(1e4), only, 1.5) == "a1"  # not for ever
    balancer.started("a1", task(0.0, of="scan"), 1.6)
    assert balancer.choose(task(2.0), only, 1.6) == "a1"


def test_a_broken_agent_gets_nothing_then_one_trial() -> None:
    views = agents(8)
    balancer, offer = balancer_of(*views), FreeAgents(views)
    teach(balancer, "a3", FAILED, 5)
    ((ejected, (seconds, _)),) = balancer.ejected(0.0).items()
    assert ejected == "a3"
    assert "a3" not in {balancer.choose(task(), offer, 0.9 * seconds) for _ in range(50)}
    alone = FreeAgents([views[3]])
    assert balancer.choose(task(), alone, 0.9 * seconds) is None
    assert balancer.choose(task(), alone, seconds) == "a3"
    balancer.started("a3", task(), seconds)
    assert balancer.choose(task(1e6), alone, seconds + RESERVED_S) is None
    balancer.finished("a3", task(), DONE, seconds + RESERVED_S)
    assert not balancer.ejected(seconds + RESERVED_S)


def test_a_pass_names_an_agent_on_trial_once() -> None:
    views = agents(8)
    balancer, alone = balancer_of(*views), FreeAgents(views[:1])
    teach(balancer, "a0", FAILED, 5)

    def a_pass(now: float) -> list[str | None]:
        return [balancer.choose(TaskView(f"t{now}-{n}", "log", waited_s=60.0), alone, now) for n in range(32)]

    assert a_pass(50.0) == ["a0"] + [None] * 31
    assert a_pass(49.9 + RESERVED_S) == [None] * 32
    assert a_pass(50.0 + RESERVED_S) == ["a0"] + [None] * 31  # the first was lost before its start


@pytest.mark.parametrize("outcome", [Outcome(False, 1.0, counted=False), Outcome(False, 1.0, agents_fault=False)])
def test_what_says_nothing_of_the_agent_teaches_nothing(outcome: Outcome) -> None:
    views = agents(4)
    taught, untaught = balancer_of(*views), balancer_of(*views)
    teach(taught, "a0", outcome, 50)
    assert taught.learned(1.0) == untaught.learned(1.0)
    assert taught.summary(1.0) == untaught.summary(1.0)


def test_an_uncounted_trial_makes_room_for_the_next() -> None:
    views = agents(8)
    balancer, alone = balancer_of(*views), FreeAgents(views[:1])
    teach(balancer, "a0", FAILED, 5)
    balancer.started("a0", TaskView("trial", "log"), 50.0)
    assert balancer.choose(task(), alone, 51.0) is None
    balancer.finished("a0", TaskView("trial", "log"), Outcome(False, 1.0, counted=False), 51.0)
    assert balancer.choose(task(), alone, 51.0) == "a0"


def test_a_thread_goes_back_to_its_agent_while_that_is_not_much_dearer() -> None:
    views = agents(6)
    balancer, offer = balancer_of(*views), FreeAgents(views)
    balancer.started("a4", task(thread="c"), 0.0)
    views[4].in_flight = 3
    assert {balancer.choose(task(thread="c"), offer, 0.0) for _ in range(20)} == {"a4"}
    assert balancer.last_choices()[0]["why"] == journal.THREAD
    assert "a4" not in {balancer.choose(task(thread="other"), offer, 0.0) for _ in range(20)}
    for view in views:
        teach(balancer, view.id, Outcome(True, 4.0 if view.id == "a4" else 1.0), 60)
    assert "a4" not in {balancer.choose(task(thread="c"), offer, 0.0) for _ in range(20)}


def test_a_thread_leaves_an_agent_that_is_gone_full_or_broken() -> None:
    views = agents(6)
    balancer, offer = balancer_of(*views), FreeAgents(views)
    balancer.started("a4", task(thread="c"), 0.0)
    offer.discard("a4")
    assert balancer.choose(task(thread="c"), offer, 0.0) != "a4"
    offer.add(views[4])
    teach(balancer, "a4", FAILED, 5)
    assert balancer.choose(task(thread="c"), offer, 0.0) != "a4"
    balancer.left("a4", 0.0)
    offer.discard("a4")
    assert balancer.choose(task(thread="c"), offer, 0.0) is not None


def test_threads_are_bounded() -> None:
    threads, record = Threads(), Record("a", "v", "v", 0.0)
    for n in range(MAX_THREADS + 100):
        threads.served(f"c{n}", record)
        threads.served("often", record)
    assert len(threads) == MAX_THREADS == len(record.threads or ())
    assert (threads.last("c0"), threads.last("often")) == (None, record)
    threads.left(record)
    assert len(threads) == 0


def test_the_last_choices_explain_themselves() -> None:
    views = agents(5)
    balancer = balancer_of(*views)
    for n in range(2 * KEPT):
        balancer.choose(TaskView(f"t{n}", "log"), FreeAgents(views), float(n))
    choices = balancer.last_choices()
    json.dumps(choices)
    assert [choice["task"]["id"] for choice in choices] == [f"t{n}" for n in range(2 * KEPT - 1, KEPT - 1, -1)]
    for choice in choices:
        costs = [one["cost_s"] for one in choice["considered"]]
        assert costs == sorted(costs)
        assert choice["considered"][0]["cost_s"] == min(costs)
        assert choice["agent"] in {one["agent"] for one in choice["considered"] if one["cost_s"] == costs[0]}


def test_what_is_learned_is_shown() -> None:
    balancer = balancer_of(*agents(4))
    teach(balancer, "a0", FAILED, 3)
    learned = json.loads(json.dumps(balancer.learned(1.0)))
    assert learned["agents"]["a0"]["breaker"] == "open"
    assert learned["agents"]["a0"]["opens_s"] > 0
    assert learned["agents"]["a0"] | {"attempts": 3, "version": "v0"} == learned["agents"]["a0"]
    assert learned["agents"]["a1"] == {
        "version": "v0", "slowness": 1.0, "failure_rate": 0.0, "breaker": "closed", "opens_s": 0.0, "warm_up": 1.0,
        "attempts": 0,
    }  # fmt: skip
    assert learned["types"]["log"]["v0"]["samples"] == 3


def test_another_version_is_another_agent() -> None:
    balancer = balancer_of(*agents(4))
    teach(balancer, "a0", FAILED, 30)
    balancer.joined(AgentView("a0", 4, 0, version="v1"), 1.0)
    shown = balancer.learned(1.0)["agents"]["a0"]
    assert (shown["version"], shown["attempts"], shown["breaker"], shown["failure_rate"]) == ("v1", 0, "closed", 0.0)


def test_replayed_attempts_teach_what_they_taught() -> None:
    rng, views = random.Random(3), agents(10, versions=2)
    lived, replayed = balancer_of(*views), AiOptimized(random.Random(1))
    log: list[tuple[str, TaskView, Outcome, float]] = []
    now = 1.0
    for n in range(1_000):
        now += rng.random()
        one = TaskView(f"t{n}", rng.choice(["log", "scan"]))
        agent_id = lived.choose(one, FreeAgents(views), now) or "a0"
        seconds = rng.expovariate(1.0) * (1 + (agent_id == "a1"))
        lived.started(agent_id, one, now)
        now += seconds
        outcome = Outcome(rng.random() > (0.9 if agent_id == "a2" else 0.05), seconds)
        lived.finished(agent_id, one, outcome, now)
        log.append((agent_id, one, outcome, now))
    for view in views:
        replayed.joined(view, now)
    for agent_id, one, outcome, ended in log:
        replayed.finished(agent_id, one, outcome, ended)
    assert replayed.learned(now)["types"] == lived.learned(now)["types"]
    shown, shown_again = lived.learned(now)["agents"], replayed.learned(now)["agents"]
    for agent_id, known in shown.items():
        again = shown_again[agent_id]
        assert (again.pop("version"), again.pop("breaker")) == (known.pop("version"), known.pop("breaker"))
        assert again == pytest.approx(known, rel=1e-6, abs=1e-6)
    told, told_again = lived.summary(now)["agents"], replayed.summary(now)["agents"]
    assert set(told) == set(told_again)
    assert all(told_again[agent_id] == pytest.approx(sums, abs=1e-3) for agent_id, sums in told.items())


def size(root: object) -> int:
    """How many things hang on an object, each counted once."""
    seen, stack = set[int](), [root]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, list | tuple | set) or type(item).__name__ == "deque":
            stack += list(item)
        elif type(item).__module__.startswith("app."):
            names = getattr(type(item), "__slots__", ()) or vars(item)
            stack += [getattr(item, name) for name in names]
    return len(seen)


def test_churn_leaves_nothing_behind() -> None:
    balancer = balancer_of(*agents(10))
    sizes = []
    for n in range(6 * max(MAX_TYPES, MAX_CLASSES)):
        view = AgentView(f"b{n}", 2, 0, version=f"w{n}", skills={f"type-{n}": 0.5})
        one = TaskView(f"t{n}", f"type-{n}", thread_id=f"thread-{n}")
        balancer.joined(view, float(n))
        balancer.choose(one, FreeAgents([view]), float(n))
        balancer.started(view.id, one, float(n))
        balancer.finished(view.id, one, DONE, n + 0.5)
        balancer.left(view.id, n + 0.6)
        balancer.finished(view.id, one, DONE, n + 0.7)
        sizes.append(size(balancer))
    assert max(sizes[-100:]) <= 1.05 * max(sizes[150:250])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(["log", "scan"]), st.booleans(), st.floats(), st.floats(-1e9, 1e9)
        ),
        max_size=40,
    )
)
def test_no_clock_and_no_duration_breaks_it(steps: list[tuple[int, str, bool, float, float]]) -> None:
    views = agents(6, versions=2)
    balancer, offer = balancer_of(*views), FreeAgents(views)
    for n, (place, of, ok, seconds, now) in enumerate(steps):
        one = TaskView(f"t{n}", of, waited_s=1e9)
        chosen = balancer.choose(one, offer, now)
        assert chosen is not None
        balancer.started(chosen, one, now)
        balancer.finished(views[place].id, one, Outcome(ok, seconds), now)
        assert len(balancer.ejected(now)) <= 1
    _assert_finite(balancer.learned(0.0))
    _assert_finite(balancer.summary(0.0))
    _assert_finite(list(balancer.last_choices()))


def _assert_finite(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            _assert_finite(one)
    else:
        assert not isinstance(value, float) or math.isfinite(value)


def run(seed: int, choices: int = 4_000) -> tuple[Counter[tuple[str, str]], Counter[bool]]:
    """A pool of 20 agents of two classes at 80 % load, one of them a black hole: what ran where in the second half,
    and how it ended. A task on the wrong class takes three times as long. Nothing is configured."""
    rng = random.Random(seed)
    views = [AgentView(f"a{n}", 3, 0, version="even" if n % 2 == 0 else "odd") for n in range(20)]
    home = {"log": "even", "scan": "odd"}
    balancer, free, by_id = balancer_of(*views, seed=seed), FreeAgents(views), {view.id: view for view in views}
    ends: list[tuple[float, int, AgentView, TaskView, Outcome]] = []
    queue: list[tuple[float, str]] = []
    ran, ended, now, placed = Counter[tuple[str, str]](), Counter[bool](), 0.0, 0
    next_arrival = 0.0
    while placed < choices:
        if ends and ends[0][0] <= next_arrival:
            now, _, view, one, outcome = heappop(ends)
            view.in_flight -= 1
            free.add(view)
            balancer.finished(view.id, one, outcome, now)
            ended[outcome.ok] += placed > choices / 2
        else:
            now = next_arrival
            queue.append((now, rng.choice(["log", "scan"])))
            next_arrival += rng.expovariate(48.0)
        for since, of in list(queue):
            one = TaskView(f"t{placed}", of, waited_s=now - since)
            chosen = balancer.choose(one, free, now) if len(free) else None
            if chosen is None:
                continue
            view = by_id[chosen]
            queue.remove((since, of))
            view.in_flight += 1
            if view.in_flight == view.slots:
                free.discard(chosen)
            balancer.started(chosen, one, now)
            broken = chosen == "a0"
            seconds = 0.01 if broken else rng.expovariate(1.0) * (1 if home[of] == view.version else 3)
            heappush(ends, (now + seconds, placed, view, one, Outcome(not broken, seconds)))
            placed += 1
            if placed > choices / 2:
                ran["black hole" if broken else view.version, of] += 1
    return ran, ended


@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_the_matching_class_and_leaves_a_black_hole_alone(seed: int) -> None:
    ran, ended = run(seed)
    total = ran.total()
    assert ran["black hole", "log"] + ran["black hole", "scan"] < 0.01 * total
    assert ended[False] < 0.01 * total
    assert ran["even", "log"] + ran["odd", "scan"] > 0.9 * total


def test_the_same_seed_makes_the_same_choices() -> None:
    assert run(7, 500) == run(7, 500)
