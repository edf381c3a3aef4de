"""The engine: queueing theory where it has an answer, and what must hold in every world."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dispatch.outliers import Limits
from app.dispatch.simulator import scenarios
from app.dispatch.simulator.engine import KEPT_RETRY_S, PATIENCE_S, Simulation
from app.dispatch.simulator.scenarios import Size
from app.dispatch.simulator.world import FASTEST_FAILURE_S, Arrival, Fault, PoolTerms, SimAgent, Spell, World
from tests.dispatch.simulator.worlds import QUICK_RETRY, Anyone, arrival, built_in, small, watched


def erlang_c_wait_s(per_s: float, mean_s: float, slots: int) -> float:
    """Mean wait of M/M/c."""
    offered = per_s * mean_s
    terms = [offered**k / math.factorial(k) for k in range(slots)]
    queued = offered**slots / math.factorial(slots) * slots / (slots - offered)
    return queued / (sum(terms) + queued) / (slots / mean_s - per_s)


def poisson(seed: int, per_s: float, count: int) -> list[Arrival]:
    rng = random.Random(seed)
    at_s, found = 0.0, []
    for _ in range(count):
        at_s += rng.expovariate(per_s)
        found.append(arrival(at_s, rng.expovariate(1.0)))
    return found


def first_come_waits_s(tasks: list[Arrival], servers: int) -> list[float]:
    """Each task's wait where `servers` take tasks in order: until the first of them is free."""
    free = [0.0] * servers
    waits = []
    for task in tasks:
        start_s = max(task.at_s, heapq.heappop(free))
        waits.append(start_s - task.at_s)
        heapq.heappush(free, start_s + task.size_s)
    return waits


@pytest.mark.parametrize(("agents", "slots", "load"), [(1, 1, 0.5), (4, 1, 0.8), (2, 5, 0.9), (3, 2, 1.1)])
def test_waits_are_those_of_first_come_first_served(agents: int, slots: int, load: float) -> None:
    tasks = poisson(7, load * agents * slots, 5_000)
    pool = [SimAgent(f"a{n}", slots) for n in range(agents)]
    tally = Simulation(small(pool, tasks, PoolTerms(timeout_s=1e6)), built_in("round_robin"), seed=1).run()
    assert tally.succeeded == 5_000
    latencies = [
        task.size_s + wait_s for task, wait_s in zip(tasks, first_come_waits_s(tasks, agents * slots), strict=True)
    ]
    assert sorted(tally.latencies_s) == pytest.approx(sorted(latencies))


@pytest.mark.parametrize(("agents", "slots", "load"), [(1, 1, 0.5), (4, 1, 0.7), (2, 5, 0.8)])
def test_the_mean_wait_is_erlangs(agents: int, slots: int, load: float) -> None:
    servers = agents * slots
    pool = [SimAgent(f"a{n}", slots) for n in range(agents)]
    terms = PoolTerms(timeout_s=1e6)
    waits = []
    for seed in range(100, 112):
        world = small(pool, poisson(seed, load * servers, 12_000), terms)
        waits.append(fmean(Simulation(world, built_in("round_robin"), seed=seed).run().waits_s))
    assert fmean(waits) == pytest.approx(erlang_c_wait_s(load * servers, 1.0, servers), rel=0.08)


def test_what_a_strategy_cannot_change_is_the_same_for_all() -> None:
    world = scenarios.world("uniform", Size(agents=5, slots=4, load=0.7, minutes=2), 3)
    found = [Simulation(world, built_in(name), seed=3).run() for name in ("round_robin", "least_connections")]
    assert found[0].latencies_s == found[1].latencies_s
    assert found[0].counted == found[1].counted > 100


@st.composite
def worlds(draw: st.DrawFn) -> World:
    times = st.floats(0, 20)
    agents = []
    for number in range(draw(st.integers(1, 4))):
        joins_s = draw(st.sampled_from([0.0, 0.0, 3.0]))
        start_s = draw(times)
        spell = Spell(start_s, start_s + draw(st.floats(0.1, 10)), draw(st.sampled_from([2.0, 10.0, math.inf])))
        agents.append(
            SimAgent(
                f"a{number}",
                slots=draw(st.integers(1, 3)),
                slower=draw(st.sampled_from([1.0, 2.0])),
                joins_s=joins_s,
                leaves_s=draw(st.sampled_from([math.inf, math.inf, joins_s + 5.0])),
                spells=(spell,) if draw(st.booleans()) else (),
                fault=draw(st.sampled_from([None, None, Fault(2.0, 1.0, 0.0), Fault(0.0, 0.3)])),
            )
        )
    tasks = st.builds(arrival, times, st.floats(0.0, 5), st.floats(0, 0.999), st.sampled_from(["x", "y"]))
    terms = PoolTerms(draw(st.sampled_from([1.0, 4.0, 60.0])), draw(st.integers(1, 3)), QUICK_RETRY)
    contention = draw(st.sampled_from([0.0, 1.0]))
    return small(agents, draw(st.lists(tasks, max_size=40)), terms, contention=contention, base_failure=0.1)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.integers(1, 3), st.sampled_from([0.0, 0.4]), st.sampled_from([0.0, 0.3]), st.integers(0, 9))
