"""What is to be expected at a time of day, from what was recorded on earlier days. Pure.

The median of the same ten minutes of the last fourteen days, each day of the same weekday counted as much as a week of
others: so a Saturday is judged by Saturdays, one odd day changes nothing, and anybody can check it by looking. It knows
no time zone: after a change to daylight saving it is an hour off until the days before are outnumbered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta

AROUND = timedelta(minutes=5)
"""So much before and after the time of day is counted."""
DAYS = 14
LEAST_DAYS = 2
DAY_S = 86_400.0
WEEK = 7


def expected(minutes: Iterable[tuple[float, float]], at: float) -> float | None:
    """Arrivals a second to be expected around `at` (seconds since the epoch).

    `minutes`: (its beginning in seconds since the epoch, arrivals in it), in any order; those that lie elsewhere are
    passed over. One without arrivals may be missing: since the first day on record somebody was counting. None where
    that is fewer than two days back.
    """
    came = _by_day(minutes, at)
    oldest = max(came, default=0)
    if oldest < LEAST_DAYS:
        return None
    rates = [(came.get(day, 0.0) / (2.0 * AROUND.total_seconds()), _weight(day)) for day in range(1, oldest + 1)]
    return _median(rates)


def _by_day(minutes: Iterable[tuple[float, float]], at: float) -> dict[int, float]:
    """Arrivals around the time of day of `at`, by how many days ago."""
    around, came = AROUND.total_seconds(), dict[int, float]()
    for minute, arrivals in minutes:
        day = math.floor((at + around - minute) / DAY_S)
        if 1 <= day <= DAYS and -around <= minute - (at - day * DAY_S) < around:
            came[day] = came.get(day, 0.0) + max(0.0, arrivals)
    return came


def _weight(day: int) -> int:
    return WEEK if day % WEEK == 0 else 1


def _median(weighted: Sequence[tuple[float, int]]) -> float:
    """The least value that, with all below it, has half of the weight."""
    half, seen = sum(weight for _, weight in weighted) / 2.0, 0
    for value, weight in sorted(weighted):
        seen += weight
        if seen >= half:
            return value
    raise AssertionError("there is at least one value")
