"""The least replicas that the calendar asks for. Pure.

Daylight saving is as in schedules: a floor at a fixed time that the clock jumps over begins right after the gap, and in
the hour that comes twice it begins the first time only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from app.scaling.policy import Floor


def floor(schedule: Iterable[Floor], now: float) -> int:
    """The highest `min` of those that stand at `now` (seconds since the epoch), 0 where none does."""
    moment = datetime.fromtimestamp(now, UTC)
    return max((entry.min for entry in schedule if _stands(entry, moment)), default=0)


def _stands(entry: Floor, moment: datetime) -> bool:
    """Whether it ticked within the last `duration_s`: one look for the first tick since then finds out."""
    since = moment - timedelta(seconds=entry.duration_s)
    for local in CronSim(entry.cron, since.astimezone(ZoneInfo(entry.timezone))):
        tick = local.astimezone(UTC)
        # In an hour that comes twice, a fixed time may still answer with its first occurrence.
        if tick > since:
            return tick <= moment
    return False
