"""What is expected from what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scaling.forecast import DAY_S, expected

AT = datetime(2026, 5, 16, 9, 0, tzinfo=UTC).timestamp()  # a Saturday


def recorded(arrivals: Callable[[int], float], *days: int) -> list[tuple[float, float]]:
    """Two hours around the time of day on each of these days ago, `arrivals(day)` a minute."""
    return [(AT - day * DAY_S + minute * 60.0, arrivals(day)) for day in days for minute in range(-60, 60)]


@pytest.mark.parametrize("days", [(), (1,), (0,), (0, 1), (15,), (1, 15)])
def test_fewer_than_two_earlier_days_tell_nothing(days: tuple[int, ...]) -> None:
    assert expected(recorded(lambda _: 6.0, *days), AT) is None


def test_an_even_load_is_expected_to_go_on() -> None:
    assert expected(recorded(lambda _: 6.0, 1, 2), AT) == pytest.approx(0.1)


def test_the_same_weekday_counts_as_much_as_a_week_of_others() -> None:
    def weekly(day: int) -> float:
        return 0.6 if datetime.fromtimestamp(AT - day * DAY_S, UTC).isoweekday() in (6, 7) else 60.0

    minutes = recorded(weekly, *range(-3, 15))
    told = [expected([entry for entry in minutes if entry[0] < at], at) for at in (AT, AT + DAY_S, AT + 2 * DAY_S)]
    assert told == pytest.approx([0.01, 0.01, 1.0])


@pytest.mark.parametrize("odd", range(1, 15))
def test_one_odd_day_changes_nothing(odd: int) -> None:
    assert expected(recorded(lambda day: 6_000.0 if day == odd else 6.0, *range(1, 15)), AT) == pytest.approx(0.1)
    assert expected(recorded(lambda day: 0.0 if day == odd else 6.0, *range(1, 15)), AT) == pytest.approx(0.1)


def test_only_the_ten_minutes_around_count() -> None:
    minutes = [(AT - day * DAY_S + minute * 60.0, float(minute)) for day in (1, 2, 3) for minute in range(-60, 60)]
    assert expected([(at, 600.0 if -5 <= each < 5 else 0.0) for at, each in minutes], AT) == pytest.approx(10.0)
    assert expected([(at, 0.0 if -5 <= each < 5 else 600.0) for at, each in minutes], AT) == pytest.approx(0.0)


def test_a_day_on_which_nothing_came_counts_although_it_left_no_record() -> None:
    assert expected(recorded(lambda _: 6.0, 5), AT) == 0.0
    assert expected(recorded(lambda _: 6.0, 1, 3, 4, 5), AT) == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(AT - 20 * DAY_S, AT), st.floats(-10.0, 1e6)), max_size=200))
def test_it_is_never_negative_and_in_no_order(minutes: list[tuple[float, float]]) -> None:
    rate = expected(minutes, AT)
    assert rate is None or rate >= 0.0
    assert expected(sorted(minutes), AT) == pytest.approx(rate)
