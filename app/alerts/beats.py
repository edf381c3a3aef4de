"""How late the loops of this manager are, told to the others: one small row a manager, written anew each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from app.core.db import Database
from app.core.jsonbody import dump_json

BEAT_S = 10.0
FORGET_S = 3600.0

_TELL = """
INSERT INTO loop_beats (manager_id, lags, at) VALUES ($1, $2::json, clock_timestamp())
ON CONFLICT (manager_id) DO UPDATE SET lags = EXCLUDED.lags, at = EXCLUDED.at
"""
_FORGET = "DELETE FROM loop_beats WHERE at < clock_timestamp() - make_interval(secs => $1)"

type Lags = Callable[[], Mapping[str, float]]


class Beats:
    """Tells the lags of this manager's loops. `lags`: seconds by the loop's name."""

    def __init__(self, db: Database, me: UUID, lags: Lags) -> None:
        self._db, self._me, self._lags = db, me, lags

    async def tick(self) -> float | None:
        async with self._db.hot() as connection:
            await connection.execute(_TELL, self._me, dump_json(dict(self._lags())))
            await connection.execute(_FORGET, FORGET_S)
        return None

    async def leave(self) -> None:
        """Say no more: this manager stops."""
        async with self._db.hot() as connection:
            await connection.execute("DELETE FROM loop_beats WHERE manager_id = $1", self._me)
