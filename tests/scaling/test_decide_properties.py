"""What holds of every decision, and of many in a row."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, floor, nan

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.scaling.decide import STALE_S, Decision, Demand, History, decide
from app.scaling.erlang import slots_for
from app.scaling.policy import Floor, ScalePolicy

NOW = 1_800_000_000.0
TICK_S = 10.0
AT_REST = frozenset({"min", "max", "schedule", "raised", "budget", "quota"})

floors = st.builds(
    Floor, st.sampled_from(["* * * * *", "0 3 * * *", "*/30 8-18 * * 1-5"]), st.just(3600.0), st.integers(1, 8)
)


@st.composite
def policies(draw: st.DrawFn, kinds: tuple[str, ...] = ("queue_wait", "utilization")) -> ScalePolicy:
    most = draw(st.integers(0, 60))
    return ScalePolicy(
        policy=draw(st.sampled_from(kinds)),
        min=draw(st.integers(0, most)),
        max=most,
        wait_s=draw(st.floats(0.0, 120.0)),
        wait_share=draw(st.floats(0.001, 0.5)),
        drain_s=draw(st.floats(1.0, 600.0)),
        high=draw(st.floats(0.5, 1.0)),
        low=draw(st.floats(0.0, 0.4)),
        tolerance=draw(st.floats(0.0, 0.5)),
        down_window_s=draw(st.floats(0.0, 900.0)),
        max_up=draw(st.none() | st.integers(1, 10)),
        max_down=draw(st.none() | st.integers(1, 10)),
        idle_s=draw(st.floats(0.0, 900.0)),
        schedule=tuple(draw(st.lists(floors, max_size=2))),
        forecast=draw(st.booleans()),
        tokens_per_min=draw(st.none() | st.floats(1.0, 1e6)),
        requests_per_min=draw(st.none() | st.floats(1.0, 1e4)),
        replica_usd_per_hour=draw(st.none() | st.floats(0.01, 10.0)),
        max_usd_per_hour=draw(st.none() | st.floats(0.01, 100.0)),
    )


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    desired = draw(st.integers(0, 60))
    return Demand(
        at=NOW - draw(st.floats(0.0, STALE_S)),
        slots=draw(st.integers(1, 8)),
        desired=desired,
        ready=draw(st.integers(0, desired) | st.integers(0, 60)),
        arrivals_per_s=draw(st.floats(0.0, 5.0)),
        service_s=draw(st.none() | st.floats(0.0, 600.0)),
        service_cv=draw(st.floats(0.0, 5.0)),
        queued=draw(st.integers(0, 3) | st.integers(0, 2_000)),
        oldest_s=draw(st.floats(0.0, 3_600.0)),
        running=draw(st.integers(0, 3) | st.integers(0, 400)),
        tokens_per_task=draw(st.floats(0.0, 1e5)),
        requests_per_task=draw(st.floats(0.0, 50.0)),
        forecast_per_s=draw(st.none() | st.floats(0.0, 5.0)),
        quota=draw(st.none() | st.integers(0, 60)),
        raised=draw(st.just(0) | st.integers(0, 60)),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    ages = draw(st.lists(st.tuples(st.floats(0.0, 1_200.0), st.integers(0, 60)), max_size=8))
    busy = draw(st.none() | st.floats(0.0, 1_200.0))
    recommended = tuple(sorted((NOW - age, count) for age, count in ages))
    return History(recommended, None if busy is None else NOW - busy)


def hard_limit(policy: ScalePolicy, demand: Demand) -> int:
    return policy.max if demand.quota is None else min(policy.max, demand.quota)


def window_max(policy: ScalePolicy, history: History, decision: Decision) -> int:
    recent = [count for at, count in history.recommended if at > NOW - policy.down_window_s]
    return max([*recent, decision.recommended])


@given(policies(), demands(), histories())
def test_it_stays_within_the_bounds(policy: ScalePolicy, demand: Demand, history: History) -> None:
    decision = decide(policy, demand, history, NOW)
    limit = hard_limit(policy, demand)
    assert min(policy.min, limit) <= decision.desired <= limit


@given(policies(), demands(), histories())
def test_never_below_what_runs_and_never_zero_with_work(policy: ScalePolicy, demand: Demand, history: History) -> None:
    decision = decide(policy, demand, history, NOW)
    limit = hard_limit(policy, demand)
    assert decision.desired * demand.slots >= min(demand.running, limit * demand.slots)
    if demand.queued or demand.running:
        assert decision.desired >= min(1, limit)


@given(policies(), demands(), histories())
def test_the_same_again_changes_nothing(policy: ScalePolicy, demand: Demand, history: History) -> None:
    decision = decide(policy, demand, history, NOW)
    assert decide(policy, demand, history, NOW) == decision
    policy = replace(policy, max_up=None, max_down=None)
    decision = decide(policy, demand, history, NOW)
    again = decide(policy, replace(demand, desired=decision.desired), decision.history, NOW)
    assert again.desired == decision.desired


@given(
    policies(("queue_wait",)),
    demands(),
    histories(),
    st.floats(0.0, 5.0),
    st.integers(0, 500),
    st.integers(0, 100),
)
def test_more_load_never_gets_fewer(
    policy: ScalePolicy, demand: Demand, history: History, arrivals: float, queued: int, running: int
) -> None:
    less = decide(policy, demand, history, NOW)
    more = replace(
        demand,
        arrivals_per_s=demand.arrivals_per_s + arrivals,
        queued=demand.queued + queued,
        running=demand.running + running,
    )
    assert decide(policy, more, history, NOW).recommended >= less.recommended
    assert decide(policy, more, history, NOW).desired >= less.desired


@given(policies(("utilization",)), demands(), histories(), st.integers(0, 500), st.integers(0, 100))
def test_nor_does_more_use(policy: ScalePolicy, demand: Demand, history: History, queued: int, running: int) -> None:
    assume(demand.ready <= demand.desired)
    less = decide(policy, demand, history, NOW)
    more = decide(
        policy, replace(demand, queued=demand.queued + queued, running=demand.running + running), history, NOW
    )
    assert more.recommended >= less.recommended
    assert more.desired >= less.desired


@given(policies(), demands(), histories(), st.sampled_from(["stale", "ahead", "nan", "none"]))
def test_never_down_on_an_error(policy: ScalePolicy, demand: Demand, history: History, how: str) -> None:
    demand = replace(demand, desired=min(demand.desired, policy.max))
    broken = {
        "stale": replace(demand, at=NOW - STALE_S - 1.0),
        "ahead": replace(demand, at=NOW + STALE_S + 1.0),
        "nan": replace(demand, arrivals_per_s=nan),
        "none": None,
    }[how]
    decision = decide(policy, broken, history, NOW)
    assert decision.code == "frozen"
    assert decision.history == history
    if broken:
        assert decision.desired >= demand.desired
    else:
        assert decision.desired >= min(policy.max, max((count for _, count in history.recommended), default=0))


@given(policies(), demands(), histories())
def test_it_shrinks_no_further_than_the_window_allows(policy: ScalePolicy, demand: Demand, history: History) -> None:
    policy = replace(policy, tokens_per_min=None, requests_per_min=None, max_usd_per_hour=None)
    decision = decide(policy, demand, history, NOW)
    allowed = min(window_max(policy, history, decision), demand.desired, hard_limit(policy, demand))
    assert decision.desired >= allowed
    if policy.max_down is not None and decision.code not in AT_REST:
        assert demand.desired - decision.desired <= policy.max_down


@given(policies(), demands(), histories())
def test_it_grows_no_further_than_a_step_but_for_what_must_be(
    policy: ScalePolicy, demand: Demand, history: History
) -> None:
    assume(policy.max_up is not None)
    decision = decide(policy, demand, history, NOW)
    must = max(policy.min, ceil(demand.running / demand.slots))
    assert decision.desired <= max(demand.desired + (policy.max_up or 0), must)


@given(policies(("queue_wait",)), demands(), histories(), st.floats(1.0, 1e5))
def test_growth_ends_where_the_provider_s_rate_does(
    policy: ScalePolicy, demand: Demand, history: History, per_min: float
) -> None:
    assume(demand.service_s and demand.tokens_per_task > 0.01)
    policy = replace(policy, min=0, schedule=(), tokens_per_min=per_min, requests_per_min=None)
    demand = replace(demand, raised=0)
    useful = per_min / 60.0 / demand.tokens_per_task * (demand.service_s or 0.0) / demand.slots
    decision = decide(policy, demand, history, NOW)
    assert decision.desired <= max(demand.desired, ceil(useful), ceil(demand.running / demand.slots), 1)


@given(policies(), demands(), histories())
def test_a_reason_is_one_line_and_workings_are_finite(policy: ScalePolicy, demand: Demand, history: History) -> None:
    decision = decide(policy, demand, history, NOW)
    assert decision.reason.startswith(
        f"stays at {decision.desired}: "
        if decision.desired == demand.desired
        else f"{demand.desired} → {decision.desired}: "
    )
    assert "\n" not in decision.reason
    assert len(decision.reason) < 400
    assert all(abs(value) < 1e12 for value in decision.workings.values())
    assert len(decision.history.recommended) <= 64


@given(policies(), demands(), st.lists(st.integers(1, 120), min_size=2, max_size=40))
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_its_memory_of_a_window_is_right_for_its_highest(policy: ScalePolicy, demand: Demand, gaps: list[int]) -> None:
    """What is kept gives the highest of the window, no lower, and higher only by what is as old as a merged entry."""
    policy = replace(policy, schedule=(), forecast=False, tokens_per_min=None, requests_per_min=None)
    rng, history, at = random.Random(sum(gaps)), History(), NOW
    told: list[tuple[float, int]] = []
    for gap in gaps:
        at += gap
        demand = replace(demand, at=at, queued=rng.randrange(60), running=0)
        decision = decide(policy, demand, history, at)
        told.append((at, decision.recommended))
        history = decision.history
        exact = [count for when, count in told if when > at - policy.down_window_s]
        width = max(5.0, policy.down_window_s / 60.0)
        loose = [count for when, count in told if when > at - policy.down_window_s - width]
        held = max((count for when, count in history.recommended if when > at - policy.down_window_s), default=0)
        assert max(exact, default=0) <= held <= max([*loose, demand.desired])


@dataclass
class Pool:
    """A pool without chance: replicas are ready `cold_s` after they were asked for, `broken` ones never."""

    policy: ScalePolicy
    service_s: float = 60.0
    slots: int = 2
    cold_s: float = 40.0
    broken: bool = False
    now: float = NOW
    ready: int = 0
    queued: float = 0.0
    running: float = 0.0
    oldest_s: float = 0.0
    starting: deque[float] = field(default_factory=deque)
    history: History = field(default_factory=History)
    sizes: list[int] = field(default_factory=list)

    @property
    def desired(self) -> int:
        return self.ready + len(self.starting)

    def run(self, seconds: float, rate: float, noise: Callable[[], float] = lambda: 1.0) -> list[int]:
        """`rate` tasks/s come for so long, times `noise()` are measured. The sizes after each tick."""
        self.sizes = []
        for _ in range(int(seconds / TICK_S)):
            self.now += TICK_S
            self._work(rate)
            self._decide(rate, noise())
            self.sizes.append(self.desired)
        return self.sizes

    def _work(self, rate: float) -> None:
        while self.starting and self.starting[0] <= self.now and not self.broken:
            self.starting.popleft()
            self.ready += 1
        going_on = self.running * max(0.0, 1.0 - TICK_S / self.service_s)
        work = going_on + self.queued + rate * TICK_S
        self.running = min(work, max(going_on, float(self.ready * self.slots)))
        self.queued = work - self.running
        self.oldest_s = self.oldest_s + TICK_S if self.queued >= 1.0 else 0.0

    def _decide(self, rate: float, noise: float) -> None:
        demand = Demand(
            at=self.now,
            slots=self.slots,
            desired=self.desired,
            ready=self.ready,
            arrivals_per_s=rate * noise,
            service_s=self.service_s,
            queued=round(self.queued),
            oldest_s=self.oldest_s,
            running=round(self.running),
        )
        decision = decide(self.policy, demand, self.history, self.now)
        self.history = decision.history
        self.starting.extend([self.now + self.cold_s] * max(0, decision.desired - self.desired))
        while self.desired > decision.desired:
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1

    def needed(self, rate: float) -> int:
        load = rate * self.service_s
        return ceil(slots_for(load, self.service_s, self.policy.wait_s, self.policy.wait_share) / self.slots)


def changes(sizes: list[int]) -> int:
    return sum(before != after for before, after in pairwise(sizes))


pools = st.builds(
    Pool,
    st.just(ScalePolicy(max=500)),
    service_s=st.floats(15.0, 300.0),
    slots=st.integers(1, 4),
    cold_s=st.floats(0.0, 120.0),
)
rates = st.floats(0.02, 1.0)


@given(pools, rates, st.integers(0, 10_000))
@settings(max_examples=40)
def test_ten_percent_of_noise_changes_it_a_few_times_an_hour(pool: Pool, rate: float, seed: int) -> None:
    rng = random.Random(seed)

    def noise() -> float:
        return rng.uniform(0.9, 1.1)

    pool.run(1_800.0, rate, noise)
    # What goes up stays up for a window: once up and once down in each is the most there could be.
    assert changes(pool.run(3_600.0, rate, noise)) <= 2 * 3_600.0 / pool.policy.down_window_s


@given(pools, rates)
@settings(max_examples=40)
def test_an_even_load_ends_in_no_changes_at_all(pool: Pool, rate: float) -> None:
    pool.run(1_800.0, rate)
    assert changes(pool.run(3_600.0, rate)) == 0


@given(pools, rates, rates)
@settings(max_examples=40)
def test_after_a_step_it_is_there_within_the_cold_start_and_a_few_ticks(
    pool: Pool, before: float, after: float
) -> None:
    pool.run(1_800.0, before)
    pool.run(pool.cold_s + 4 * TICK_S, after)
    enough = pool.needed(after) * (1.0 - pool.policy.tolerance)
    assert pool.ready >= floor(enough)
    pool.run(1_800.0, after)
    assert pool.queued < 1.0
    assert floor(enough) <= pool.ready <= ceil(pool.needed(after) * (1.0 + pool.policy.tolerance)) + 1


@given(pools, rates)
@settings(max_examples=40)
def test_from_nothing_the_first_task_starts_it_at_once(pool: Pool, rate: float) -> None:
    assert pool.run(TICK_S, max(rate, 0.06))[0] >= 1
    pool.run(1_800.0, rate)
    gone = pool.run(3_600.0, 0.0)
    assert gone[-1] == 0
    assert gone == sorted(gone, reverse=True)


@given(pools, rates)
@settings(max_examples=40)
def test_replicas_that_never_become_ready_do_not_call_for_ever_more(pool: Pool, rate: float) -> None:
    pool.broken = True
    sizes = pool.run(7_200.0, rate)
    assert sizes[-1] <= max(sizes[:6]) <= 3 * pool.needed(rate) + 2
