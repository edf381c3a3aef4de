"""Prequal: hot and cold, the latency estimate, and what keeps tasks out of sinkholes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from app.dispatch.balancers.base import Outcome
from app.dispatch.balancers.prequal import CANDIDATES, NEAREST, RECENT, SHUN_S, Prequal, RecentQuantile, Record

from .offers import FAILED, TASK, agent, choices, idle, offer


def answering(seconds: dict[str, float], seed: int = 1) -> Prequal:
    """A balancer that saw each agent answer `NEAREST` times, idle before each."""
    balancer = Prequal(random.Random(seed))
    for _ in range(NEAREST):
        for agent_id, value in seconds.items():
            balancer.joined(agent(agent_id), 0.0)
            attempt(balancer, agent_id, Outcome(ok=True, seconds=value))
    return balancer


def attempt(balancer: Prequal, agent_id: str, outcome: Outcome, now: float = 0.0) -> None:
    balancer.started(agent_id, TASK, now)
    balancer.finished(agent_id, TASK, outcome, now)


def test_the_quickest_of_the_cold_is_chosen() -> None:
    balancer = answering({"quick": 1.0, "slow": 3.0, "middling": 2.0})
    assert set(choices(balancer, idle(["slow", "quick", "middling"]), 20)) == {"quick"}


def test_one_busier_than_usual_is_passed_over_however_quick() -> None:
    balancer = answering({"quick": 1.0, "slow": 3.0})
    usual = offer(*(agent(f"a{n}", in_flight=1) for n in range(16)))
    choices(balancer, usual, 8)
    assert balancer.choose(TASK, offer(agent("quick", in_flight=3), agent("slow", in_flight=1)), 0.0) == "slow"


def test_where_all_are_hot_the_least_busy_is_chosen() -> None:
    balancer = answering({"quick": 1.0, "slow": 3.0})
    choices(balancer, idle(f"a{n}" for n in range(16)), 1)  # 16 idle ones: above none in flight is hot
    offered = offer(agent("quick", in_flight=3), agent("slow", in_flight=2))
    assert balancer.choose(TASK, offered, 0.0) == "slow"


def test_load_is_a_share_of_slots() -> None:
    balancer = answering({"large": 1.0, "small": 2.0})
    offered = offer(agent("large", in_flight=5, slots=10), agent("small", in_flight=2, slots=4))
    assert set(choices(balancer, offered, 20)) == {"large"}


def test_equals_are_picked_from_at_random() -> None:
    assert set(choices(Prequal(random.Random(1)), idle("abc"), 60)) == set("abc")


def test_the_estimate_is_the_median_of_answers_begun_at_about_the_same_load() -> None:
    record = Record()
    assert record.estimate_s(0) is None
    for in_flight, seconds in [(0, 1.0), (0, 1.2), (0, 90.0), (1, 1.1), (1, 1.3), (8, 7.0), (8, 8.0), (9, 9.0)]:
        record.answered(in_flight, seconds)
    assert record.estimate_s(0) == pytest.approx(1.2)
    assert record.estimate_s(9) == pytest.approx(7.0)  # of 9, 8, 7 and the two newest begun at 1
    for _ in range(RECENT):
        record.answered(0, 4.0)
    assert record.estimate_s(9) == 4.0
    assert len(record.answers) == RECENT


def test_the_load_that_counts_is_that_at_the_start() -> None:
    balancer = answering({"a": 1.0})
    tasks = [replace(TASK, id=f"t{n}") for n in range(3)]
    for task in tasks:
        balancer.started("a", task, 0.0)
    for task in reversed(tasks):
        balancer.finished("a", task, Outcome(ok=True, seconds=5.0), 1.0)
    assert [in_flight for in_flight, _ in balancer._records["a"].answers[-3:]] == [2, 1, 0]
    assert balancer._records["a"].running == {}


def test_a_newcomer_counts_as_the_pools_median() -> None:
    balancer = answering({"quick": 1.0, "usual": 2.0, "slow": 9.0})
    newcomer = agent("new")
    assert balancer.latency_s(agent("quick")) < balancer.latency_s(newcomer) < balancer.latency_s(agent("slow"))


def test_failing_fast_looks_slow() -> None:
    balancer = answering({"healthy": 30.0, "sink": 30.0})
    for _ in range(3):
        attempt(balancer, "sink", FAILED)
    assert balancer.latency_s(agent("sink")) > 1.5 * balancer.latency_s(agent("healthy"))
    assert balancer.choose(TASK, offer(agent("healthy"), agent("sink")), 0.0) == "healthy"


def test_one_that_only_fails_is_left_out_for_a_while_even_if_the_others_are_hot() -> None:
    balancer = answering({"healthy": 30.0, "sink": 30.0})
    for _ in range(6):
        attempt(balancer, "sink", FAILED, now=100.0)
    choices(balancer, idle(f"a{n}" for n in range(16)), 8)
    offered = offer(agent("healthy", in_flight=3), agent("sink"))
    assert balancer.choose(TASK, offered, 100.0 + SHUN_S / 2) == "healthy"
    assert balancer.choose(TASK, offered, 100.0 + SHUN_S) == "sink"
    assert balancer.choose(TASK, idle(["sink"]), 101.0) == "sink"


def test_a_clock_that_steps_back_shuns_nobody_for_long() -> None:
    balancer = answering({"a": 1.0, "b": 1.0})
    for _ in range(6):
        attempt(balancer, "a", FAILED, now=1e6)
    assert not balancer._records["a"].shunned(5.0)


@pytest.mark.parametrize("silent", [{"counted": False}, {"agents_fault": False}])
def test_an_outcome_that_says_nothing_about_the_agent_teaches_nothing(silent: dict[str, bool]) -> None:
    balancer = answering({"a": 2.0})
    before = balancer.latency_s(agent("a"))
    for _ in range(10):
        attempt(balancer, "a", Outcome(ok=False, seconds=0.0, **silent))
    assert balancer.latency_s(agent("a")) == before
    assert balancer._records["a"].running == {}


def test_in_a_closed_loop_the_fast_half_does_more_and_the_sink_next_to_nothing() -> None:
    """20 agents of 4 slots, ten twice as slow, one of the quick failing at once; tasks end in order of their time."""
    events, balancer = random.Random(5), Prequal(random.Random(2))
    views = {f"a{n:02}": agent(f"a{n:02}") for n in range(20)}
    running: list[tuple[float, str, int, float]] = []
    served, now = Counter[str](), 0.0
    for number in range(6_000):
        now += events.expovariate(8.0)
        while running and running[0][0] <= now:
            end, name, task, seconds = running.pop(0)
            views[name].in_flight -= 1
            outcome = FAILED if name == "a00" else Outcome(ok=True, seconds=seconds)
            balancer.finished(name, replace(TASK, id=str(task)), outcome, end)
        free = offer(*(view for view in views.values() if view.in_flight < view.slots))
        if not len(free):
            continue
        chosen = balancer.choose(TASK, free, now)
        balancer.started(chosen, replace(TASK, id=str(number)), now)
        views[chosen].in_flight += 1
        served[chosen] += 1
        seconds = 0.001 if chosen == "a00" else events.expovariate(1.0 if chosen < "a10" else 0.5) * 4
        running.append((now + seconds, chosen, number, seconds))
        running.sort()
    quick, slow = (sum(served[name] for name in views if (name < "a10") == fast and name != "a00") for fast in (1, 0))
    assert quick / 9 > 1.3 * slow / 10
    assert served["a00"] < 0.25 * quick / 9


def test_a_quantile_of_the_recent() -> None:
    quantile = RecentQuantile(0.5, size=8)
    assert quantile.value == 0.0
    quantile.add([3.0])
    assert quantile.value == 3.0
    for _ in range(8):
        quantile.add([1.0, 2.0, 5.0])
    assert quantile.value == 2.0
    for _ in range(8):
        quantile.add([7.0])
    assert quantile.value == 7.0


def test_a_draw_of_candidates_is_compared() -> None:
    """One agent of 1,000 is quickest by far: it is drawn, and then chosen, 16 in 1,000 times."""
    balancer = answering({"quick": 0.1} | {f"a{n}": 5.0 for n in range(999)})
    picked = Counter(choices(balancer, idle(["quick", *(f"a{n}" for n in range(999))]), 4_000))
    assert picked["quick"] == pytest.approx(4_000 * CANDIDATES / 1_000, rel=0.4)
