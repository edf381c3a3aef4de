"""What the routes of objectives show, read from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.core.db import Database
from app.limits import tightening
from app.slo import shown
from app.slo import standing_wire as out
from app.slo import statements as sql
from app.slo.budget import Counts
from app.slo.numbers import Numbers, named, numbers
from app.slo.records import SloRecord
from app.slo.windows import Span, span_of


class Desk:
    """Reads; each answer is of one moment of the database's clock."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def numbers_of(self, slo: SloRecord) -> Numbers:
        """How an objective stands now."""
        async with self._db.read() as connection:
            return await numbers(connection, slo, await connection.fetchval("SELECT clock_timestamp()"))

    async def shown(self, slos: Sequence[SloRecord]) -> list[out.SloOut]:
        """Several, and how they stand."""
        async with self._db.read() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            return [shown.slo_out(await numbers(connection, slo, now)) for slo in slos]

    async def whole(self, slo: SloRecord) -> out.WholeSloOut:
        """One, with all that there is to know about it."""
        async with self._db.read() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            found = await numbers(connection, slo, now)
            counted = await named(connection, slo, Span(span_of(slo.objective.window, now).start, now))
            tightened = await tightening.of_slo(connection, slo.id)
        return shown.whole_slo_out(found, counted, tightened)

    async def history(self, slo: SloRecord, step: str, before: datetime | None, limit: int) -> list[out.SloHourOut]:
        """By `step` (hour, day), the newest first."""
        zone = slo.objective.window.zone
        async with self._db.read() as connection:
            rows = await connection.fetch(sql.HISTORY, slo.id, step, zone, before, limit)
        return [shown.hour_out(slo, row["start"], Counts(*list(row.values())[1:])) for row in rows]
