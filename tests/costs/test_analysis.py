"""What days of spending say, against numpy and by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs import analysis
from app.costs.analysis import Band, Day, anomalies, band, full_days, projection, trend
from app.costs.burn import burn

TODAY = date(2026, 11, 28)
ONE = timedelta(days=1)
USD = st.decimals(0, 10_000, places=6)


def costs_of(*usd: str | int | Decimal, today: str = "0", end: date = TODAY) -> dict[date, Decimal]:
    """The first day (never full), these full days, and today."""
    first = end - len(usd) * ONE
    days = {first + number * ONE: Decimal(value) for number, value in enumerate(usd)}
    return {first - ONE: Decimal(1), **days, end: Decimal(today)}


FIXTURE = ("12.31", "9.87", "14.02", "13.5", "17.25", "16.11", "19.999999")


def test_the_trend_is_that_of_numpy() -> None:
    line = trend(full_days(costs_of("400", *FIXTURE), TODAY))
    assert line is not None
    slope, intercept = np.polyfit(range(7), [float(usd) for usd in FIXTURE], 1)
    assert abs(float(line.slope) - slope) < 1e-9
    assert abs(float(line.intercept) - intercept) < 1e-9
    assert (line.first, line.days) == (TODAY - 7 * ONE, 7)


@given(st.lists(USD, min_size=7, max_size=7))
def test_any_trend_is_that_of_numpy(usd: list[Decimal]) -> None:
    line = trend(full_days(costs_of(*usd), TODAY))
    assert line is not None
    slope, intercept = np.polyfit(range(7), [float(value) for value in usd], 1)
    assert float(line.slope) == pytest.approx(slope, abs=1e-8, rel=1e-8)
    assert float(line.intercept) == pytest.approx(intercept, abs=1e-8, rel=1e-8)
    assert line.at(TODAY + 100 * ONE) >= 0


@given(st.lists(USD, max_size=6))
def test_fewer_than_seven_full_days_say_nothing(usd: list[Decimal]) -> None:
    costs = costs_of(*usd)
    assert trend(full_days(costs, TODAY)) is None
    assert projection(costs, None, TODAY) is None
    assert band(full_days(costs, TODAY)) is None


def test_full_days_fill_gaps_and_leave_out_the_first_and_today() -> None:
    costs = {TODAY - 4 * ONE: Decimal(9), TODAY - 2 * ONE: Decimal(3), TODAY: Decimal(5)}
    assert [(day.day, day.usd) for day in full_days(costs, TODAY)] == [
        (TODAY - 3 * ONE, 0), (TODAY - 2 * ONE, 3), (TODAY - ONE, 0),
    ]  # fmt: skip
    assert full_days({}, TODAY) == full_days({TODAY: Decimal(1)}, TODAY) == []


@pytest.mark.parametrize(
    ("usd", "today", "on", "spent", "predicted", "left"),
    [
        # Level: 10 a day; 4 of today's 10 are spent; two days are left. Spent: November's full days, and today.
        (["10"] * 20, "4", date(2026, 11, 28), "204", "26", 2),
        # More than predicted is spent today already.
        (["10"] * 20, "40", date(2026, 11, 28), "240", "20", 2),
        # Rising by 1 a day, from 10: today is x=7.
        ([str(10 + n) for n in range(7)], "0", date(2026, 11, 28), "91", str(17 + 18 + 19), 2),
        # The month's last day.
        (["10"] * 7, "10", date(2026, 11, 30), "80", "0", 0),
        # The month's first: what was spent before is another month's.
        (["10"] * 7, "1", date(2026, 12, 1), "1", str(9 + 300), 30),
        # Falling to 0: never below, day by day.
        (["60", "50", "40", "30", "20", "10", "0"], "0", date(2026, 11, 20), "210", "0", 10),
    ],
)
def test_the_month_ends_where_its_days_lead(
    usd: list[str], today: str, on: date, spent: str, predicted: str, left: int
) -> None:
    costs = costs_of(*usd, today=today, end=on)
    costs[min(costs)] = Decimal(0)
    found = projection(costs, trend(full_days(costs, on)), on)
    assert found is not None
    assert (found.spent_usd, found.predicted_usd, found.days_left) == (Decimal(spent), Decimal(predicted), left)


def test_a_day_that_stands_out() -> None:
    usd = [str(10 + (number % 5) / 10) for number in range(27)]
    costs = costs_of(*usd[:20], "25", *usd[20:], today="12")
    days = full_days(costs, TODAY)
    found = band(days)
    assert found is not None
    # By hand: median 10.2; deviations 0, 0.1 and 0.2 in fifths, their median 0.1; 3 × 1.4826 × 0.1 < a tenth of it.
    assert (found.median, found.width, found.days) == (Decimal("10.2"), Decimal("1.02"), 28)
    out = anomalies(days, found, Day(TODAY, costs[TODAY]))
    assert [(one.day, one.usd, one.high) for one in out] == [
        (TODAY, Decimal(12), True), (TODAY - 8 * ONE, Decimal(25), True),
    ]  # fmt: skip
    assert anomalies(days, found, Day(TODAY, Decimal(1)))[0].day != TODAY, "today is not over"


def test_a_wide_band_is_three_deviations() -> None:
    found = band([Day(TODAY - n * ONE, Decimal(n % 11)) for n in range(22, 0, -1)])
    assert found == Band(Decimal(5), 3 * Decimal("1.4826") * 3, 22)
    assert found.low == 0


def test_days_without_any_difference_need_more_than_a_cent() -> None:
    days = [Day(TODAY - n * ONE, Decimal(0)) for n in range(14, 0, -1)]
    found = band(days)
    assert found is not None
    assert anomalies(days, found, Day(TODAY, Decimal("0.01"))) == []
    assert len(anomalies(days, found, Day(TODAY, Decimal("0.02")))) == 1


@given(st.lists(USD, min_size=14, max_size=40))
def test_most_days_lie_in_the_band(usd: list[Decimal]) -> None:
    days = full_days(costs_of(*usd), TODAY)
    found = band(days)
    assert found is not None
    inside = [day for day in days[-found.days :] if abs(day.usd - found.median) <= found.width]
    assert 2 * len(inside) >= found.days
    assert len(anomalies(days, found, Day(TODAY, Decimal(0)))) == found.days - len(inside)


@given(st.lists(USD, min_size=1))
def test_the_median_is_that_of_numpy(usd: list[Decimal]) -> None:
    assert float(analysis.median(usd)) == pytest.approx(float(np.median([float(value) for value in usd])))


NOW = datetime(2026, 11, 11, tzinfo=UTC)
MONTH = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "spent", "window", "now", "per_day", "runs_out", "why"),
    [
        ("100", "80", MONTH, NOW, "8", datetime(2026, 11, 13, 12, tzinfo=UTC), "at this rate"),
        ("100", "20", MONTH, NOW, "2", None, "not before the window ends"),
        ("100", "20", (MONTH[0], None), NOW, "2", datetime(2026, 12, 21, tzinfo=UTC), "at this rate"),
        ("100", "0", MONTH, NOW, "0", None, "nothing is spent"),
        ("100", "120", MONTH, NOW, "12", NOW, "spent"),
        ("0", "0", MONTH, NOW, "0", NOW, "spent"),
        ("1e9", "0.01", (MONTH[0], None), NOW, "0.001", None, "not within ten years"),
        ("100", "1", MONTH, MONTH[0] + timedelta(minutes=4), None, None,
         "not enough data: the window has just begun"),
        ("100", "1", (None, None), NOW, None, None, "not enough data: the window has just begun"),
    ],
)  # fmt: skip
def test_burning(
    limit: str,
    spent: str,
    window: tuple[datetime | None, datetime | None],
    now: datetime,
    per_day: str | None,
    runs_out: datetime | None,
    why: str,
) -> None:
    found = burn(Decimal(limit), Decimal(spent), *window, now)
    assert (found.per_day, found.why) == (None if per_day is None else Decimal(per_day), why)
    assert found.runs_out_at == runs_out


def test_a_rolling_window_has_a_rate_and_no_end() -> None:
    found = burn(Decimal(100), Decimal(50), NOW - ONE, None, NOW, rolling=True)
    assert (found.per_day, found.runs_out_at, found.share) == (50, None, Decimal("0.5"))


@given(USD, USD, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_a_budget_runs_out_within_its_window_or_not_at_all(limit: Decimal, spent: Decimal, passed: timedelta) -> None:
    now = MONTH[0] + passed
    found = burn(limit, spent, MONTH[0], MONTH[1], now)
    if found.runs_out_at is not None:
        assert now <= found.runs_out_at
        assert found.runs_out_at < MONTH[1] or spent >= limit
