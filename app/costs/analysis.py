"""What days of spending say: average, trend, the month's end, and days that stand out. Pure; money is Decimal.

A day is full when it lies between the first day with usage (which may have begun at noon) and today. Days without
usage cost 0. Where there are too few days the answer is None, never a guess.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

TREND_DAYS = 7
BAND_DAYS, LEAST_BAND_DAYS = 28, 14
BAND_WIDTH = Decimal(3)
CONSISTENT = Decimal("1.4826")
"""Makes the MAD of normally distributed values their standard deviation."""
LEAST_WIDTH_SHARE, LEAST_WIDTH_USD = Decimal("0.1"), Decimal("0.01")
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    day: date
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Trend:
    """The line through `days` days, the first of which is `first`: USD on a day, and how much that changes a day."""

    first: date
    days: int
    slope: Fraction
    intercept: Fraction

    def at(self, day: date) -> Decimal:
        """What the line says of a day, never below 0."""
        return max(Decimal(0), exactly(self.intercept + self.slope * (day - self.first).days))

    @property
    def slope_usd(self) -> Decimal:
        return exactly(self.slope)


@dataclass(frozen=True, slots=True)
class Projection:
    """The month's end: what is spent, and what the trend adds for the rest of today and each day after it."""

    month: date
    spent_usd: Decimal
    predicted_usd: Decimal
    days_left: int

    @property
    def total_usd(self) -> Decimal:
        return self.spent_usd + self.predicted_usd


@dataclass(frozen=True, slots=True)
class Band:
    """Where a usual day lies: `median` ± `width`, of `days` days."""

    median: Decimal
    width: Decimal
    days: int

    @property
    def low(self) -> Decimal:
        return max(Decimal(0), self.median - self.width)

    @property
    def high(self) -> Decimal:
        return self.median + self.width


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A day outside the band. `times`: how many half-widths of the band it is from the median."""

    day: date
    usd: Decimal
    high: bool
    times: Decimal


def full_days(costs: Mapping[date, Decimal], today: date) -> list[Day]:
    """Every full day in order; none before the first is over."""
    if not costs:
        return []
    first = min(costs) + ONE_DAY
    count = (today - first).days
    days = (first + number * ONE_DAY for number in range(max(0, count)))
    return [Day(day, costs.get(day, Decimal(0))) for day in days]


def average(days: Sequence[Day], last: int) -> Decimal | None:
    """The mean of the last full days, `last` at most; None without any."""
    chosen = days[-last:] if last > 0 else ()
    return sum((day.usd for day in chosen), Decimal(0)) / len(chosen) if chosen else None


def trend(days: Sequence[Day]) -> Trend | None:
    """Ordinary least squares over the last TREND_DAYS full days: slope = Σ(x−x̄)(y−ȳ) ÷ Σ(x−x̄)². None with fewer."""
    chosen = days[-TREND_DAYS:]
    if len(chosen) < TREND_DAYS:
        return None
    count = len(chosen)
    values = [Fraction(day.usd) for day in chosen]
    mean_x, mean_y = Fraction(count - 1, 2), sum(values, Fraction(0)) / count
    covariance = sum(((x - mean_x) * (y - mean_y) for x, y in enumerate(values)), Fraction(0))
    variance = sum(((x - mean_x) ** 2 for x in range(count)), Fraction(0))
    slope = covariance / variance
    return Trend(chosen[0].day, count, slope, mean_y - slope * mean_x)


def projection(costs: Mapping[date, Decimal], line: Trend | None, today: date) -> Projection | None:
    """Spent this month, plus the line for each day left (floored at 0 day by day), plus what it says is still to come
    today. None without a line."""
    if line is None:
        return None
    first = today.replace(day=1)
    left = monthrange(today.year, today.month)[1] - today.day
    spent = sum((usd for day, usd in costs.items() if first <= day <= today), Decimal(0))
    rest_of_today = max(Decimal(0), line.at(today) - costs.get(today, Decimal(0)))
    coming = sum((line.at(today + number * ONE_DAY) for number in range(1, left + 1)), Decimal(0))
    return Projection(first, spent, rest_of_today + coming, left)


def band(days: Sequence[Day]) -> Band | None:
    """median ± 3 × 1.4826 × MAD of the last BAND_DAYS full days (Leys et al., J. Exp. Soc. Psychol. 49, 2013: robust,
    where a mean ± 3 standard deviations is moved by the very day that it should find).

    Where most days are equal the MAD is 0 and any cent would stand out: the width is at least a tenth of the median,
    and a cent. None with fewer than LEAST_BAND_DAYS.
    """
    values = [day.usd for day in days[-BAND_DAYS:]]
    if len(values) < LEAST_BAND_DAYS:
        return None
    middle = median(values)
    mad = median([abs(value - middle) for value in values])
    width = max(BAND_WIDTH * CONSISTENT * mad, LEAST_WIDTH_SHARE * abs(middle), LEAST_WIDTH_USD)
    return Band(middle, width, len(values))


def anomalies(days: Sequence[Day], found: Band | None, today: Day) -> list[Anomaly]:
    """The days of the band's time that lie outside it, and today once it has cost too much; newest first."""
    if found is None:
        return []
    outside = [day for day in days[-found.days :] if abs(day.usd - found.median) > found.width]
    if today.usd > found.high:
        outside.append(today)
    return [
        Anomaly(day.day, day.usd, day.usd > found.median, abs(day.usd - found.median) / found.width)
        for day in reversed(outside)
    ]


def median(values: Sequence[Decimal]) -> Decimal:
    """The middle value, the mean of both middle ones; at least one value."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def exactly(value: Fraction) -> Decimal:
    """A fraction to the 28 digits of a Decimal."""
    return Decimal(value.numerator) / Decimal(value.denominator)
