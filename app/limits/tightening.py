"""Pools that may do less by themselves for as long as the error budget of an objective is exhausted.

    require_approval   each task that is submitted is held until people agree to its start
    freeze_rollouts    replicas are not replaced because the pool's launch changed

Whoever judges objectives says what is the case now (`put`, `clear`); that is set as a whole, so it may be said twice or
by two managers. Those who submit and those who keep replicas ask their manager's copy, which costs no query.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from app.core.batch import Batcher
from app.core.db import Database, HotConnection
from app.core.wake import notify

type Measure = Literal["require_approval", "freeze_rollouts"]

MEASURES: tuple[Measure, ...] = ("require_approval", "freeze_rollouts")
TOPIC = "tightening"

_COLUMNS = "pool, what, slo, owner, since, slo_id"
_ALL = f"SELECT {_COLUMNS} FROM tightened ORDER BY since, slo"  # noqa: S608 - only constants
_OF_SLO = f"SELECT {_COLUMNS} FROM tightened WHERE slo_id = $1 ORDER BY what"  # noqa: S608
_OF_POOL = f"SELECT {_COLUMNS} FROM tightened WHERE pool = $1 ORDER BY since, slo"  # noqa: S608
_PUT = """
INSERT INTO tightened (slo_id, what, pool, owner, slo, since)
SELECT $1, w.what, $3, $4, $5, clock_timestamp() FROM unnest($2::text[]) AS w(what)
ON CONFLICT (slo_id, what) DO NOTHING RETURNING what
"""
_CLEAR = "DELETE FROM tightened WHERE slo_id = $1 AND NOT what = ANY($2::text[]) RETURNING what"


@dataclass(frozen=True, slots=True)
class TightenedRecord:
    """One pool, and what it may not do by itself: since when, and for which objective (of which tenant)."""

    pool: str
    what: Measure
    slo: str
    owner: str
    since: datetime
    slo_id: UUID


async def put(
    connection: HotConnection, slo_id: UUID, measures: Collection[Measure], *, pool: str, owner: str, slo: str
) -> tuple[list[str], list[str]]:
    """Have exactly these for an objective, in the caller's transaction: what began and what was lifted."""
    lifted = [row["what"] for row in await connection.fetch(_CLEAR, slo_id, list(measures))]
    begun = [row["what"] for row in await connection.fetch(_PUT, slo_id, list(measures), pool, owner, slo)]
    if begun or lifted:
        await notify(connection, TOPIC)
    return begun, lifted


async def clear(connection: HotConnection, slo_id: UUID, keep: Collection[Measure] = ()) -> list[str]:
    """Lift what an objective tightens, but for `keep`, in the caller's transaction."""
    lifted = [row["what"] for row in await connection.fetch(_CLEAR, slo_id, list(keep))]
    if lifted:
        await notify(connection, TOPIC)
    return lifted


async def of_slo(connection: HotConnection, slo_id: UUID) -> list[TightenedRecord]:
    """What an objective tightens now."""
    return [TightenedRecord(*row) for row in await connection.fetch(_OF_SLO, slo_id)]


async def of_pool(connection: HotConnection, pool: str) -> list[TightenedRecord]:
    """What tightens a pool now."""
    return [TightenedRecord(*row) for row in await connection.fetch(_OF_POOL, pool)]


class TighteningView:
    """All of it as of the last `refresh`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # One read at a time: an older one must not replace a newer one.
        self._reads: Batcher[None, None] = Batcher(self._read_for, limit=10_000)
        self._pools: dict[Measure, dict[str, str]] = {measure: {} for measure in MEASURES}

    def why_asked(self, pool: str) -> str | None:
        """Why each start of a task of this pool needs people's word, a sentence; None: it does not."""
        slo = self._pools["require_approval"].get(pool)
        return None if slo is None else f"The error budget of the objective {slo!r} is exhausted."

    def freezes_rollouts(self, pool: str) -> bool:
        """Whether this pool's replicas stay of the launch that they have."""
        return pool in self._pools["freeze_rollouts"]

    async def refresh(self) -> None:
        """Read it, in a read that begins after this call; callers that come together share one."""
        await self._reads.put(None)

    async def tick(self) -> float | None:
        """The loop's pass: what a lost hint would have told."""
        await self.refresh()
        return None

    async def _read_for(self, callers: Sequence[None]) -> Sequence[None]:
        async with self._db.read() as connection:
            found = [TightenedRecord(*row) for row in await connection.fetch(_ALL)]
        self._pools = {name: {item.pool: item.slo for item in found if item.what == name} for name in MEASURES}
        return callers
