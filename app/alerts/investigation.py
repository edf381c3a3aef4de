"""Reports: what a pool looked like when an alert began to fire. Bounded in size, whatever there is to tell.

Reads join other domains' tables, and write none of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog

from app.core.db import HotConnection
from app.core.jsonbody import dump_bytes

log = structlog.get_logger()

SECTION_TIMEOUT = "3s"
MAX_FAILED = 3
"""So long a statement may take. After so many sections that failed the rest is left out unread."""
MAX_BYTES = 262_144
MAX_POOLS, MAX_AGENTS, MAX_TYPES, MAX_PRIORITIES = 3, 50, 20, 20
MAX_TEXT = 500
SECTIONS = ("pool", "queue", "scaling", "errors", "agents", "types", "slowest", "balancer")
"""What is told of a pool, the most telling first: the last ones are left out where the report grows too large."""

type Live = Callable[[str], Awaitable[Mapping[str, Any]]]
"""What a manager's memory holds of a pool, as JSON: `balancer`. Of the pool "": of the manager itself."""

type Key = tuple[str, str, datetime]
"""Of an alert instance: rule, fingerprint, fired_at."""

_POOL = """
SELECT name, balancer, slots, desired, scale, launch->>'kind' AS launch, conditions, updated_at FROM pools
WHERE name = $1
"""
_BUSIEST = """
SELECT pool FROM attempts WHERE finished_at > clock_timestamp() - make_interval(secs => $1)
GROUP BY pool ORDER BY sum(extract(epoch FROM finished_at - started_at)) DESC NULLS LAST, pool LIMIT $2
"""
_QUEUE = """
SELECT priority, count(*) AS queued, count(*) FILTER (WHERE wake_at IS NOT NULL) AS not_yet,
  count(*) FILTER (WHERE parked_by IS NOT NULL) AS without_money,
  extract(epoch FROM clock_timestamp() - min(queued_at))::float8 AS oldest_s
FROM tasks WHERE pool = $1 AND status = 'queued' GROUP BY priority ORDER BY priority DESC LIMIT $2
"""
_STATUSES = """
SELECT status, count(*) AS n FROM tasks WHERE pool = $1 AND status IN ('held', 'queued', 'running', 'waiting')
GROUP BY status
"""
_SCALING = "SELECT decision, decided_at, cold_start_s FROM pool_scaling WHERE pool = $1"
_RECENT = """
  SELECT a.*, extract(epoch FROM a.finished_at - a.started_at)::float8 AS seconds FROM attempts a
  WHERE a.pool = $1 AND a.finished_at > clock_timestamp() - make_interval(secs => $2)
"""
_AGENTS = f"""
SELECT g.id, g.status, g.status_reason, g.slots, g.running, g.version, g.ejected_until, g.ejected_reason,
  g.last_seen_at, g.registered_at, r.tried, r.failed, r.mean_s, r.p95_s
FROM agents g LEFT JOIN (
  SELECT agent_id, count(*) FILTER (WHERE counted) AS tried, count(*) FILTER (WHERE outcome = 'failed') AS failed,
    avg(seconds) AS mean_s, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_s
  FROM ({_RECENT}) recent GROUP BY agent_id) r ON r.agent_id = g.id
WHERE g.pool = $1 AND g.status <> 'gone' ORDER BY r.p95_s DESC NULLS LAST, g.id LIMIT $3
"""  # noqa: S608 - only constants
_TYPES = f"""
SELECT t.type, count(*) AS tried, count(*) FILTER (WHERE r.outcome = 'failed') AS failed, avg(r.seconds) AS mean_s,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY r.seconds) AS p95_s, max(r.seconds) AS longest_s
FROM ({_RECENT}) r JOIN tasks t ON t.id = r.task_id WHERE r.counted
GROUP BY t.type ORDER BY p95_s DESC NULLS LAST, t.type LIMIT $3
"""  # noqa: S608
_SLOWEST = f"""
SELECT r.task_id, r.fence, r.attempt, r.agent_id, t.type, t.tenant, r.started_at, r.seconds, r.outcome, r.error_code,
  left(r.error_message, {MAX_TEXT}) AS error_message
FROM ({_RECENT}) r LEFT JOIN tasks t ON t.id = r.task_id ORDER BY r.seconds DESC NULLS LAST, r.task_id LIMIT $3
"""  # noqa: S608
_ERRORS = f"""
SELECT error_code, count(*) AS n, left(min(error_message), {MAX_TEXT}) AS example FROM ({_RECENT}) r
WHERE outcome = 'failed' GROUP BY error_code ORDER BY n DESC, error_code LIMIT $3
"""  # noqa: S608

_KEEP = """
INSERT INTO alert_reports (id, rule, fingerprint, fired_at, pool, report, created_at)
VALUES ($1, $2, $3, $4, $5, $6::json, clock_timestamp()) ON CONFLICT (id) DO NOTHING
"""
_GET = "SELECT id, rule, fingerprint, fired_at, pool, report, created_at FROM alert_reports WHERE id = $1"
_OF_ALERTS = """
SELECT r.id, r.rule, r.fingerprint, r.fired_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS k(rule, fingerprint, fired_at)
JOIN alert_reports r USING (rule, fingerprint, fired_at)
"""


