"""Windows of budgets, pure: which stretch of time an instant falls into.

Calendar windows follow the wall clock of a zone. A day begins when its date is first reached: it has 23 or 25 hours
where clocks change; a midnight that is skipped is the moment of the change, one that comes twice counts the first
time, and a date that is skipped has no window. Months are made of such days. An hour of the wall clock that comes
twice is two windows, and an hour inside which the offset changes is cut there. So the windows of a kind and zone
cover all of time, without gap or overlap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

CALENDAR = frozenset({"hour", "day", "month"})
"""Kinds that have a zone."""
SLICES = 60
"""A rolling window leaves the past in so many slices."""

_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", re.ASCII)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` up to, not including, `end`, both UTC. A rolling window has neither, but `slice_s`; `total` has
    nothing at all."""

    start: datetime | None
    end: datetime | None
    slice_s: float | None = None


TOTAL = Window(None, None)


def window(kind: str, zone: str, rolling_s: float | None, at: datetime) -> Window:
    """The window that `at` (aware) falls into. `zone`: IANA name, of calendar kinds; `rolling_s`: of `rolling`.

    Raises ValueError for what is not a kind or a zone.
    """
    if kind == "total":
        return TOTAL
    if kind == "rolling":
        if rolling_s is None or rolling_s <= 0:
            raise ValueError("a rolling window needs its length")
        return Window(None, None, rolling_s / SLICES)
    clock = zone_of(zone)
    at = at.astimezone(UTC)
    if kind == "hour":
        return _hour(clock, at)
    if kind not in CALENDAR:
        raise ValueError(f"there are no windows by {kind!r}")
    return _dated(clock, at, months=kind == "month")


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone of this name; raises ValueError."""
    if _ZONE.fullmatch(name) is None or name == "localtime":
        raise ValueError(f"there is no time zone {name!r}")
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as exc:  # a missing zone is a KeyError, a folder of zones an OSError
        raise ValueError(f"there is no time zone {name!r}") from exc


def _hour(zone: ZoneInfo, at: datetime) -> Window:
    """The hour of the wall clock, as far as its offset is that of `at`."""
    local = at.astimezone(zone)
    start = at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    end = start + timedelta(hours=1)
    if _offset(zone, start) != _offset(zone, at):
        start = _change(zone, start, at)
    if _offset(zone, end - timedelta.resolution) != _offset(zone, at):
        end = _change(zone, at, end)
    return Window(start, end)


def _dated(zone: ZoneInfo, at: datetime, *, months: bool) -> Window:
    """The day or month. Where a change of clocks brings a date back, the later date has begun all the same."""
    day = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if months:
        day = day.replace(day=1)
    start, following = _first(zone, day), _next(day, months)
    while (end := _first(zone, following)) <= at:
        start, following = end, _next(following, months)
    return Window(start, end)


def _next(day: datetime, months: bool) -> datetime:
    if not months:
        return day + timedelta(days=1)
    return (day + timedelta(days=31)).replace(day=1)


def _first(zone: ZoneInfo, wall: datetime) -> datetime:
    """The first instant at which the wall clock shows `wall` (naive) or later."""
    # Of a time that comes twice, fold=0 is the first. Of one that is skipped, fold=1 lies before the change, fold=0 at
    # or behind it (PEP 495).
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    return _change(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """When the offset changes, to the second: it is another at `before` than at `after`."""
    was = _offset(zone, before)
    low, high = 0, int((after - before) / _SECOND) + 1
    base = before.replace(microsecond=0)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, base + middle * _SECOND) == was:
            low = middle
        else:
            high = middle
    return base + high * _SECOND


def _offset(zone: ZoneInfo, at: datetime) -> timedelta | None:
    return at.astimezone(zone).utcoffset()
