"""Signals of our own loops."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.alerts.beats import BEAT_S
from app.alerts.reading import Reading, Sample
from app.alerts.signals.base import By, Signal
from app.core.db import HotConnection

LIVE_S = 60.0
"""A manager that has not said that it lives for so long is dead: rescuing takes care of its work."""

# A manager that has stopped telling is itself late: two beats may be on their way.
_LAGS = f"""
SELECT l.key AS loop, max(l.value::float8
  + greatest(0, extract(epoch FROM $1::timestamptz - b.at)::float8 - {2 * BEAT_S})) AS lag_s
FROM loop_beats b JOIN managers m ON m.id = b.manager_id CROSS JOIN LATERAL json_each_text(b.lags) l
WHERE m.heartbeat_at > $1::timestamptz - make_interval(secs => {LIVE_S}) GROUP BY 1
"""  # noqa: S608 - only constants


async def loop_lag(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """By loop, how late it is in the manager where it is latest."""
    return [Sample({"loop": row["loop"]}, row["lag_s"], at=now) for row in await connection.fetch(_LAGS, now)]


SIGNALS = (
    Signal("loop_lag", "seconds", "How late a loop of a manager is: it hangs, or fails again and again.", loop_lag),
)
