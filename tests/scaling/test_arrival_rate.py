"""λ: steady through chance, quick with a change."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scaling.arrival_rate import arrival_rate, came_lately, usual_rate

TICK_S = 5.0


def counts(*parts: tuple[float, float]) -> list[tuple[float, float]]:
    """(arrivals/s, for so many seconds), the newest part first, in ticks."""
    return [(rate * TICK_S, TICK_S) for rate, seconds in parts for _ in range(int(seconds / TICK_S))]


def test_nothing_is_nothing() -> None:
    assert arrival_rate([]) == 0.0
    assert arrival_rate([(3.0, 0.0)]) == 0.0


def test_one_count_is_its_rate() -> None:
    assert arrival_rate([(3.0, 5.0)]) == 0.6


def test_an_even_stream_is_averaged_over_the_longest_window() -> None:
    assert arrival_rate(counts((0.5, 300.0), (9.0, 600.0))) == pytest.approx(0.5)
    assert arrival_rate(counts((0.6, 60.0), (0.4, 240.0))) == pytest.approx(0.44)


def test_a_surge_is_seen_within_fifteen_seconds() -> None:
    assert arrival_rate(counts((1.5, 15.0), (0.3, 600.0))) == pytest.approx(1.5)
    assert arrival_rate(counts((1.0, 60.0), (0.3, 600.0))) == pytest.approx(1.0)


def test_a_lull_is_seen_within_two_minutes() -> None:
    assert arrival_rate(counts((0.1, 60.0), (2.0, 600.0))) == pytest.approx(0.1)
    assert arrival_rate(counts((0.1, 15.0), (2.0, 600.0))) == pytest.approx(1.905)


def test_a_few_after_none_are_no_surge() -> None:
    assert arrival_rate([(1.0, 5.0), *counts((0.0, 600.0))]) == pytest.approx(1 / 300)
    assert arrival_rate([(2.0, 5.0), (2.0, 5.0), *counts((0.0, 600.0))]) == pytest.approx(4 / 300)


def test_a_batch_is_no_rate() -> None:
    alone = [*counts((0.2, 30.0)), (300.0, 5.0), *counts((0.2, 600.0))]
    assert arrival_rate(alone) == pytest.approx(0.2, rel=0.1)
    assert arrival_rate([(300.0, 5.0), *counts((0.0, 600.0))]) == pytest.approx(3 / 300)
    assert came_lately(alone) == pytest.approx(300 + 0.2 * 55)


def test_a_tenfold_surge_is_believed_at_the_second_count() -> None:
    assert arrival_rate([(500.0, 5.0), (500.0, 5.0), *counts((10.0, 600.0))]) > 60
    assert usual_rate([(500.0, 5.0), (500.0, 5.0), *counts((10.0, 600.0))]) < 14


def test_what_was_cancelled_does_not_make_it_negative() -> None:
    assert arrival_rate([(-50.0, 5.0), *counts((0.1, 300.0))]) == 0.0


@given(st.integers(0, 1_000))
def test_chance_moves_it_less_than_a_minute_s_count_would(seed: int) -> None:
    rng = random.Random(seed)
    ticks = [(float(rng.random() < 0.5) + float(rng.random() < 0.5), TICK_S) for _ in range(200)]
    rates = [arrival_rate(ticks[start:]) for start in range(100)]
    assert min(rates) > 0.1
    assert max(rates) < 0.34
    assert sum(rates) / len(rates) == pytest.approx(0.2, abs=0.06)


@given(st.lists(st.tuples(st.floats(-20.0, 100.0), st.floats(0.1, 60.0)), max_size=80))
def test_it_is_a_rate_of_some_window(ticks: list[tuple[float, float]]) -> None:
    rate = arrival_rate(ticks)
    assert 0.0 <= rate <= max((max(0.0, came) / seconds for came, seconds in ticks), default=0.0) + 1e-9