async def capture(connection: HotConnection, pool: str, window_s: float, slowest: int, live: Live) -> dict[str, Any]:
    """The report on a pool; without one, on those that worked most, in the caller's transaction. Sections that are too
    large or could not be read are named in `left_out`."""
    await connection.execute(f"SET LOCAL statement_timeout = '{SECTION_TIMEOUT}'")
    sections = _Sections(connection, [])
    pools = [pool]
    if not pool:
        pools = [row["pool"] for row in await sections.rows("pools", _BUSIEST, window_s, MAX_POOLS) or ()]
    report: dict[str, Any] = {
        "captured_at": await connection.fetchval("SELECT clock_timestamp()"),
        "window_s": window_s,
        "manager": dict(await live("")),
        "pools": {name: await _of_pool(sections, name, window_s, slowest, live) for name in pools},
        "left_out": sections.failed,
    }
    return bounded(report)


def bounded(report: dict[str, Any], max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The report without what makes it too large: the least telling sections go first."""
    found: dict[str, Any] = orjson.loads(dump_bytes(report))
    for section in reversed(SECTIONS):
        if len(dump_bytes(found)) <= max_bytes:
            return found
        for name, told in found["pools"].items():
            if told.pop(section, None) is not None:
                found["left_out"].append(f"{name}.{section}")
    if len(dump_bytes(found)) > max_bytes:
        found["manager"], found["pools"] = {}, {}
        found["left_out"] = ["everything"]
    return found


@dataclass(frozen=True, slots=True)
class _Sections:
    """Reads one section after the other, each in a savepoint: one that fails is named, and takes no other with it."""

    connection: HotConnection
    failed: list[str]

    async def rows(self, section: str, query: str, *values: object) -> list[dict[str, Any]] | None:
        """None: it is left out."""
        if len(self.failed) < MAX_FAILED:
            try:
                async with self.connection.transaction():
                    return [dict(row) for row in await self.connection.fetch(query, *values)]
            except (asyncpg.PostgresError, TimeoutError) as exc:
                log.warning("report_section_not_read", section=section, error=repr(exc))
        self.failed.append(section)
        return None


async def _of_pool(sections: _Sections, pool: str, window_s: float, slowest: int, live: Live) -> dict[str, Any]:
    async def rows(section: str, query: str, *values: object) -> list[dict[str, Any]] | None:
        return await sections.rows(f"{pool}.{section}", query, pool, *values)

    found = await rows("pool", _POOL)
    if found == []:
        return {"pool": None}
    statuses = await rows("queue", _STATUSES)
    priorities = None if statuses is None else await rows("queue", _QUEUE, MAX_PRIORITIES)
    scaling = await rows("scaling", _SCALING)
    told = {
        "pool": _read(found[0], "scale", "conditions") if found else None,
        "queue": {"tasks": {item["status"]: item["n"] for item in statuses or ()}, "priorities": priorities},
        "scaling": _read(scaling[0], "decision") if scaling else None,
        "agents": await rows("agents", _AGENTS, window_s, MAX_AGENTS),
        "types": await rows("types", _TYPES, window_s, MAX_TYPES),
        "errors": await rows("errors", _ERRORS, window_s, MAX_TYPES),
        "slowest": await rows("slowest", _SLOWEST, window_s, slowest),
        **await live(pool),
    }
    return {name: section for name, section in told.items() if f"{pool}.{name}" not in sections.failed}


def _read(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """Columns of JSON, which the driver gives as text."""
    return {**row, **{name: None if row[name] is None else orjson.loads(row[name]) for name in names}}


async def keep(
    connection: HotConnection,
    report_id: UUID,
    rule: str,
    fingerprint: str,
    fired_at: datetime,
    pool: str,
    report: Mapping[str, Any],
) -> None:
    """Write the report, once."""
    await connection.execute(_KEEP, report_id, rule, fingerprint, fired_at, pool, dump_bytes(report).decode())


async def get(connection: HotConnection, report_id: UUID) -> dict[str, Any] | None:
    """A report with what it is about; None: there is none."""
    row = await connection.fetchrow(_GET, report_id)
    return None if row is None else _read(dict(row), "report")


async def report_urls(connection: HotConnection, keys: Collection[Key], base: str = "") -> dict[Key, str]:
    """Where the reports of these alert instances are read, of those that have one. `base`: of this service."""
    wanted = list(keys)
    columns = [[key[place] for key in wanted] for place in range(3)]
    rows = await connection.fetch(_OF_ALERTS, *columns)
    return {
        (row["rule"], row["fingerprint"], row["fired_at"]): f"{base.rstrip('/')}/v1/alert-reports/{row['id']}"
        for row in rows
    }
