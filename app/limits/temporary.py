"""Rates that hold for a while, besides the limits that operators set. Each verb hints the managers in the caller's
transaction; what has expired is passed over by every read."""

from __future__ import annotations

from datetime import datetime
from math import ceil
from uuid import UUID

from app.core.db import HotConnection
from app.core.wake import notify
from app.limits.view import TOPIC

_BEGIN = """
INSERT INTO temporary_limits (id, kind, name, rate_per_s, burst, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6) ON CONFLICT (id) DO NOTHING
"""
_END = "UPDATE temporary_limits SET ended_at = clock_timestamp() WHERE id = $1 AND ended_at IS NULL RETURNING 1"
_FORGET = """
DELETE FROM temporary_limits WHERE LEAST(ended_at, expires_at) < clock_timestamp() - make_interval(secs => $1)
"""
BURST_S = 10.0
"""So many seconds' worth may come at once."""


async def begin(
    connection: HotConnection,
    limit_id: UUID,
    kind: str,
    name: str,
    rate_per_s: float,
    expires_at: datetime,
    *,
    least_burst: int,
) -> None:
    """Keep a tenant or pool to this rate until then; `least_burst` or more may come at once. Doing it twice changes
    nothing."""
    burst = max(least_burst, ceil(rate_per_s * BURST_S))
    await connection.execute(_BEGIN, limit_id, kind, name, rate_per_s, burst, expires_at)
    await notify(connection, TOPIC)


async def end(connection: HotConnection, limit_id: UUID) -> bool:
    """Lift it; False where it was ended before."""
    ended = bool(await connection.fetch(_END, limit_id))
    await notify(connection, TOPIC)
    return ended


async def forget(connection: HotConnection, keep_s: float) -> None:
    """Delete those that were over so long ago."""
    await connection.execute(_FORGET, keep_s)
