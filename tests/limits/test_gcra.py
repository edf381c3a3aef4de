"""The pure algorithm: what it lets pass, and what it promises about waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.gcra import EPSILON_S, Rate, take, take_all

NOW = 1_800_000_000.0
rates = st.builds(Rate, st.floats(0.001, 100_000.0), st.integers(1, 1000))
steps = st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(1, 20)), max_size=60)


def test_a_burst_passes_at_once_and_then_one_an_interval() -> None:
    rate, tat = Rate(2.0, 3), 0.0
    for _ in range(3):
        taken = take(tat, NOW, rate, 1)
        assert taken.wait_s == 0.0
        tat = taken.tat
    assert take(tat, NOW, rate, 1).wait_s == pytest.approx(0.5)
    assert take(tat, NOW + 0.5, rate, 1).wait_s == 0.0
    assert take(tat, NOW + 0.49, rate, 1).wait_s == pytest.approx(0.01, abs=1e-6)


@given(rates, steps)
def test_no_span_of_time_lets_more_pass_than_the_burst_and_the_rate(
    rate: Rate, arrivals: list[tuple[float, int]]
) -> None:
    now, tat, passed = 0.0, 0.0, list[tuple[float, int]]()
    for gap_s, units in arrivals:
        now += gap_s
        taken = take(tat, now, rate, units)
        if taken.wait_s == 0.0:
            tat = taken.tat
            passed.append((now, units))
    for first, (start, _) in enumerate(passed):
        total = 0
        for at, units in passed[first:]:
            total += units
            assert total <= rate.burst + (at - start) * rate.per_s * (1 + 1e-9) + 1e-3 * rate.per_s


@given(rates, st.integers(1, 1000), st.floats(0.0, 1e6), st.floats(0.0, 1e5))
def test_who_waits_as_told_passes(rate: Rate, units: int, now: float, ahead_s: float) -> None:
    units = min(units, rate.burst)
    taken = take(now + ahead_s, now, rate, units)
    if taken.wait_s > 0.0:
        again = take(now + ahead_s, now + taken.wait_s, rate, units)
        capped = take(min(now + ahead_s, now + rate.reach_s), now + taken.wait_s, rate, units)
        assert min(again.wait_s, capped.wait_s) <= EPSILON_S * 2
    assert taken.wait_s <= units * rate.interval_s * (1 + 1e-9) + EPSILON_S


@given(rates)
def test_a_state_left_by_a_slower_limit_does_not_lock_out_for_long(rate: Rate) -> None:
    assert take(NOW + 1e9, NOW, rate, 1).wait_s <= rate.interval_s + 1e-6


@given(st.lists(st.tuples(st.floats(-100.0, 100.0), rates, st.integers(1, 50)), max_size=5))
def test_all_give_or_none_does(asked: list[tuple[float, Rate, int]]) -> None:
    asked = [(NOW + tat, rate, min(units, rate.burst)) for tat, rate, units in asked]
    tats, which, wait_s = take_all(asked, NOW)
    single = [take(tat, NOW, rate, units) for tat, rate, units in asked]
    if all(item.wait_s == 0.0 for item in single):
        assert (tats, which, wait_s) == ([item.tat for item in single], None, 0.0)
    else:
        assert which is not None
        assert tats == [tat for tat, _, _ in asked]
        assert wait_s == single[which].wait_s == max(item.wait_s for item in single)