def test_in_every_world(world: World, managers: int, keeps: float, lies: float, seed: int) -> None:
    """Every task ends once, no slot is used twice, only offered agents work, outcomes match what was started."""
    build, made = watched(keeps, lies)
    simulation = Simulation(world, build, seed=seed, managers=managers)
    tally = simulation.run()
    assert tally.succeeded + tally.failed + tally.unfinished == tally.arrived == tally.counted == len(world.arrivals)
    assert len(tally.latencies_s) == tally.succeeded == tally.counted_successes
    assert [text for one in made for text in one.wrong] == []
    assert tally.errors == 0 or lies
    started = sorted((agent, task) for one in made for agent, task, _ in one.started_ids)
    ended = sorted((agent, task) for one in made for agent, task, _, _ in one.outcomes)
    running = sum(working.running for working in simulation.working.values())
    assert len(started) == len(ended) + running == tally.attempts
    assert tally.attempts <= world.terms.max_attempts * len(world.arrivals)
    assert all(most_at_once(made, agent.id) <= agent.slots for agent in world.agents)
    for agent_id, _, outcome, now in (end for one in made for end in one.outcomes):
        assert -1e-9 <= outcome.seconds <= world.terms.timeout_s + 1e-9
        assert now <= world.duration_s + 2000 and agent_id in simulation.working


def most_at_once(made: list[Anyone], agent_id: str) -> int:
    """The most attempts that all managers had on the agent at one time."""
    changes = [(at_s, 1) for one in made for agent, _, at_s in one.started_ids if agent == agent_id]
    changes += [(at_s, -1) for one in made for agent, _, _, at_s in one.outcomes if agent == agent_id]
    return max(accumulate(change for _, change in sorted(changes)), default=0)


@settings(max_examples=40, deadline=None)
@given(worlds(), st.integers(1, 3), st.integers(0, 5))
def test_the_same_again(world: World, managers: int, seed: int) -> None:
    found = [Simulation(world, watched(0.2)[0], seed=seed, managers=managers).run() for _ in range(2)]
    assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(arrival, st.floats(0, 20), st.floats(0.01, 5)), min_size=1, max_size=60), st.integers(1, 4))
def test_one_more_agent_makes_nobody_wait_longer(tasks: list[Arrival], count: int) -> None:
    waits = []
    for agents in (count, count + 1):
        world = small([SimAgent(f"a{n}", 1) for n in range(agents)], tasks)
        waits.append(Simulation(world, watched()[0], seed=1).run().waits_s)
    assert sum(waits[1]) <= sum(waits[0]) + 1e-9


def test_a_failed_task_goes_elsewhere_after_its_backoff() -> None:
    build, made = watched()
    agents = [SimAgent("bad", 1, fault=Fault(0.0, 1.0, 0.0)), SimAgent("good", 9)]
    tally = Simulation(small(agents, [arrival(float(n)) for n in range(20)]), build, seed=1).run()
    failures = [(task, now) for _, task, outcome, now in made[0].outcomes if not outcome.ok]
    assert failures and tally.succeeded == 20
    for task, now in failures:
        again = next(start for start in made[0].started_ids if start[1] == task and start[2] >= now)
        assert again[0] == "good" and again[2] >= now + QUICK_RETRY.initial_s - 1e-9
    assert all(o.seconds == pytest.approx(FASTEST_FAILURE_S) for a, _, o, _ in made[0].outcomes if a == "bad")


def test_an_agent_that_hangs_costs_the_timeout_and_an_attempt() -> None:
    build, made = watched()
    world = small([SimAgent("a", 1, spells=(Spell(0.0, math.inf, math.inf),))], [arrival(0.0)], PoolTerms(7.0, 2))
    tally = Simulation(world, build, seed=1).run()
    assert (tally.failed, tally.attempts, tally.failures) == (1, 2, 2)
    assert [outcome.seconds for *_, outcome, _ in made[0].outcomes] == [7.0, 7.0]


