"""What the autoscaler reads, and what it keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app.core.db import Database, HotConnection
from app.scaling.demand import RATIO, Counts, Ended

LOOKED_AT = 1000
COLD_START_SHARE = 0.3
"""How much the newest cold start weighs in the mean."""

_READY = "status = 'queued' AND wake_at IS NULL"
# Claimable tasks are counted in the index. The oldest of them, and how many were suspended before, are told from those
# at the head of the queue: of so many, a further one would change neither by much.
# Tasks pinned to an agent are that agent's only: another replica could not take them.
_COUNTS = f"""
WITH running AS (
  SELECT pool, count(*) AS n FROM tasks WHERE status = 'running' GROUP BY pool
)
SELECT p.pool, q.n AS queued, head.oldest_s, head.resuming, COALESCE(r.n, 0) AS running
FROM unnest($1::text[]) AS p(pool)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM tasks t
  WHERE t.pool = p.pool AND {_READY} AND pinned_agent_id IS NULL {{free}}) q
LEFT JOIN running r ON r.pool = p.pool
CROSS JOIN LATERAL (SELECT
  COALESCE(extract(epoch FROM clock_timestamp() - min(h.queued_at)), 0)::float8 AS oldest_s,
  count(*) FILTER (WHERE h.resume IS NOT NULL) AS resuming
  FROM (SELECT queued_at, resume FROM tasks t WHERE t.pool = p.pool AND {_READY} AND pinned_agent_id IS NULL {{free}}
    ORDER BY priority DESC, tag, id LIMIT $2) h) head
"""  # noqa: S608 - only constants
# What a stop or a restraint holds, nobody may start. Looked at only while there is one: else the index alone counts.
_STOPS = """
SELECT EXISTS (SELECT FROM stops WHERE lifted_at IS NULL AND agent_id IS NULL AND label_key IS NULL)
  OR EXISTS (SELECT FROM restraints WHERE ended_at IS NULL AND expires_at > clock_timestamp())
"""
_FREE = """AND NOT EXISTS (SELECT FROM stops s WHERE s.lifted_at IS NULL AND s.agent_id IS NULL AND s.label_key IS NULL
  AND (s.tenant IS NULL OR s.tenant = t.tenant) AND (s.pool IS NULL OR s.pool = t.pool))
  AND NOT EXISTS (SELECT FROM restraints r WHERE r.ended_at IS NULL AND r.expires_at > clock_timestamp()
    AND (r.pool IS NULL OR r.pool = t.pool) AND (t.priority < r.min_priority OR r.max_running = 0))"""
# What gave a slot back: a refusal or a return never used it, or comes again as it was.
_ENDED = """
SELECT pool, floor(ln(greatest(seconds, 0.001)) / ln($4::float8) + 1e-9)::int AS bin, count(*)::int AS n,
  sum(seconds) AS total, sum(seconds * seconds) AS squares
FROM (
  SELECT a.pool, greatest(0, extract(epoch FROM a.finished_at - a.started_at))::float8 AS seconds
  FROM attempts a JOIN unnest($1::text[], $2::timestamptz[]) AS p(pool, after) ON p.pool = a.pool
  WHERE a.finished_at > $3 AND a.finished_at > p.after AND a.started_at IS NOT NULL
    AND (a.counted OR a.outcome = 'suspended')
) a GROUP BY 1, 2
"""
_USAGE = """
SELECT pool, sum(input_tokens + output_tokens)::float8 / count(DISTINCT (task_id, fence)) AS tokens,
  count(*)::float8 / count(DISTINCT (task_id, fence)) AS requests
FROM usage WHERE pool = ANY($1) AND task_id >= $2 AND model <> '' GROUP BY pool
"""
_STATES = "SELECT pool, version, state, cold_start_s, decision FROM pool_scaling"
_KEEP = """
INSERT INTO pool_scaling AS p (pool, version, state, decision, decided_at)
VALUES ($1, $2 + 1, $3::json, $4::json, clock_timestamp())
ON CONFLICT (pool) DO UPDATE SET version = EXCLUDED.version, state = EXCLUDED.state, decision = EXCLUDED.decision,
  decided_at = EXCLUDED.decided_at
