"""The roll-up: usage becomes hours, and hours become days.

A tick is one transaction that holds the row of `usage_rolled`: a second manager that ticks meanwhile finds it locked
and leaves. It replaces whole buckets by what `usage` holds of them, so a tick that is doubled, or cut short, changes
nothing; `until` moves with the buckets or not at all.

Rows carry the time at which their transaction began, and may be seen only when that commits: every tick goes back
OVERLAP before `until`. What is added to older hours is told by `add_dirty`. Days come from hours; those from before
`hours_from`, whose hours are gone, from the usage itself.

Which hours a tick takes is decided by plain functions: a long history is rolled up in spans that grow while they take
less than a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Gauge

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.leader import Leader
from app.costs import rollup_sql as sql
from app.settings import CostSettings

log = structlog.get_logger()

UNPRICED = Gauge(
    "yard_costs_unpriced_rows", "Rows of usage of the last day without a price.", multiprocess_mode="mostrecent"
)
COST = Gauge("yard_costs_usd", "What the last day cost, in USD.", ["pool"], multiprocess_mode="mostrecent")
BEHIND = Gauge("yard_costs_behind_seconds", "How old the newest roll-up is.", multiprocess_mode="mostrecent")

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OVERLAP = timedelta(minutes=10)
DIRTY_HOURS = 24
MAX_SPAN = timedelta(days=7)
AIM_S = 1.0
RESTS = 9.0
"""So many times as long as a tick took the loop rests at least: a tenth of one connection's time."""
STATEMENT_S = 600.0
"""Patience with one hour, or with a day that is older than the hours."""

type Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a tick did: hours rolled up, and whether older ones wait."""

    hours: int
    until: datetime
    more: bool


def hour_of(moment: datetime) -> datetime:
    """The beginning of its hour, UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """The beginning of its day, UTC."""
    return hour_of(moment).replace(hour=0)


def next_span(until: datetime, now: datetime, width: timedelta) -> Span:
    """The hours that are due: from OVERLAP before `until` on, `width` of them at most, the present one included."""
    begin = hour_of(min(until, now) - OVERLAP)
    return begin, min(hour_of(now) + HOUR, max(begin + width, hour_of(until) + HOUR))


def next_width(width: timedelta, took_s: float) -> timedelta:
    """Twice as many hours after a tick that was quick, half as many after a slow one."""
    if took_s < AIM_S / 2:
        return min(MAX_SPAN, width * 2)
    return max(HOUR, timedelta(hours=width // HOUR // 2)) if took_s > AIM_S * 2 else width


def runs(hours: Iterable[datetime]) -> list[Span]:
    """Hours as spans, those that follow each other together."""
    found: list[Span] = []
    for hour in sorted(set(hours)):
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + HOUR)
        else:
            found.append((hour, hour + HOUR))
    return found


def hours_in(span: Span) -> list[datetime]:
    """The hours of a span."""
    begin, end = span
    return [begin + number * HOUR for number in range((end - begin) // HOUR)]


async def add_dirty(connection: HotConnection, hours: Sequence[datetime]) -> None:
    """Have the hours of these moments rolled up again, in the caller's transaction: for who adds usage that is not of
    the present. A `recost` or a correction that is written with another time than the row it is about concerns that
    row's hour too."""
    await connection.execute(sql.ADD_DIRTY, list(hours))


class RollupLoop:
    """A tick is one span of hours and some dirty ones; then it rests, longer than it took."""

    def __init__(self, db: Database, leader: Leader, clock: Clock, settings: CostSettings) -> None:
        self._db, self._leader, self._clock = db, leader, clock
        self._interval_s = settings.interval_s
        self._keep = timedelta(seconds=settings.hours_retention_s)
        self.width = HOUR

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            COST.clear()
            UNPRICED.set(0)
            return None
        began = self._clock.monotonic()
        done = await self.roll()
        took_s = self._clock.monotonic() - began
        self.width = next_width(self.width, took_s)
        if done is None:
            return None
        if not done.more:
            await self._measure()
        return max(RESTS * took_s, 0.0 if done.more else self._interval_s)

    async def roll(self) -> Rolled | None:
        """One transaction's worth; None where another manager is at it."""
        async with self._db.read() as connection, connection.transaction():
            await connection.execute(sql.MEMORY)
            state = await connection.fetchrow(sql.LOCK)
            if state is None:
                if not await self._begin(connection):
                    return None
                state = await connection.fetchrow(sql.LOCK)
            if state is None:
                return None
            now, until = state["now"], state["until"]
            kept_from = max(state["hours_from"], day_of(now - self._keep))
            span = next_span(until, now, self.width)
            dirty = await connection.fetch(sql.DIRTY, DIRTY_HOURS)
            hours = {*hours_in(span), *(row["hour"] for row in dirty)}
            await self._replace(connection, hours, kept_from)
            await connection.execute(sql.CLEANED, [key for row in dirty for key in row["ids"]])
            if kept_from > state["hours_from"]:
                await connection.execute(sql.CLEAR_HOURS, state["hours_from"], kept_from, timeout=STATEMENT_S)
            reached = max(until, min(now, span[1]))
            await connection.execute(sql.MOVED, reached, kept_from)
        BEHIND.set((now - reached).total_seconds())
        return Rolled(len(hours), reached, reached < now or len(dirty) == DIRTY_HOURS)

    async def _begin(self, connection: HotConnection) -> bool:
        """Where the history begins, on the first tick of all; False where another manager has said so meanwhile."""
        row = await connection.fetchrow(sql.FIRST, timeout=STATEMENT_S)
        assert row is not None
        first = day_of(row["first"] or row["now"])
        made = await connection.execute(sql.SEED, first, day_of(row["now"] - self._keep))
        return bool(made.endswith(" 1"))

    async def _replace(self, connection: HotConnection, hours: Iterable[datetime], kept_from: datetime) -> None:
        kept = {hour for hour in hours if hour >= kept_from}
        for span in runs(kept):
            await connection.execute(sql.CLEAR_HOURS, *span)
            await connection.execute(sql.FILL_HOURS, *span, timeout=STATEMENT_S)
        for source, which in ((sql.DAYS_OF_HOURS, kept), (sql.DAYS_OF_USAGE, set(hours) - kept)):
            for day in sorted({day_of(hour) for hour in which}):
                await connection.execute(sql.CLEAR_DAYS, day, day + DAY)
                await connection.execute(source, day, day + DAY, timeout=STATEMENT_S)

    async def _measure(self) -> None:
        async with self._db.read() as connection:
            rows = await connection.fetch(sql.RECENT)
        COST.clear()
        for row in rows:
            COST.labels(row["pool"]).set(float(row["cost_usd"]))
        UNPRICED.set(sum(row["unpriced"] for row in rows))
