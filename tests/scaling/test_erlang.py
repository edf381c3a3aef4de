"""Erlang's formulas against exact fractions, the birth–death equations, and themselves."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.scaling.erlang import slots_for, wait_probability, wait_tail

loads = st.floats(1e-6, 2_000.0)
shares = st.floats(1e-6, 0.9)
services = st.floats(0.1, 7_200.0)
waits = st.floats(0.0, 600.0)


def closed_form(slots: int, load: Fraction) -> Fraction:
    """C(c, a) as every textbook writes it, with factorials."""
    waiting = load**slots / math.factorial(slots) * slots / (slots - load)
    return waiting / (sum(load**n / math.factorial(n) for n in range(slots)) + waiting)


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 17, 60, 150])
@pytest.mark.parametrize("busy", [Fraction(1, 1000), Fraction(1, 3), Fraction(9, 10), Fraction(999, 1000)])
def test_the_wait_probability_is_that_of_the_closed_form(slots: int, busy: Fraction) -> None:
    load = busy * slots
    assert wait_probability(slots, float(load)) == pytest.approx(float(closed_form(slots, load)), rel=1e-10, abs=1e-300)


@pytest.mark.parametrize(("load", "slots"), [(2, 5), (10, 15), (20, 26), (60, 67), (120, 128), (240, 249)])
def test_the_checkpoints_at_120_s_of_work_and_5_percent_over_30_s(load: float, slots: int) -> None:
    assert slots_for(load, 120.0, 30.0, 0.05) == slots


@given(st.floats(0.001, 0.999))
def test_one_slot_is_busy_for_the_load_s_share(load: float) -> None:
    assert wait_probability(1, load) == pytest.approx(load)


@given(st.floats(0.001, 1.999))
def test_two_slots_have_a_simple_form(load: float) -> None:
    assert wait_probability(2, load) == pytest.approx(load * load / (2.0 + load))


@given(st.integers(1, 40), st.floats(0.05, 0.9))
def test_it_is_the_stationary_state_of_births_and_deaths(slots: int, busy: float) -> None:
    load = busy * slots
    states = [1.0]
    for count in range(1, slots + 2_000):
        states.append(states[-1] * load / min(count, slots))
    whole = math.fsum(states)
    waiting = wait_probability(slots, load)
    assert waiting == pytest.approx(math.fsum(states[slots:]) / whole, rel=1e-9)
    queue = math.fsum((count - slots) * state for count, state in enumerate(states) if count > slots) / whole
    # Little's law: the mean queue is λ times the mean wait, the integral of its tail.
    assert waiting * load / (slots - load) == pytest.approx(queue, rel=1e-6)


@given(loads, services, waits)
def test_the_tail_begins_at_the_wait_probability_and_falls_by_the_spare_rate(
    load: float, service_s: float, t_s: float
) -> None:
    slots = math.floor(load) + 3
    waiting = wait_probability(slots, load)
    assert wait_tail(slots, load, service_s, 0.0) == pytest.approx(waiting)
    expected = waiting * math.exp(-(slots - load) * t_s / service_s)
    assert wait_tail(slots, load, service_s, t_s) == pytest.approx(expected)


@given(loads, services, waits, shares, st.floats(0.0, 4.0))
def test_it_finds_the_fewest_slots(load: float, service_s: float, t_s: float, share: float, cv: float) -> None:
    slots = slots_for(load, service_s, t_s, share, cv)
    assert slots > load
    assert wait_tail(slots, load, service_s, t_s, cv) <= share * (1 + 1e-9)
    assert wait_tail(slots - 1, load, service_s, t_s, cv) > share * (1 - 1e-9)


@given(loads, loads, services, waits, shares)
def test_more_load_never_needs_fewer(one: float, other: float, service_s: float, t_s: float, share: float) -> None:
    less, more = sorted((one, other))
    assert slots_for(less, service_s, t_s, share) <= slots_for(more, service_s, t_s, share)


@given(loads, services, waits, shares, st.floats(0.0, 4.0))
@example(20.0, 120.0, 30.0, 0.05, 0.3)
def test_variability_may_only_raise(load: float, service_s: float, t_s: float, share: float, cv: float) -> None:
    even, varied = slots_for(load, service_s, t_s, share), slots_for(load, service_s, t_s, share, cv)
    assert varied == even if cv <= 1.0 else varied >= even


def test_variable_work_needs_more() -> None:
    assert [slots_for(20.0, 120.0, 30.0, 0.05, cv) for cv in (0.0, 1.0, 2.0, 4.0)] == [26, 26, 27, 28]


@pytest.mark.parametrize("load", [1e5, 1e6 + 0.5, 1e7])
def test_large_pools_are_exact_too(load: float) -> None:
    slots = slots_for(load, 120.0, 30.0, 0.05)
    assert wait_tail(slots, load, 120.0, 30.0) <= 0.05 < wait_tail(slots - 1, load, 120.0, 30.0)
    # Halfin and Whitt (1981): C → 1/(1 + β·Φ(β)/φ(β)) with β = (c − a)/√a; it grows exact with the load.
    beta = (slots - load) / math.sqrt(load)
    normal = 0.5 * math.erfc(-beta / math.sqrt(2.0)) / (math.exp(-beta * beta / 2.0) / math.sqrt(2.0 * math.pi))
    assert wait_probability(slots, load) == pytest.approx(1.0 / (1.0 + beta * normal), rel=0.01)


@pytest.mark.parametrize(
    ("slots", "load", "waiting"),
    [(5, 0.0, 0.0), (0, 0.0, 0.0), (0, 1.0, 1.0), (4, 4.0, 1.0), (4, 9.0, 1.0), (9**6, 1.0, 0.0)],
)
def test_the_edges(slots: int, load: float, waiting: float) -> None:
    assert wait_probability(slots, load) == waiting
    assert wait_tail(slots, load, 60.0, 30.0) == waiting


def test_nothing_needs_no_slot_and_next_to_nothing_needs_one() -> None:
    assert slots_for(0.0, 60.0, 30.0, 0.05) == 0
    assert slots_for(5e-324, 60.0, 30.0, 0.05) == 1
