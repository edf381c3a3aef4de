"""The engine: what must hold in every world, and what it costs."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scaling.simulator import traces
from app.scaling.simulator.compare import Comparison
from app.scaling.simulator.engine import Simulation
from app.scaling.simulator.policies import build, parsed
from app.scaling.simulator.tally import measures
from app.scaling.simulator.world import Bounds, Gap, needed_slots
from tests.scaling.simulator.worlds import Scripted, small

tasks_of = st.lists(st.tuples(st.floats(0, 500), st.floats(0.1, 200)), max_size=60)


@settings(max_examples=100, deadline=None)
@given(tasks_of, st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_every_arrival_finishes_once_and_no_slot_is_used_twice(
    tasks: list[tuple[float, float]], numbers: list[int], slots: int, replicas: int
) -> None:
    simulation = Simulation(
        small(tasks, bounds=Bounds(0, 8, slots, 20.0), replicas=replicas), Scripted([*numbers, 1], 15.0)
    )
    tally = simulation.run()
    assert tally.finished == tally.arrived == len(tasks) == len(tally.waits_s)
    assert min(tally.waits_s, default=0.0) >= 0.0
    fleet = simulation.fleet
    assert (fleet.running, fleet.serving, fleet.draining, len(fleet.queue)) == (0, 0, 0, 0)
    assert max(tally.replicas) <= 8 + 8 * slots  # those that leave may still have tasks


@pytest.mark.parametrize(("replicas", "slots"), [(1, 1), (2, 3), (4, 2)])
def test_waits_are_those_of_first_come_first_served(replicas: int, slots: int) -> None:
    rng = random.Random(7)
    tasks = sorted((rng.uniform(0, 5000), rng.expovariate(replicas * slots / 100)) for _ in range(80))
    tally = Simulation(
        small(tasks, bounds=Bounds(replicas, replicas, slots, 9.0), replicas=replicas, duration_s=5000), Scripted([0])
    ).run()
    free = [0.0] * (replicas * slots)
    waits = []
    for at_s, service_s in tasks:
        start_s = max(at_s, heapq.heappop(free))
        waits.append(start_s - at_s)
        heapq.heappush(free, start_s + service_s)
    assert list(tally.waits_s) == pytest.approx(waits)


def test_a_new_replica_serves_after_its_cold_start() -> None:
    """One slot is busy for 100 s; the second replica, wanted at 10 s, takes the waiting task."""
    tally = Simulation(small([(0, 100), (1, 5)], bounds=Bounds(1, 2, 1, 30.0)), Scripted([2])).run()
    assert 10 + 15 < 1 + tally.waits_s[1] < 10 + 60
    assert tally.changes == 1


def test_a_replica_that_leaves_finishes_what_it_runs_and_takes_nothing_new() -> None:
    scripted = Scripted([1])
    world = small([(0, 100), (0, 100), (20, 5), (150, 5)], bounds=Bounds(1, 2, 1, 30.0), replicas=2, duration_s=300)
    tally = Simulation(world, scripted).run()
    assert list(tally.waits_s) == pytest.approx([0, 0, 80, 0])
    assert tally.replica_s == pytest.approx(300 + 100)  # it cost until its task was done
    assert [size.wanted for _, _, size in scripted.seen[:3]] == [2, 1, 1]


def test_those_that_are_starting_leave_first_then_the_idle() -> None:
    world = small([(0, 400)], bounds=Bounds(1, 5, 1, 60.0), replicas=2, duration_s=400)
    tally = Simulation(world, Scripted([4, 2, 1])).run()
    assert tally.replica_s == pytest.approx(2 * 10 + 4 * 10 + 2 * 10 + 1 * 370)


def test_bounds_hold_whatever_is_wanted() -> None:
    scripted = Scripted([99, 0, 99])
    Simulation(small([(0, 1)], bounds=Bounds(2, 3, 1, 5.0), replicas=2, duration_s=100), scripted).run()
    assert {size.wanted for _, _, size in scripted.seen} == {2, 3}


def test_a_pool_that_never_gets_a_replica_is_given_up() -> None:
    with pytest.raises(RuntimeError, match="wants no replica"):
        Simulation(small([(0, 1)], bounds=Bounds(0, 3, 1, 5.0), replicas=0), Scripted([0], 3600.0)).run()


def test_gaps_in_the_metrics() -> None:
    gaps = (Gap(25, 45, "missing"), Gap(65, 85, "stale"))
    scripted = Scripted([1])
    Simulation(small([(0, 30), (0, 8), (60, 4), (66, 1)], gaps=gaps, duration_s=100), scripted).run()
    seen = {now: reading for now, reading, _ in scripted.seen}
    assert seen[30.0] is None and seen[40.0] is None
    assert seen[50.0] is not None and seen[50.0].ended_s == (30,)  # told once the metrics are back
    assert seen[70.0] == seen[80.0] and seen[70.0] is not None
    assert (seen[70.0].at_s, seen[70.0].counts.running) == (65.0, 0)
    assert seen[90.0] is not None and seen[90.0].at_s == 90.0 and seen[90.0].ended_s == (4, 1)


def test_noise_is_of_the_counts_and_the_same_for_all() -> None:
    world = small([(0, 500)] * 100, bounds=Bounds(1, 50, 2, 30.0), replicas=50, noise=0.1, duration_s=400)
    runs = [Scripted([50]), Scripted([50])]
    for scripted in runs:
        Simulation(world, scripted).run()
    counts = [[reading.counts.running for now, reading, _ in one.seen if reading and now < 400] for one in runs]
    assert counts[0] == counts[1] and len(set(counts[0])) > 5
    assert 70 < min(counts[0]) < 100 < max(counts[0]) < 130


@pytest.mark.parametrize("name", list(traces.TRACES))
def test_the_same_again(name: str) -> None:
    found = []
    for _ in range(2):
        contenders = [parsed(text) for text in ("queue_wait", "utilization", "hpa", "kpa", "keda")]
        compared = Comparison(
            contenders,
            [name],
            lambda trace, seed: traces.world(trace, seed, hours=0.5),
            lambda contender, world: build(contender, {}, world, 5.0),
        )
        assert len(list(compared.run([1, 2]))) == 10
        found.append(compared.found[0].measures(30.0))
    assert found[0] == found[1]
    assert all(one.lost == 0 and one.tasks > 100 for one in found[0])


def test_the_first_part_is_not_counted() -> None:
    world = traces.world("step", 1, hours=0.5)
    tally = Simulation(world, Scripted([8], 60.0)).run()
    assert tally.arrived == tally.finished > len(tally.waits_s)
    assert len(tally.waits_s) == sum(task.at_s >= traces.WARM_UP_S for task in world.tasks)
    assert tally.counted_s == 1800.0 and tally.replica_s == pytest.approx(8 * 1800.0) and tally.changes == 0


def test_the_measures_of_several_seeds_are_medians() -> None:
    runs = [
        Simulation(small([(0, 60), (0, service_s), (1, 5)], duration_s=3600.0), Scripted([1])).run()
        for service_s in (10, 20, 50)
    ]
    found = measures("any", runs, wait_s=15.0, usd_per_hour=3.0)
    assert (found.tasks, found.violations, found.max_s) == (3, 1, 19.0)
    assert (found.replica_hours, found.usd, found.lost) == (1.0, 3.0, 0)
    assert found.share == pytest.approx(1 / 3)


def test_needed_slots() -> None:
    world = small([(0, 10), (5, 10), (12, 1)])
    assert needed_slots(world.tasks, [0, 4, 5, 9.9, 10, 12.5, 16]) == [1, 1, 2, 2, 1, 2, 0]
