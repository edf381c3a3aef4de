"""Time intervals by the clocks of a place, and whether they mute. Pure, with Alertmanager's semantics.

An instant is looked at as the wall clock of the interval's zone shows it. So an interval from 02:00 to 03:00 does not
come on the day on which clocks skip that hour, and comes twice on the day on which they show it twice.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.costs.windows import zone_of

MINUTES_A_DAY = 1_440

type Range = tuple[int, int]
"""From the first to the last, both included."""


class BadInterval(ValueError):
    """The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """Instants that are in one range of every part; an empty part leaves nothing out.

    `times`: minutes of the day, without the last: (540, 1020) is 09:00 until just before 17:00. `weekdays`: 0 is
    Sunday. `days_of_month`: negative ones count from the month's end, -1 is its last day. `months`: 1 to 12. `zone`: by
    its IANA name.
    """

    times: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()
    days_of_month: tuple[Range, ...] = ()
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    zone: str = "UTC"

    def contains(self, at: datetime) -> bool:
        """Raises ValueError for a zone that there is not."""
        clock = at.astimezone(UTC if self.zone == "UTC" else zone_of(self.zone))
        minute = clock.hour * 60 + clock.minute
        return (
            (not self.times or any(first <= minute < end for first, end in self.times))
            and _within(self.weekdays, clock.isoweekday() % 7)
            and (not self.days_of_month or _on_a_day(self.days_of_month, clock))
            and _within(self.months, clock.month)
            and _within(self.years, clock.year)
        )


@dataclass(frozen=True, slots=True)
class MuteTimes:
    """The named intervals of a route: nothing is told within those of `mute`, nor outside of those of `active`."""

    mute: Mapping[str, tuple[TimeInterval, ...]] = field(default_factory=dict)
    active: Mapping[str, tuple[TimeInterval, ...]] = field(default_factory=dict)

    def muted_by(self, now: datetime) -> str | None:
        """The name of the interval that mutes now; outside of all active ones, these names. None: nothing mutes."""
        if self.active and _current(self.active, now) is None:
            return f"outside of {', '.join(sorted(self.active))}"
        return _current(self.mute, now)


def check_interval(interval: TimeInterval) -> TimeInterval:
    """The same interval, which can be stored. Raises BadInterval."""
    _check("times", interval.times, 0, MINUTES_A_DAY)
    if any(first == end for first, end in interval.times):
        raise BadInterval("a range of times ends after it begins")
    _check("weekdays", interval.weekdays, 0, 6)
    _check("months", interval.months, 1, 12)
    _check("years", interval.years, 1, 9999)
    for first, last in interval.days_of_month:
        _check_days(first, last)
    try:
        zone_of(interval.zone)
    except ValueError as error:
        raise BadInterval(str(error)) from error
    return interval


def _current(intervals: Mapping[str, tuple[TimeInterval, ...]], now: datetime) -> str | None:
    return next((name for name, items in sorted(intervals.items()) if any(item.contains(now) for item in items)), None)


def _within(ranges: Iterable[Range], value: int) -> bool:
    found = tuple(ranges)
    return not found or any(first <= value <= last for first, last in found)


def _on_a_day(ranges: Iterable[Range], clock: datetime) -> bool:
    """A month that is too short for a range's first day has none of its days; its last day may stand for a later."""
    days = monthrange(clock.year, clock.month)[1]

    def counted(day: int) -> int:
        return day if day > 0 else days + 1 + day

    return any(counted(first) <= clock.day <= counted(last) for first, last in ranges)


def _check(part: str, ranges: Iterable[Range], least: int, most: int) -> None:
    for first, last in ranges:
        if not (least <= first <= most and least <= last <= most):
            raise BadInterval(f"{part} are from {least} to {most}, not {first}:{last}")
        if first > last:
            raise BadInterval(f"a range of {part} begins before it ends, not {first}:{last}")


def _check_days(first: int, last: int) -> None:
    """A range must be one in every month, the shortest of 28 days included, as Alertmanager requires."""
    if not all(1 <= abs(day) <= 31 for day in (first, last)):
        raise BadInterval(f"days of a month are from 1 to 31, or from -31 to -1, not {first}:{last}")
    if first < 0 < last:
        raise BadInterval(
            f"a range of days that begins with a negative one ends with a negative one, not {first}:{last}"
        )
    begin, end = (day if day > 0 else 28 + day for day in (first, last))
    if begin > end:
        raise BadInterval(f"a range of days begins before it ends in every month, not {first}:{last}")
