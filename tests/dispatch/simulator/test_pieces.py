"""The engine's parts, the scenarios and the measures."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.quantiles import quantile
from app.dispatch.balancers.base import TaskView
from app.dispatch.simulator import scenarios, sizes
from app.dispatch.simulator.engine import Simulation
from app.dispatch.simulator.scenarios import SCENARIOS, Size, UnknownScenario
from app.dispatch.simulator.tally import Measures, Tally, measures, recommended
from app.dispatch.simulator.waiting import TRIED_BEHIND, Waiting
from app.dispatch.simulator.working import Attempt, Working
from app.dispatch.simulator.world import Fault, SimAgent, Spell
from tests.dispatch.simulator.worlds import built_in, watched

SMALL = Size(agents=20, slots=5, load=0.8, minutes=3)


def ends(truth: SimAgent, works: list[float], contention: float = 0.0) -> list[float]:
    """When attempts that start together at 0 end, spells followed."""
    working = Working(truth, contention)
    for number, work_s in enumerate(works):
        working.start(Attempt(number, working, 0, 0.0, False), work_s, 0.0)
    changes = sorted(time for time in working.spell_times() if time > 0)
    found = []
    while working.running and (changes or working.next_end_s() < math.inf):
        if changes and changes[0] <= working.next_end_s():
            working.spell_changed(changes.pop(0))
        else:
            now = working.next_end_s()
            working.end_next(now)
            found.append(now)
    return found


@pytest.mark.parametrize(
    ("spells", "contention", "works", "expected"),
    [
        ((), 0.0, [1.0, 2.0], [1.0, 2.0]),
        ((Spell(1.0, 3.0, 2.0),), 0.0, [1.5, 4.0], [2.0, 5.0]),
        ((Spell(0.0, 9.0, math.inf),), 0.0, [1.0], [10.0]),
        ((Spell(1.0, math.inf, math.inf),), 0.0, [0.5, 2.0], [0.5]),
        ((), 1.0, [1.0], [1.0]),
        ((), 1.0, [1.0, 2.0], [2.0, 3.0]),  # two slots, both in use: half the speed until one ends
        ((Spell(0.0, 1.0, 2.0), Spell(0.5, 1.0, 2.0)), 0.0, [1.0], [1.625]),
    ],
)
def test_how_long_work_takes(
    spells: tuple[Spell, ...], contention: float, works: list[float], expected: list[float]
) -> None:
    assert ends(SimAgent("a", 2, spells=spells), works, contention) == pytest.approx(expected)


def queue_of(*kinds: str) -> Waiting:
    waiting = Waiting()
    for number, kind in enumerate(kinds):
        waiting.add(number, TaskView(str(number), kind))
    return waiting


def test_the_queue_is_served_in_order_and_those_who_return_go_first() -> None:
    waiting = queue_of("x", "y", "x")
    waiting.add(9, TaskView("9", "y"), first=True)
    served: list[int] = []
    assert not waiting.serve(lambda number, _: served.append(number) is None)
    assert served == [9, 0, 1, 2] and len(waiting) == 0


def test_a_task_that_is_kept_does_not_block_those_behind_it() -> None:
    waiting, offered = queue_of("x", "x", "y", "x"), []

    def take(number: int, view: TaskView) -> bool | None:
        offered.append(number)
        return view.type == "y"

    assert waiting.serve(take)
    assert offered == [0, 1, 2, 3] and len(waiting) == 3
    assert waiting.serve(lambda *_: False) and len(waiting) == 3
    assert not waiting.serve(lambda *_: None) and len(waiting) == 3


def test_one_pass_over_a_long_queue_is_short() -> None:
    waiting, offered = queue_of(*["x"] * 100, "y"), []

    def take(number: int, _: TaskView) -> bool | None:
        offered.append(number)
        return False

    waiting.serve(take)
    assert offered == [*range(TRIED_BEHIND), 100]


def test_sizes() -> None:
    rng = random.Random(1)
    found = [sizes.drawn(5.0, rng) for _ in range(60_000)]
    ordered = sorted(size for size, _ in found)
    assert fmean(ordered) == pytest.approx(sizes.true_mean_s(5.0), rel=0.02)
    assert quantile(ordered, 0.99) / quantile(ordered, 0.5) == pytest.approx(10.0, rel=0.08)
    assert ordered[-1] <= sizes.LONGEST * 5.0
    assert all(0 <= complexity <= 1 for _, complexity in found)
    long, short = ([c for size, c in found if (size > 10) is wanted] for wanted in (True, False))
    assert fmean(long) > fmean(short) + 0.2


@pytest.mark.parametrize("name", [*SCENARIOS, "uneven+black_hole", "skills+rollout+bursty"])
def test_every_scenario_brings_the_load_it_was_asked_for(name: str) -> None:
    world = scenarios.world(name, SMALL, 1)
    assert world == scenarios.world(name, SMALL, 1) != scenarios.world(name, SMALL, 2)
    assert len({agent.id for agent in world.agents}) == len(world.agents) >= SMALL.agents
    assert [task.at_s for task in world.arrivals] == sorted(task.at_s for task in world.arrivals)
    work_s = sum(task.size_s for task in world.arrivals)
    able_s = sum(agent.slots * scenarios.useful_s(agent, world.duration_s) for agent in world.agents)
    assert work_s * (1 + world.contention) / able_s == pytest.approx(SMALL.load, rel=0.25)
    tally = Simulation(world, built_in("least_connections"), seed=1).run()
    assert tally.succeeded + tally.failed + tally.unfinished == tally.arrived
    assert tally.counted < tally.arrived, "the warm-up is not counted"
    assert tally.errors == 0


@pytest.mark.parametrize(
    ("agent", "seconds"),
    [
        (SimAgent("a", 1), 100.0),
        (SimAgent("a", 1, slower=2.0, joins_s=20.0, leaves_s=60.0), 20.0),
        (SimAgent("a", 1, spells=(Spell(10.0, 30.0, 4.0), Spell(90.0, math.inf, math.inf))), 75.0),
        (SimAgent("a", 1, fault=Fault(50.0, 0.3)), 85.0),
    ],
)
def test_what_an_agent_can_do(agent: SimAgent, seconds: float) -> None:
    assert scenarios.useful_s(agent, 100.0) == pytest.approx(seconds)


def test_one_agent_and_the_smallest_pool_work() -> None:
    for name in SCENARIOS:
        world = scenarios.world(name, Size(agents=1, slots=1, load=0.5, minutes=1), 1)
        tally = Simulation(world, watched()[0], seed=1).run()
        assert tally.succeeded + tally.failed + tally.unfinished == tally.arrived


def test_an_unknown_scenario_has_neighbours() -> None:
    with pytest.raises(UnknownScenario, match="blackhole") as caught:
        scenarios.world("uneven+blackhole", SMALL, 1)
    assert caught.value.near[0] == "black_hole"


def measured(name: str, p99_s: float, goodput: float) -> Measures:
    return Measures(name, 10, 1, 2, p99_s, goodput, 0, 0, 1, 0, 0, 0, 0.0, (1.0, 2.0))


def test_the_recommended_one_is_fast_among_those_that_lose_nothing() -> None:
    found = [measured("fast", 10, 0.98), measured("good", 20, 0.9985), measured("best", 30, 1.0)]
    assert recommended(found) is found[1]
    assert recommended([]) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_quantiles_stay_within(values: list[float], share: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= quantile(ordered, share) <= ordered[-1]


def test_measures_are_means_over_the_seeds() -> None:
    first, second = Tally(arrived=2), Tally(arrived=2)
    for run, latencies in ((first, [1.0, 3.0]), (second, [5.0])):
        run.latencies_s.extend(latencies)
        run.counted, run.counted_successes, run.attempts, run.failures = 2, len(latencies), 4, 4 - len(latencies)
        run.busy, run.choices, run.choice_s = [0.5, 1.0], 4, 8e-6
    found = measures("s", [first, second])
    assert (found.p50_s, found.goodput, found.wasted) == (3.5, 0.75, 0.625)
    assert found.unevenness == pytest.approx(4 / 3)
    assert found.choice_us == pytest.approx(2.0)
    assert found.curve_s[0] == 1.0 and found.curve_s[-1] == 5.0
    nothing = measures("none", [Tally()])
    assert (nothing.goodput, nothing.p99_s, nothing.curve_s) == (0.0, 0.0, ())
