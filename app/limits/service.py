"""Verbs of limits. Each hints the managers in the transaction that changes the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.db import Database
from app.core.errors import Invalid, NotFound
from app.core.wake import notify
from app.limits.view import COLUMNS, TOPIC, LimitRecord, LimitsView

FIELDS = ("rate_per_s", "burst", "concurrency", "policy", "weight")

_PUT = f"""
INSERT INTO limits (kind, name, rate_per_s, burst, concurrency, policy, weight, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())
ON CONFLICT (kind, name) DO UPDATE SET rate_per_s = EXCLUDED.rate_per_s, burst = EXCLUDED.burst,
  concurrency = EXCLUDED.concurrency, policy = EXCLUDED.policy, weight = EXCLUDED.weight,
  updated_at = EXCLUDED.updated_at
RETURNING {COLUMNS}
"""  # noqa: S608 - only constants
_DELETE = f"DELETE FROM limits WHERE kind = $1 AND name = $2 RETURNING {COLUMNS}"  # noqa: S608
_GET = f"SELECT {COLUMNS} FROM limits WHERE kind = $1 AND name = $2"  # noqa: S608
_PAGE = f"""
SELECT {COLUMNS} FROM limits WHERE ($1::text IS NULL OR (kind, name) > ($1, $2)) AND ($3::text IS NULL OR kind = $3)
ORDER BY kind, name LIMIT $4
"""  # noqa: S608


class LimitNotFound(NotFound):
    code, title = "limit_not_found", "No such limit"


class LimitMisplaced(Invalid):
    code, title = "limit_misplaced", "This kind has no such limit"


class Limits:
    """Set, read and lift limits; admins only."""

    def __init__(self, db: Database, view: LimitsView) -> None:
        self._db, self._view = db, view

    async def put(self, kind: str, name: str, fields: Mapping[str, Any]) -> LimitRecord:
        """Set a limit as a whole, and use it in this manager at once; raises LimitMisplaced."""
        check(kind, fields)
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(_PUT, kind, name, *(fields[field] for field in FIELDS))
            await notify(connection, TOPIC)
        assert row is not None
        await self._view.refresh()
        return LimitRecord(*row)

    async def delete(self, kind: str, name: str) -> LimitRecord:
        """Lift a limit: what it was. Raises LimitNotFound."""
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(_DELETE, kind, name)
            await notify(connection, TOPIC)
        if row is None:
            raise _missing(kind, name)
        await self._view.refresh()
        return LimitRecord(*row)

    async def get(self, kind: str, name: str) -> LimitRecord:
        """One limit; raises LimitNotFound."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(_GET, kind, name)
        if row is None:
            raise _missing(kind, name)
        return LimitRecord(*row)

    async def page(self, kind: str | None, after: tuple[str, str] | None, limit: int) -> list[LimitRecord]:
        """By kind and name."""
        async with self._db.read() as connection:
            rows = await connection.fetch(_PAGE, *(after or (None, None)), kind, limit)
        return [LimitRecord(*row) for row in rows]


def check(kind: str, fields: Mapping[str, Any]) -> None:
    """Raise LimitMisplaced for what the kind cannot have: it would be kept and never looked at."""
    if fields["weight"] is not None and kind != "tenant":
        raise _misplaced("weight", f"A {kind} has no weight: turns are shared between tenants.")
    if fields["concurrency"] is not None and kind == "key":
        raise _misplaced("concurrency", "Concurrency is limited for a tenant or a pool, not for an API key.")


def _misplaced(path: str, message: str) -> LimitMisplaced:
    return LimitMisplaced(message, extra={"errors": [{"path": path, "message": message}]})


def _missing(kind: str, name: str) -> LimitNotFound:
    return LimitNotFound(f"There is no limit for the {kind} {name!r}.")
