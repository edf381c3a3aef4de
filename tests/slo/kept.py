"""Objectives in a database, counted by hand at times of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from app.auth.callers import Caller
from app.core.clock import Clock
from app.core.db import Database
from app.core.leader import Leader
from app.settings import SloSettings
from app.slo.loop import SloLoop
from app.slo.numbers import Numbers, numbers
from app.slo.objective import Objective
from app.slo.records import SloRecord, record
from app.slo.service import Slos, Wanted
from app.slo.statements import ALL

ADMIN = Caller("k1", "default", frozenset({"admin"}))
FOR_EVER = 0.0


@dataclass
class Kept:
    """`count` is a pass of the loop as of a time."""

    db: Database
    kept_s: float = FOR_EVER
    settings: SloSettings = field(default_factory=lambda: SloSettings(min_events=1))

    def __post_init__(self) -> None:
        self.slos = Slos(self.db, self.settings)
        self.loop = self.another()

    def another(self) -> SloLoop:
        """The loop of another manager."""
        clock = Clock()
        return SloLoop(self.db, clock, Leader(self.db, clock, "slo", "me"), tasks_kept_s=self.kept_s)

    async def put(self, asked: Objective, **fields: Any) -> SloRecord:
        made, _ = await self.slos.put(ADMIN, Wanted(asked, **fields))
        assert made is not None
        return made

    async def count(self, now: datetime) -> None:
        while await self.loop.run_once(now):
            pass

    async def all(self) -> list[SloRecord]:
        async with self.db.hot() as connection:
            return [record(row) for row in await connection.fetch(ALL)]

    async def numbers(self, now: datetime) -> Numbers:
        """Of the only objective there is."""
        (slo,) = await self.all()
        async with self.db.hot() as connection:
            return await numbers(connection, slo, now)

    async def buckets(self) -> Sequence[asyncpg.Record]:
        async with self.db.hot() as connection:
            return await connection.fetch(
                "SELECT start, good, bad, unscored, pending, excluded, named::text FROM slo_buckets ORDER BY 1"
            )

    async def sql(self, statement: str, *values: Any) -> None:
        async with self.db.hot() as connection:
            await connection.execute(statement, *values)
