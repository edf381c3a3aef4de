"""Floors that are raised for a while, as an answer to alerts. The autoscaler reads them anew in every pass."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from app.core.db import HotConnection

_RAISE = """
INSERT INTO raised_floors (id, pool, replicas, created_at, expires_at) VALUES ($1, $2, $3, clock_timestamp(), $4)
ON CONFLICT (id) DO NOTHING
"""
_END = "UPDATE raised_floors SET ended_at = clock_timestamp() WHERE id = $1 AND ended_at IS NULL RETURNING 1"
_STANDING = """
SELECT pool, max(replicas) AS replicas FROM raised_floors WHERE ended_at IS NULL AND expires_at > clock_timestamp()
GROUP BY pool
"""
_FORGET = """
DELETE FROM raised_floors WHERE LEAST(ended_at, expires_at) < clock_timestamp() - make_interval(secs => $1)
"""


async def raise_floor(
    connection: HotConnection, floor_id: UUID, pool: str, replicas: int, expires_at: datetime
) -> None:
    """At least so many replicas of the pool until then, as far as its `max` allows. Doing it twice changes nothing."""
    await connection.execute(_RAISE, floor_id, pool, replicas, expires_at)


async def end(connection: HotConnection, floor_id: UUID) -> bool:
    """Back to what the policy says; False where it was ended before."""
    return bool(await connection.fetch(_END, floor_id))


async def standing(connection: HotConnection) -> Mapping[str, int]:
    """The highest that stands now, by pool."""
    return {row["pool"]: row["replicas"] for row in await connection.fetch(_STANDING)}


async def forget(connection: HotConnection, keep_s: float) -> None:
    """Delete those that were over so long ago."""
    await connection.execute(_FORGET, keep_s)
