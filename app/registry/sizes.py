"""What the loops that keep fleets write about a pool: its size, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from app.core.db import HotConnection
from app.core.wake import notify

TOPIC = "registry"

# The number it was judged from must still be wanted, and the bounds still hold: a scale by hand, or a new definition of
# the pool, comes before a decision made without knowing of it.
_RESIZE = """
UPDATE pools SET desired = $3, updated_at = clock_timestamp()
WHERE name = $1 AND desired = $2 AND desired <> $3 AND launch->>'kind' <> 'external'
  AND $3 BETWEEN (scale->>'min')::int AND (scale->>'max')::int
  AND NOT conditions @> '[{"code": "foreign_autoscaler"}]'
RETURNING 1
"""
# `since` stays for a code that was there before; nothing is written where nothing but that would change.
_CONDITIONS = """
WITH given AS (
  SELECT code, message FROM jsonb_to_recordset($3::jsonb) AS g(code text, message text)
), made AS (
  SELECT p.name, COALESCE(jsonb_agg(kept.value) FILTER (WHERE kept.value IS NOT NULL), '[]')
    || (SELECT COALESCE(jsonb_agg(jsonb_build_object('source', $2::text, 'code', g.code, 'message', g.message, 'since',
      COALESCE((SELECT o->>'since' FROM jsonb_array_elements(p.conditions) o
        WHERE o->>'source' = $2 AND o->>'code' = g.code LIMIT 1),
        to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) ORDER BY g.code), '[]')
      FROM given g) AS conditions
  FROM pools p LEFT JOIN LATERAL jsonb_array_elements(p.conditions) kept ON kept->>'source' <> $2
  WHERE p.name = $1 GROUP BY p.name, p.conditions
)
UPDATE pools p SET conditions = made.conditions, updated_at = clock_timestamp()
FROM made WHERE p.name = made.name AND p.conditions <> made.conditions
RETURNING 1
"""


async def resize(connection: HotConnection, pool: str, expected: int, replicas: int) -> bool:
    """Want `replicas` where `expected` were wanted; False where something else is wanted by now, or out of bounds."""
    changed = await connection.fetchval(_RESIZE, pool, expected, replicas)
    if changed:
        await notify(connection, TOPIC)
    return bool(changed)


async def set_conditions(
    connection: HotConnection, pool: str, source: str, conditions: Sequence[tuple[str, str]]
) -> bool:
    """The (code, message) pairs that `source` finds wrong with the pool now, in place of those it found before; whether
    that changed anything. What other sources found stays."""
    given: list[dict[str, Any]] = [{"code": code, "message": message} for code, message in conditions]
    changed = await connection.fetchval(_CONDITIONS, pool, source, orjson.dumps(given).decode())
    if changed:
        await notify(connection, TOPIC)
    return bool(changed)