def test_a_task_that_is_kept_is_offered_again_soon() -> None:
    build, made = watched(keeps=0.9)
    tally = Simulation(small([SimAgent("a", 5)], [arrival(1.0)]), build, seed=2).run()
    assert tally.succeeded == 1 and tally.deferrals > 0
    assert made[0].started_ids[0][2] == pytest.approx(1.0 + tally.deferrals * KEPT_RETRY_S)
    assert tally.waits_s[0] == pytest.approx(tally.deferrals * KEPT_RETRY_S)


def test_a_strategy_that_never_chooses_is_given_up() -> None:
    tally = Simulation(small([SimAgent("a", 1)], [arrival(0.0)]), watched(keeps=1.0)[0], seed=1).run()
    assert (tally.unfinished, tally.counted, tally.counted_successes) == (1, 1, 0)


def test_patience_is_long_enough_for_every_attempt_of_a_task() -> None:
    build, made = watched()
    agents = [SimAgent("a", 1, spells=(Spell(0.0, 5_000.0, math.inf),))]
    world = small(agents, [arrival(0.0, 3_000.0)] * 2, PoolTerms(4_000.0, 3, QUICK_RETRY))
    tally = Simulation(world, build, seed=1).run()
    assert (tally.succeeded, tally.unfinished) == (2, 0)
    assert max(now for *_, now in made[0].outcomes) > 2 * PATIENCE_S


def test_a_replaced_agent_gets_nothing_more_and_finishes_what_it_has() -> None:
    build, made = watched()
    agents = [SimAgent("old", 2, leaves_s=5.0), SimAgent("new", 2, joins_s=5.0)]
    tally = Simulation(small(agents, [arrival(n / 2, 1.0) for n in range(20)]), build, seed=1).run()
    assert tally.succeeded == 20
    assert {agent: agent == "old" for agent, _, at_s in made[0].started_ids if at_s < 5.0} == {"old": True}
    assert {agent for agent, _, at_s in made[0].started_ids if at_s > 5.0} == {"new"}


def test_outliers_are_kept_from_tasks() -> None:
    world = scenarios.world("black_hole", Size(agents=20, slots=2, load=0.5, minutes=5), 1)
    wasted = []
    for share in (0.0, 0.3):
        tally = Simulation(world, built_in("least_connections"), seed=1, limits=Limits(max_share=share)).run()
        wasted.append(tally.failures / tally.attempts)
    assert wasted[1] < wasted[0] / 3


def test_managers_split_every_agents_slots() -> None:
    build, made = watched()
    world = small([SimAgent(f"a{n}", 5) for n in range(4)], [arrival(n / 20, 2.0) for n in range(300)])
    simulation = Simulation(world, build, seed=1, managers=3)
    tally = simulation.run()
    assert tally.succeeded == 300 and tally.errors == 0
    assert all(len(one.started_ids) > 50 for one in made)


class Sharing(Anyone):
    """Tells the others its own number; fails to listen every third time."""

    def __init__(self, rng: random.Random, number: int) -> None:
        super().__init__(rng)
        self.number = number
        self.heard: list[list[Any]] = []
        self.heard_at: list[float] = []

    def summary(self, now: float) -> dict[str, Any]:
        return {"number": self.number}

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        self.heard.append([summary["number"] for summary in summaries])
        self.heard_at.append(now)
        if len(self.heard) % 3 == 0:
            raise ValueError("not understood")

    def learned(self, now: float) -> dict[str, Any]:
        return {}

    def last_choices(self) -> Sequence[Mapping[str, Any]]:
        return []


def test_managers_share_what_they_learned_once_a_second() -> None:
    made: list[Sharing] = []

    def build(rng: random.Random) -> Sharing:
        made.append(Sharing(rng, len(made)))
        return made[-1]

    world = small([SimAgent("a", 6)], [arrival(n / 10, 0.5) for n in range(100)])
    tally = Simulation(world, build, seed=1, managers=3).run()
    assert tally.succeeded == 100
    assert [set(map(tuple, one.heard)) for one in made] == [{(1, 2)}, {(0, 2)}, {(0, 1)}]
    assert {len(one.heard) for one in made} <= {9, 10, 11}
    assert tally.errors == sum(len(one.heard) // 3 for one in made)


def test_nothing_is_shared_while_nothing_ends() -> None:
    """Five tasks in 28 days: each end is shared once, at the next whole second; after the last one there is no need."""
    made: list[Sharing] = []

    def build(rng: random.Random) -> Sharing:
        made.append(Sharing(rng, len(made)))
        return made[-1]

    days = [arrival(600_000.5 * n, 2.0) for n in range(5)]
    world = small([SimAgent("a", 2)], days, PoolTerms(60.0, 1))
    tally = Simulation(world, build, seed=1, managers=2).run()
    assert tally.succeeded == 5
    assert [one.heard_at for one in made] == [[3.0, 600_003.0, 1_200_004.0, 1_800_004.0]] * 2
