"""Reads of probes, of their runs, and of what these say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.core.db import Database, HotConnection
from app.slo import probe_sql as sql
from app.slo import probe_verdict
from app.slo.probe_records import ProbeRecord, RunRecord
from app.slo.probe_verdict import Seen, Standing


@dataclass(frozen=True, slots=True)
class Watched:
    """A probe, the last runs that it is judged by (newest first), and what they say."""

    probe: ProbeRecord
    runs: Sequence[Seen]
    standing: Standing


def record(row: Any) -> ProbeRecord:
    """A row of COLUMNS."""
    return ProbeRecord(**{**dict(row), "labels": orjson.loads(row["labels"])})


def run_record(row: Any) -> RunRecord:
    """A row of RUN_COLUMNS."""
    return RunRecord(**{**dict(row), "checks": orjson.loads(row["checks"] or "[]")})


async def page(db: Database, *, after: str | None, limit: int) -> list[Watched]:
    """Probes by name."""
    async with db.read() as connection:
        found = [record(row) for row in await connection.fetch(sql.PAGE, after, limit)]
        return await _judged(connection, found, await connection.fetchval(sql.NOW))


async def one(db: Database, name: str) -> Watched | None:
    """A probe by its name."""
    async with db.read() as connection:
        row = await connection.fetchrow(sql.ONE, name)
        if row is None:
            return None
        return (await _judged(connection, [record(row)], await connection.fetchval(sql.NOW)))[0]


async def watched(connection: HotConnection, now: datetime) -> list[Watched]:
    """Those that are enabled."""
    return await _judged(connection, [record(row) for row in await connection.fetch(sql.WATCHED)], now)


async def runs(db: Database, probe_id: UUID, *, before: datetime | None, limit: int) -> list[RunRecord]:
    """Of one probe, the latest planned time first."""
    async with db.read() as connection:
        return [run_record(row) for row in await connection.fetch(sql.RUNS, probe_id, before, limit)]


async def _judged(connection: HotConnection, probes: Sequence[ProbeRecord], now: datetime) -> list[Watched]:
    seen: dict[UUID, list[Seen]] = defaultdict(list)
    for probe_id, *run in await connection.fetch(sql.SEEN, [probe.id for probe in probes]):
        seen[probe_id].append(Seen(*run))
    return [Watched(probe, seen[probe.id], _standing(probe, seen[probe.id], now)) for probe in probes]


def _standing(probe: ProbeRecord, runs_: Sequence[Seen], now: datetime) -> Standing:
    return probe_verdict.standing(
        runs_,
        fail_after=probe.fail_after,
        of_last=probe.of_last,
        every_s=probe.every_s,
        timeout_s=probe.timeout_s,
        now=now,
    )
