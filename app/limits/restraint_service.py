"""Verbs of restraints. Each hints the managers in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils

from app.core.db import HotConnection
from app.core.wake import notify
from app.limits.restraints import Hold, Kind, Restraint, hold_of

TOPIC = "restraints"
COLUMNS = """id, kind, pool, min_priority, max_running, max_share, require_approval, reason, source, created_by,
  started_at, expires_at, ended_at, ended_by"""
STANDING = "ended_at IS NULL AND expires_at > clock_timestamp()"

_BEGIN = f"""
INSERT INTO restraints (id, kind, pool, min_priority, max_running, max_share, require_approval, reason, source,
  created_by, started_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp(), $11)
ON CONFLICT (id) DO NOTHING RETURNING {COLUMNS}
"""  # noqa: S608 - only constants
_END = """
UPDATE restraints SET ended_at = clock_timestamp(), ended_by = $2 WHERE id = $1 AND ended_at IS NULL RETURNING 1
"""
_REPLACE = f"""
UPDATE restraints SET ended_at = clock_timestamp(), ended_by = $2
WHERE kind = 'emergency' AND source = 'person' AND pool IS NOT DISTINCT FROM $1 AND {STANDING} RETURNING 1
"""  # noqa: S608
_LIFT = f"""
UPDATE restraints SET ended_at = clock_timestamp(), ended_by = $2
WHERE kind = 'emergency' AND ($1::text IS NULL OR pool = $1) AND {STANDING} RETURNING {COLUMNS}
"""  # noqa: S608
_STANDING = f"""
SELECT {COLUMNS} FROM restraints WHERE kind = $1 AND {STANDING} ORDER BY started_at, id
"""  # noqa: S608
_ALL_STANDING = f"SELECT {COLUMNS} FROM restraints WHERE {STANDING} ORDER BY started_at, id"  # noqa: S608
_EXPIRE = """
UPDATE restraints SET ended_at = expires_at, ended_by = 'expired'
WHERE ended_at IS NULL AND expires_at <= clock_timestamp() RETURNING 1
"""
_FORGET = "DELETE FROM restraints WHERE ended_at < clock_timestamp() - make_interval(secs => $1)"
# Two who switch it on at once stand in line.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('yardmaster-restraints'))"
_BOUNDS = ("min_priority", "max_running", "max_share")


async def begin(
    connection: HotConnection,
    restraint_id: UUID,
    kind: Kind,
    pool: str | None,
    fields: Mapping[str, Any],
    *,
    reason: str,
    source: str,
    by: str,
    expires_at: datetime,
) -> Restraint | None:
    """Hold a pool back (None: all); `fields` are its bounds. None: one with this id stands, or stood."""
    bounds = [fields.get(name) for name in _BOUNDS]
    asks = bool(fields.get("require_approval"))
    row = await connection.fetchrow(_BEGIN, restraint_id, kind, pool, *bounds, asks, reason, source, by, expires_at)
    await notify(connection, TOPIC)
    return None if row is None else Restraint(*row)


async def put(
    connection: HotConnection,
    pool: str | None,
    fields: Mapping[str, Any],
    *,
    reason: str,
    by: str,
    expires_at: datetime,
) -> tuple[Restraint, bool]:
    """Emergency mode as a person wants it, in place of what people wanted there before; whether that was something."""
    await connection.execute(_LOCK)
    replaced = bool(await connection.fetch(_REPLACE, pool, by))
    new = UUID(bytes=uuid_utils.uuid7().bytes)
    made = await begin(
        connection, new, "emergency", pool, fields, reason=reason, source="person", by=by, expires_at=expires_at
    )
    assert made is not None
    return made, replaced


async def end(connection: HotConnection, restraint_id: UUID, by: str) -> bool:
    """End it; False where it stood no more."""
    ended = bool(await connection.fetch(_END, restraint_id, by))
    await notify(connection, TOPIC)
    return ended


async def lift(connection: HotConnection, pool: str | None, by: str) -> list[Restraint]:
    """End emergency mode of this pool, or (None) all of it, whoever switched it on: what stood."""
    await connection.execute(_LOCK)
    rows = await connection.fetch(_LIFT, pool, by)
    await notify(connection, TOPIC)
    return [Restraint(*row) for row in rows]


async def standing(connection: HotConnection, kind: Kind = "emergency") -> Sequence[Restraint]:
    """Those that stand, oldest first."""
    return [Restraint(*row) for row in await connection.fetch(_STANDING, kind)]


async def holds(connection: HotConnection, pools: Iterable[str]) -> Mapping[str, Hold | None]:
    """What holds each of these pools back now."""
    found = [Restraint(*row) for row in await connection.fetch(_ALL_STANDING)]
    return {pool: hold_of(found, pool) for pool in pools}


async def sweep(connection: HotConnection, keep_s: float) -> None:
    """Mark as ended what has expired, and forget what ended long ago."""
    await connection.execute(_EXPIRE)
    await connection.execute(_FORGET, keep_s)
