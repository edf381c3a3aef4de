"""What a record makes of an agent's results: slowness against noise, excess failures, decay, warm-up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.balancers.ai.record import (
    MOST_BELIEVED,
    MOST_SPENT,
    PRIOR,
    WARM_UP_COST,
    WARM_UP_S,
    Record,
    believed,
    slowness,
)

sums = st.floats(0, 1e6)
priors = st.floats(1 / MOST_BELIEVED, MOST_BELIEVED)


def record(now: float = 0.0) -> Record:
    return Record("a", "v1", "v1", now)


@pytest.mark.parametrize(
    ("spent", "answers", "prior", "least", "most"),
    [
        (0.0, 0.0, 1.0, 1.0, 1.0),  # nothing known
        (6.0, 1.0, 1.0, 1.0, 1.0),  # one huge task is noise
        (30.0, 20.0, 1.0, 1.0, 1.0),  # so is half as much again over twenty
        (400.0, 200.0, 1.0, 1.4, 2.0),  # twice as slow over two hundred is not
        (100.0, 200.0, 1.0, 0.5, 0.7),  # nor is twice as fast
        (0.0, 0.0, 2.0, 2.0, 2.0),  # the operator says so
        (200.0, 200.0, 2.0, 0.99, 1.03),  # the answers say otherwise
    ],
)
def test_slowness(spent: float, answers: float, prior: float, least: float, most: float) -> None:
    assert least - 1e-9 <= slowness(spent, answers, prior) <= most + 1e-9


@given(sums, sums, priors)
def test_slowness_is_positive_and_finite(spent: float, answers: float, prior: float) -> None:
    assert 0.0 < slowness(spent, answers, prior) < math.inf


@given(sums, sums, sums, priors)
def test_more_time_spent_is_never_faster(spent: float, more: float, answers: float, prior: float) -> None:
    assert slowness(spent, answers, prior) <= slowness(spent + more, answers, prior) * (1 + 1e-9)


@given(sums, sums)
def test_slowness_lies_between_normal_and_the_plain_mean(spent: float, answers: float) -> None:
    mean = (PRIOR + spent) / (PRIOR + answers)
    assert min(1.0, mean) - 1e-9 <= slowness(spent, answers) <= max(1.0, mean) + 1e-9


@pytest.mark.parametrize(("weight", "slower"), [(5, 1.0), (10, 0.5), (2.5, 2.0), (1, 2.0), (100, 0.5)])
def test_a_weight_is_believed_within_limits(weight: float, slower: float) -> None:
    assert believed(weight, 5.0) == slower


def test_one_answer_counts_for_so_much_at_most() -> None:
    one = record()
    one.count(True, 1e9, 0.0)
    assert one.spent == MOST_SPENT


def test_a_failure_is_no_answer() -> None:
    one = record()
    one.count(False, 0.001, 0.02)
    assert (one.answers, one.spent, one.attempts) == (0.0, 0.0, 1.0)
    assert one.excess == pytest.approx(0.98)


def test_excess_failures_count_when_they_are_more_than_chance() -> None:
    lossy, usual = record(), record()
    for n in range(100):
        lossy.count(n % 3 != 0, 1.0, 0.02)
        usual.count(n % 20 != 0, 1.0, 0.05)
    lossy.judge(5.0)
    usual.judge(5.0)
    assert lossy.excess_rate == pytest.approx(0.24, abs=0.04)
    assert usual.excess_rate == 0.0


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=20))
def test_decay_in_steps_is_decay_at_once(steps: list[float]) -> None:
    one, other = record(), record()
    for each in (one, other):
        each.count(True, 2.0, 0.0)
        each.peer = (1.0, 1.0, 0.0, 1.0)
    now = 0.0
    for step in steps:
        now += step
        one.decay(now, 120.0)
    other.decay(now, 120.0)
    assert one.spent == pytest.approx(other.spent, rel=1e-6, abs=1e-2)
    assert one.peer == pytest.approx(other.peer, rel=1e-6, abs=1e-2)


@given(st.lists(st.floats(-1e9, 1e9), max_size=30))
def test_no_clock_breaks_a_record(times: list[float]) -> None:
    one = record()
    one.warm_since = 0.0
    for now in times:
        one.decay(now, 120.0)
        one.count(now > 0, abs(now), 0.1)
        one.judge(5.0)
        assert 1.0 <= one.warmth(now) <= 1.0 + WARM_UP_COST
        assert 0.0 < one.slowness < math.inf
        assert 0.0 <= one.excess_rate <= 1.0
        assert one.attempts <= len(times)


def test_hours_asleep_forget_everything() -> None:
    one = record()
    for _ in range(200):
        one.count(False, 1.0, 0.0)
    one.decay(36_000.0, 120.0)
    one.judge(5.0)
    assert (one.attempts, one.excess_rate, one.slowness) == (pytest.approx(0.0), 0.0, 1.0)


def test_what_happened_before_does_not_touch_a_warm_up() -> None:
    one = record()
    one.warm_since = 100.0
    assert one.warmth_then(10.0) == 1.0
    one.readmit(10.0)
    assert one.warm_since == 100.0
    assert one.warmth_then(100.0) == one.warmth(100.0) == 1.0 + WARM_UP_COST
    one.readmit(110.0)
    assert one.warm_since == 110.0


def test_a_clock_that_steps_back_does_not_prolong_a_warm_up() -> None:
    one = record()
    one.warm_since = 100_000.0
    assert one.warmth(50.0) == 1.0 + WARM_UP_COST
    assert one.warmth(50.0 + WARM_UP_S) == 1.0


def test_warm_up_ends() -> None:
    one = record()
    one.warm_since = 100.0
    factors = [one.warmth(100.0 + share * WARM_UP_S) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert factors == pytest.approx([3.0, 2.5, 2.0, 1.5, 1.0])
    assert one.warm_since is None
