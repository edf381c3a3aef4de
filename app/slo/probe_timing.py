"""When a probe runs. Pure.

Its planned times are a grid over all time, `every_s` apart and moved by a phase that comes of its name: from wherever
one looks the same times follow, and a hundred probes a minute are not a hundred probes in one second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LATE_S = 60.0
"""A planned time that nobody looked at for so long is missed. Missed times are not made up for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """The planned time to run for, None if it is missed or not yet there, and the next one."""

    planned_at: datetime | None
    next_at: datetime


def phase(name: str, every_s: int) -> timedelta:
    """How far its times are moved, in whole milliseconds, from 0 to `every_s`."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return number % (every_s * 1000) * _MILLISECOND


def planned_after(name: str, every_s: int, after: datetime) -> datetime:
    """The first planned time after a moment."""
    every, start = timedelta(seconds=every_s), _EPOCH + phase(name, every_s)
    return start + ((after - start) // every + 1) * every


def due(name: str, every_s: int, next_at: datetime, now: datetime) -> Due:
    """What to run at `now`: of all times that have come since `next_at` the last one, if it is not missed."""
    coming = planned_after(name, every_s, now)
    latest = coming - timedelta(seconds=every_s)
    missed = latest < next_at or (now - latest).total_seconds() > LATE_S
    return Due(None if missed else latest, coming)


def stale_after_s(every_s: int, timeout_s: float) -> float:
    """A run from before so many seconds says nothing about now: two later ones were missed."""
    return 2 * every_s + timeout_s + LATE_S
