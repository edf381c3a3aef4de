"""Random time intervals around a moment, as Alertmanager's configuration writes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from app.alerts.intervals import MONTHS, WEEKDAYS

STEADY = ("UTC", "Asia/Kolkata", "Asia/Tokyo", "America/Phoenix", "Pacific/Kiritimati")
"""Without summer time. Only there are days counted from a month's end: Alertmanager 0.25 takes a month in which clocks
jump forward for a day shorter than it is."""

CHANGING = ("Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Auckland")


def random_interval(random: Random, at: datetime) -> dict[str, Any]:
    """Contains the moment about every second time; its edges are minutes away from it."""
    zone = random.choice(STEADY + CHANGING)
    clock = at.astimezone(ZoneInfo(zone))
    parts = random.sample(("times", "weekdays", "days_of_month", "months", "years"), random.choice((1, 1, 2, 3)))
    found: dict[str, Any] = {"location": zone}
    for part in parts:
        match part:
            case "times":
                found[part] = [_times(random, clock) for _ in range(random.choice((1, 2)))]
            case "weekdays":
                found[part] = [_named(random, WEEKDAYS, clock.isoweekday() % 7)]
            case "months":
                found[part] = [_named(random, MONTHS, clock.month - 1)]
            case "days_of_month":
                found[part] = [_days(random, clock, zone in STEADY)]
            case _:
                found[part] = [f"{clock.year - random.randint(0, 2)}:{clock.year + random.randint(0, 1)}"]
    return found


def _times(random: Random, clock: datetime) -> dict[str, str]:
    """Whole hours, some minutes away from now."""
    minute = clock.hour * 60 + clock.minute
    edges = sorted({0, 1_440, *(random.randrange(0, 1_440, 20) for _ in range(3))})
    edges = [edge for edge in edges if abs(edge - minute) > 4 or edge in (0, 1_440)]
    first = random.randrange(len(edges) - 1)
    last = random.randrange(first + 1, len(edges))
    return {"start_time": _written(edges[first]), "end_time": _written(edges[last])}


def _written(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _named(random: Random, names: tuple[str, ...], current: int) -> str:
    near = [min(max(current + random.randint(-2, 2), 0), len(names) - 1) for _ in range(2)]
    first, last = names[min(near)], names[max(near)]
    return first if first == last else f"{first}:{last}"


def _days(random: Random, clock: datetime, from_the_end: bool) -> str:
    """Around today, counted from the begin or the end of the month."""
    days = (clock.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    first = max(1, clock.day - random.randint(-1, 3))
    last = min(days.day, max(first, clock.day + random.randint(-1, 3)))
    first = min(first, last)
    if not from_the_end or random.random() < 0.4:
        return f"{first}:{last}"
    if random.random() < 0.5 and first <= 28 + last - days.day - 1:
        return f"{first}:{last - days.day - 1}"
    return f"{first - days.day - 1}:{last - days.day - 1}"
