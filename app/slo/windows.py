"""Which stretch of time an objective is judged over, and the buckets that it is made of. Pure.

Calendar windows follow the wall clock of their zone, by the days of `app.costs.windows`: a day of 23 or 25 hours is a
day, and a date that a zone skipped is in no window. A week is all days of one ISO week (from Monday). So the windows
of a kind and zone cover all of time, without gap or overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from app.costs.windows import Window, window, zone_of
from app.slo.objective import WindowSpec

BUCKET_S = 60
"""Counts are kept by minute, UTC: the shortest window of a burn alert is five of them."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta.resolution


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` up to, not including, `end`, both UTC."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> Fraction:
        """Its length, exactly."""
        return Fraction((self.end - self.start) // _TICK, 1_000_000)

    def elapsed(self, now: datetime) -> Fraction:
        """The share of it that is over: 0 before, 1 after it."""
        passed = Fraction((now - self.start) // _TICK, (self.end - self.start) // _TICK)
        return min(Fraction(1), max(Fraction(0), passed))

    def left_s(self, now: datetime) -> Fraction:
        """Seconds until it ends, 0 after it."""
        return max(Fraction(0), Fraction((self.end - now) // _TICK, 1_000_000))


def span_of(spec: WindowSpec, now: datetime) -> Span:
    """The window that `now` (aware) is in: a rolling one ends at `now`, a calendar one begins before and ends after it.

    Raises ValueError for a kind or a zone that does not exist.
    """
    now = now.astimezone(UTC)
    if spec.kind == "rolling":
        return last(spec.period_s, now)
    if spec.kind == "month":
        return _whole(window("month", spec.zone, None, now))
    if spec.kind == "week":
        return _week(spec.zone, now)
    raise ValueError(f"there are no windows by {spec.kind!r}")


def last(seconds: int, now: datetime) -> Span:
    """The `seconds` before `now`."""
    return Span(now - timedelta(seconds=seconds), now)


def bucket_of(moment: datetime, width_s: int = BUCKET_S) -> datetime:
    """The beginning of its bucket; buckets are counted from the Unix epoch."""
    width = timedelta(seconds=width_s)
    return EPOCH + (moment - EPOCH) // width * width


def whole_buckets(span: Span, width_s: int = BUCKET_S) -> Span:
    """The buckets that begin inside the span: spans that follow each other share none and leave none out."""
    return Span(*(bucket_of(moment - _TICK, width_s) + timedelta(seconds=width_s) for moment in (span.start, span.end)))


def buckets_in(span: Span, width_s: int = BUCKET_S) -> Iterator[datetime]:
    """The beginnings of the buckets that begin inside the span, in order."""
    found, width = whole_buckets(span, width_s), timedelta(seconds=width_s)
    for number in range((found.end - found.start) // width):
        yield found.start + number * width


def _week(zone: str, now: datetime) -> Span:
    clock = zone_of(zone)

    def week(day: Span) -> tuple[int, int]:
        found = day.start.astimezone(clock).isocalendar()
        return found.year, found.week

    first = final = _day(zone, now)
    while week(before := _day(zone, first.start - _TICK)) == week(first):
        first = before
    while week(after := _day(zone, final.end)) == week(final):
        final = after
    return Span(first.start, final.end)


def _day(zone: str, at: datetime) -> Span:
    return _whole(window("day", zone, None, at))


def _whole(found: Window) -> Span:
    assert found.start is not None and found.end is not None
    return Span(found.start, found.end)