WHERE p.version = $2 RETURNING 1
"""
_DECIDED = """
INSERT INTO scale_decisions (id, pool, before, desired, recommended, code, reason, inputs)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json)
"""
_MINUTE = """
INSERT INTO pool_load AS l (pool, minute, arrivals, finished, service_s, service_sq, queued, running, replicas)
VALUES ($1, date_trunc('minute', $2::timestamptz), $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (pool, minute) DO UPDATE SET arrivals = l.arrivals + EXCLUDED.arrivals,
  finished = l.finished + EXCLUDED.finished, service_s = l.service_s + EXCLUDED.service_s,
  service_sq = l.service_sq + EXCLUDED.service_sq, queued = greatest(l.queued, EXCLUDED.queued),
  running = greatest(l.running, EXCLUDED.running), replicas = greatest(l.replicas, EXCLUDED.replicas)
"""
_COLD = """
INSERT INTO pool_scaling AS p (pool, cold_start_s) SELECT name, $2 FROM pools WHERE name = $1
ON CONFLICT (pool) DO UPDATE SET cold_start_s = COALESCE(p.cold_start_s * (1 - $3) + EXCLUDED.cold_start_s * $3,
  EXCLUDED.cold_start_s)
"""
_SHOWN = """
SELECT version, state, cold_start_s, decision, decided_at FROM pool_scaling WHERE pool = $1
"""
_DECISIONS = """
SELECT id, at, before, desired, recommended, code, reason, inputs FROM scale_decisions
WHERE pool = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""
_LOAD = """
SELECT minute, arrivals, finished, service_s, service_sq, queued, running, replicas FROM pool_load
WHERE pool = $1 AND minute >= $2 AND minute < $3 AND ($4::timestamptz IS NULL OR minute > $4) ORDER BY minute LIMIT $5
"""
_SEASON = """
SELECT extract(epoch FROM l.minute)::float8 AS at, l.arrivals FROM generate_series(1, 14) AS day
CROSS JOIN LATERAL (SELECT minute, arrivals FROM pool_load
  WHERE pool = $1 AND minute BETWEEN $2::timestamptz - day * interval '1 day' - $3::interval
    AND $2::timestamptz - day * interval '1 day' + $3::interval) l
ORDER BY l.minute
"""
_FORGET = (
    "DELETE FROM pool_load WHERE minute < $1",
    "DELETE FROM scale_decisions WHERE at < $1",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the pass before left. `version` 0: nothing."""

    version: int = 0
    state: Mapping[str, Any] | None = None
    cold_start_s: float | None = None
    decision: Mapping[str, Any] | None = None


async def counts(connection: HotConnection, pools: Collection[str]) -> dict[str, Counts]:
    """Each of these pools as it is now, without what a stop or a restraint holds."""
    free = _FREE if await connection.fetchval(_STOPS) else ""
    rows = await connection.fetch(_COUNTS.format(free=free), list(pools), LOOKED_AT)
    return {row["pool"]: Counts(row["queued"], row["oldest_s"], row["resuming"], row["running"]) for row in rows}


async def ended(connection: HotConnection, after: Mapping[str, datetime]) -> dict[str, Ended]:
    """What gave slots back since a time of each pool's own."""
    bins: dict[str, dict[int, tuple[int, float, float]]] = defaultdict(dict)
    if not after:
        return {}
    for row in await connection.fetch(_ENDED, list(after), list(after.values()), min(after.values()), RATIO):
        bins[row["pool"]][row["bin"]] = (row["n"], row["total"], row["squares"])
    return {pool: Ended(found) for pool, found in bins.items()}


async def usage(connection: HotConnection, pools: Collection[str], since: UUID) -> dict[str, tuple[float, float]]:
    """(tokens, requests) of the model's provider per attempt that used any, of tasks from `since` (a UUIDv7) on."""
    rows = await connection.fetch(_USAGE, list(pools), since)
    return {row["pool"]: (row["tokens"], row["requests"]) for row in rows}


async def kept(connection: HotConnection) -> dict[str, Kept]:
    """What is kept of every pool."""
    return {row["pool"]: _kept(row) for row in await connection.fetch(_STATES)}


async def keep(connection: HotConnection, pool: str, version: int, state: bytes, decision: bytes) -> bool:
    """Write what a pass leaves; False where another pass wrote since `version`."""
    return bool(await connection.fetchval(_KEEP, pool, version, state.decode(), decision.decode()))


async def keep_state(connection: HotConnection, pool: str, state: bytes) -> None:
    """Correct the state just kept, in the same transaction."""
    await connection.execute("UPDATE pool_scaling SET state = $2::json WHERE pool = $1", pool, state.decode())


async def note_decision(
    connection: HotConnection,
    decision_id: UUID,
    pool: str,
    before: int,
    desired: int,
    recommended: int,
    code: str,
    reason: str,
    inputs: bytes,
) -> None:
    await connection.execute(_DECIDED, decision_id, pool, before, desired, recommended, code, reason, inputs.decode())


async def note_minute(
    connection: HotConnection, pool: str, at: datetime, arrivals: float, ended: Ended, counts: Counts, replicas: int
) -> None:
    """Add a pass to its minute."""
    total = sum(total for _, total, _ in ended.bins.values())
    squares = sum(squares for _, _, squares in ended.bins.values())
    await connection.execute(
        _MINUTE, pool, at, arrivals, ended.count, total, squares, counts.queued, counts.running, replicas
    )


async def note_cold_starts(connection: HotConnection, pool: str, seconds: Sequence[float]) -> None:
    """Add to the moving mean of the time from launch to ready."""
    for each in seconds:
        await connection.execute(_COLD, pool, each, COLD_START_SHARE)


async def season(connection: HotConnection, pool: str, at: datetime, around: timedelta) -> list[tuple[float, float]]:
    """(epoch seconds, arrivals) of the recorded minutes around this time of earlier days."""
    rows = await connection.fetch(_SEASON, pool, at, around)
    return [(row["at"], row["arrivals"]) for row in rows]


async def shown(db: Database, pool: str) -> asyncpg.Record | None:
    """version, state, cold_start_s, decision, decided_at."""
    async with db.read() as connection:
        return await connection.fetchrow(_SHOWN, pool)


async def decisions(db: Database, pool: str, *, before: UUID | None, limit: int) -> list[asyncpg.Record]:
    """The newest first."""
    async with db.read() as connection:
        return await connection.fetch(_DECISIONS, pool, before, limit)


async def load(
    db: Database, pool: str, since: datetime, until: datetime, *, after: datetime | None, limit: int
) -> list[asyncpg.Record]:
    """Recorded minutes, the oldest first."""
    async with db.read() as connection:
        return await connection.fetch(_LOAD, pool, since, until, after, limit)


async def forget(db: Database, load_before: datetime, decisions_before: datetime) -> None:
    """Delete what is older."""
    async with db.hot() as connection:
        for statement, before in zip(_FORGET, (load_before, decisions_before), strict=True):
            await connection.execute(statement, before)


def _kept(row: asyncpg.Record) -> Kept:
    state, decision = (None if row[name] is None else orjson.loads(row[name]) for name in ("state", "decision"))
    return Kept(row["version"], state, row["cold_start_s"], decision)
