"""When a schedule ticks, and what is made of the ticks that were missed. Pure.

Ticks are a set of moments that depends on the timing alone: from wherever one looks, the same ones follow.

Daylight saving, for a cron in a time zone (as Debian's cron, and `cronsim`, do it):
- A job at fixed times ("30 2 * * *") runs once a day. Where the clock jumps over the time, it runs at the first moment
  after the gap; where the hour comes twice, it runs the first time only.
- A job with `*` for its minute or hour ("*/15 * * * *") follows real time: nothing in the gap, both times in the fold.
An interval and a single moment know no time zones.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MICROSECOND = timedelta(microseconds=1)
CRON_FIELDS, DAY_OF_MONTH, MONTH, DAY_OF_WEEK = 5, 2, 3, 4
FIRST_WINDOW, WINDOW_GROWTH = timedelta(hours=1), 4
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,62}")
_LAST_YEAR = 9990


class BadCron(ValueError):
    """It cannot be read."""


class CronNeverFires(ValueError):
    """No date fits."""


class BadTimezone(ValueError):
    """No such time zone."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One of `cron` (five fields, in `timezone`), `interval_s` (counted from `anchor_at`) and `at` is set. Times are
    aware, in UTC."""

    anchor_at: datetime
    cron: str | None = None
    timezone: str = "UTC"
    interval_s: float | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MisfirePolicy:
    """What becomes of ticks that are older than `grace_s` when somebody looks: none are made (skip), the last one
    (run_once), or the last `max_catch_up` (run_all)."""

    kind: str
    grace_s: float
    max_catch_up: int


@dataclass(frozen=True, slots=True)
class Due:
    """Ticks to make now, oldest first. `missed_from`: the first of those that are not made at all, None if none is.
    `next_at`: the first tick after all these; None when there is none. `more`: it is due already."""

    ticks: list[datetime]
    missed_from: datetime | None
    next_at: datetime | None
    more: bool


def check(timing: Timing) -> None:
    """Raise BadTimezone, BadCron or CronNeverFires for a timing that has no tick ever."""
    zone_of(timing.timezone)
    if timing.cron is None:
        return
    fields = timing.cron.split()
    if len(fields) != CRON_FIELDS:
        raise BadCron(f"a cron has {CRON_FIELDS} fields (minute hour day month weekday), not {len(fields)}")
    try:
        _iterate(timing.cron, datetime(2000, 1, 1, tzinfo=UTC))
    except BadCron:
        if _reads_alone(fields):
            raise CronNeverFires(f"no date fits {timing.cron!r}") from None
        raise
    if next_after(replace(timing, timezone="UTC"), datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise CronNeverFires(f"no date fits {timing.cron!r}")


def next_after(timing: Timing, moment: datetime) -> datetime | None:
    """The first tick after `moment`, in UTC; None when there is none."""
    return next(ticks_after(timing, moment), None)


def ticks_after(timing: Timing, moment: datetime) -> Iterator[datetime]:
    """All ticks after `moment`, in UTC, strictly increasing."""
    if timing.cron is not None:
        return _cron_ticks(timing.cron, timing.timezone, moment)
    if timing.interval_s is not None:
        return _interval_ticks(timing.anchor_at, timing.interval_s, moment)
    return iter([timing.at] if timing.at is not None and timing.at > moment else [])


def ticks_within(timing: Timing, start: datetime, end: datetime, limit: int) -> list[datetime]:
    """The first `limit` ticks after `start` and up to `end`, that one included."""
    found = []
    for tick in islice(ticks_after(timing, start), limit):
        if tick > end:
            break
        found.append(tick)
    return found


def due(timing: Timing, next_at: datetime, now: datetime, policy: MisfirePolicy, limit: int) -> Due:
    """What is to be made at `now` of the ticks from `next_at` on, at most `limit` at once. The rest is found the next
    time: look again with the `next_at` that was answered."""
    cutoff = now - timedelta(seconds=policy.grace_s)
    keep = {"skip": 0, "run_once": 1, "run_all": policy.max_catch_up}[policy.kind]
    before = next_at - MICROSECOND
    made: list[datetime] = []
    missed_from = None
    if next_at < cutoff:
        made = _last(timing, before, cutoff - MICROSECOND, keep)
        missed_from = next_at if not made or made[0] > next_at else None
        before = cutoff - MICROSECOND
    made = made[: limit + 1]
    made += ticks_within(timing, before, now, limit + 1 - len(made))
    if len(made) > limit:
        return Due(made[:limit], missed_from, made[limit], more=True)
    return Due(made, missed_from, next_after(timing, max(now, before)), more=False)


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone; raises BadTimezone."""
    if _ZONE.fullmatch(name) and name != "localtime":
        with contextlib.suppress(KeyError, ValueError, OSError):
            return ZoneInfo(name)
    raise BadTimezone(f"{name!r} is not a time zone like Europe/Berlin or UTC")


def _last(timing: Timing, start: datetime, end: datetime, count: int) -> list[datetime]:
    """The last `count` ticks after `start` and up to `end`: looked for in a window that grows backwards, as there may
    be millions before."""
    if count == 0:
        return []
    window = FIRST_WINDOW
    while True:
        begin = max(start, end - window)
        found: list[datetime] = []
        for tick in ticks_after(timing, begin):
            if tick > end:
                break
            found.append(tick)
            if len(found) > 2 * count:
                del found[:count]
        if len(found) >= count or begin == start:
            return found[-count:]
        window *= WINDOW_GROWTH


def _interval_ticks(anchor: datetime, interval_s: float, moment: datetime) -> Iterator[datetime]:
    step = round(interval_s * 1_000_000)  # whole microseconds, so that the thousandth tick is where it belongs
    passed = (moment - anchor) // MICROSECOND
    number = max(0, passed // step + 1)
    while (tick := _later(anchor, number * step)) is not None:
        yield tick
        number += 1


def _later(anchor: datetime, microseconds: int) -> datetime | None:
    """None where time ends."""
    try:
        tick = anchor + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return tick if tick.year < _LAST_YEAR else None


def _cron_ticks(cron: str, timezone: str, moment: datetime) -> Iterator[datetime]:
    last = moment
    for local in _iterate(cron, moment.astimezone(zone_of(timezone))):
        if local.year >= _LAST_YEAR:
            return
        tick = local.astimezone(UTC)
        # Two times in the gap are pushed to the same moment, and a first time in the fold may be over already.
        if tick > last:
            last = tick
            yield tick


def _iterate(cron: str, moment: datetime) -> CronSim:
    """cronsim's ticks after a moment, in its time zone; raises BadCron."""
    try:
        return CronSim(cron, moment)
    except (CronSimError, ValueError, TypeError, AssertionError) as exc:
        # Its parser asserts what a few odd expressions break.
        raise BadCron(f"{cron!r} is not a cron expression: {str(exc).lower() or 'it cannot be read'}") from None


@lru_cache(maxsize=256)
def _field_reads(position: int, field: str) -> bool:
    fields = ["*"] * CRON_FIELDS
    fields[position] = field
    try:
        _iterate(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC))
    except BadCron:
        return False
    return True


def _reads_alone(fields: list[str]) -> bool:
    """Whether each field can be read: then it is their combination that fits no date."""
    return all(_field_reads(position, field) for position, field in enumerate(fields))
