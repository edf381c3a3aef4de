"""How fast a budget is spent, and when it runs out. Pure, of plain values; amounts are in the budget's unit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

LEAST = timedelta(minutes=5)
"""Before so much of a window has passed its rate says nothing."""
HOUR_S = Decimal(3600)
MAX_AHEAD_S = Decimal(3660 * 86_400)


@dataclass(frozen=True, slots=True)
class Burn:
    """`share`: of the limit that is spent (None for a limit of 0). `runs_out_at` None: not within this window (or ten
    years), for the reason in `why`."""

    share: Decimal | None
    per_hour: Decimal | None
    per_day: Decimal | None
    runs_out_at: datetime | None
    why: str


def burn(
    limit: Decimal,
    spent: Decimal,
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    *,
    rolling: bool = False,
) -> Burn:
    """The rate since `start`, and when the rest of the limit is gone at that rate.

    `rolling`: [start, now] is a window that moves along. It holds what it does at a steady rate, so no date follows.
    """
    share = spent / limit if limit > 0 else None
    per_hour, per_day = _rates(spent, start, now)
    at, why = _gone_at(limit - spent, per_hour, end, now, rolling=rolling)
    return Burn(share, per_hour, per_day, at, why)


def _gone_at(
    left: Decimal, per_hour: Decimal | None, end: datetime | None, now: datetime, *, rolling: bool
) -> tuple[datetime | None, str]:
    if left <= 0:
        return now, "spent"
    if per_hour is None:
        return None, "not enough data: the window has just begun"
    if per_hour <= 0:
        return None, "nothing is spent"
    if rolling:
        return None, "a rolling window gives back what leaves it"
    seconds = left / per_hour * HOUR_S
    at = now + timedelta(seconds=float(seconds)) if seconds <= MAX_AHEAD_S else None
    if at is None:
        return None, "not within ten years"
    return (None, "not before the window ends") if end is not None and at >= end else (at, "at this rate")


def _rates(spent: Decimal, start: datetime | None, now: datetime) -> tuple[Decimal | None, Decimal | None]:
    if start is None or now - start < LEAST:
        return None, None
    seconds = Decimal(str((now - start).total_seconds()))
    return spent * HOUR_S / seconds, spent * HOUR_S * 24 / seconds
