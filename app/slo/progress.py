"""Which minutes are counted next. Pure.

    kept tasks ────────────┬─────────────────────────────────────────────────┬──────▶ time
                      needed_from ◀── behind ── counted_from … counted_until ── ahead ──▶ now

A new objective begins an hour before now: what burns now is seen at once, the rest of its window is filled from the
newest minute back. The newest minutes are counted again each time, because what commits late has ended before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from app.slo.burn_alerts import DAY_S, HOUR_S, PlannedRule
from app.slo.objective import Objective
from app.slo.windows import BUCKET_S, Span, bucket_of, last, span_of

LATE_S = 60
"""No transaction that ends a task, or keeps a verdict, is open for so long."""
FIRST_S = HOUR_S
MARGIN_S = DAY_S
LONGEST_MONTH_S = 31 * DAY_S
FIRST_CHUNK_S, SHORTEST_CHUNK_S, LONGEST_CHUNK_S = 3_600, BUCKET_S, DAY_S
SLOW_S, QUICK_S = 1.0, 0.25
GAP_S = 600
_BUCKET = timedelta(seconds=BUCKET_S)


def chunk_after(chunk_s: int, took_s: float) -> int:
    """How many seconds of tasks to count in one statement next: half after a slow one, double after a quick one."""
    if took_s > SLOW_S:
        chunk_s //= 2
    elif took_s < QUICK_S:
        chunk_s *= 2
    return max(SHORTEST_CHUNK_S, min(LONGEST_CHUNK_S, chunk_s)) // BUCKET_S * BUCKET_S


def first_minute(now: datetime) -> datetime:
    """From where on a new objective is counted before anything else."""
    return bucket_of(now - timedelta(seconds=FIRST_S))


def ahead(counted_until: datetime, now: datetime, chunk_s: int) -> list[Span]:
    """What to count up to now, the oldest first: whole minutes, the newest of which is not over."""
    at, until = again_from(counted_until), bucket_of(now) + _BUCKET
    found = []
    while at < until:
        end = min(until, at + timedelta(seconds=chunk_s))
        found.append(Span(at, end))
        at = end
    return found


def again_from(counted_until: datetime) -> datetime:
    """The first minute that may have changed since it was counted."""
    return bucket_of(counted_until - timedelta(seconds=LATE_S))


def behind(counted_from: datetime, oldest: datetime, chunk_s: int) -> Span | None:
    """What to count next of the past, whose first minute to count is `oldest`; None: all of it was."""
    if counted_from <= oldest:
        return None
    return Span(max(oldest, counted_from - timedelta(seconds=chunk_s)), counted_from)


def needed_from(objective: Objective, rules: Sequence[PlannedRule], now: datetime) -> datetime:
    """The first minute that its window, or a burn rule, looks at."""
    longest_s = max([HOUR_S, *(rule.long_s for rule in rules)])
    return bucket_of(min(span_of(objective.window, now).start, last(longest_s, now).start))


def dropped_before(objective: Objective, rules: Sequence[PlannedRule], now: datetime) -> datetime:
    """Buckets that begin before it are needed no more: a whole window and a day besides are kept."""
    period_s = objective.window.period_s if objective.window.kind == "rolling" else LONGEST_MONTH_S
    kept_s = max([period_s, *(rule.long_s for rule in rules)]) + MARGIN_S
    return bucket_of(now - timedelta(seconds=kept_s))


def stretches(minutes: Iterable[datetime], gap_s: int = GAP_S) -> list[Span]:
    """Minutes, in order, as spans of an hour at most to count together: those less than `gap_s` apart."""
    found: list[Span] = []
    for minute in minutes:
        end = minute + _BUCKET
        if found and (minute - found[-1].end).total_seconds() < gap_s and end - found[-1].start <= timedelta(hours=1):
            found[-1] = Span(found[-1].start, end)
        else:
            found.append(Span(minute, end))
    return found
