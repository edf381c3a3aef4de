"""Rows by the million, made inside PostgreSQL: queued tasks over many tenants and pools, and a finished history.

They are what the service would have written: turns (`tag`) in the order of submission per tenant, pool and priority
with the matching `queue_tags`; of a finished task its attempt and its three events. Usage rows are left out, as for
agents that report none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg

type Connection = asyncpg.Connection[asyncpg.Record]

TENANTS, POOLS = 200, 50
PLACES = TENANTS * POOLS
CHUNK = 500_000
HISTORY_MS = 30 * 86_400_000
"""The history lies evenly in the thirty days before now."""

# $1, $2: first and last number; $3, $4: the time of number 0 and the step to the next, in ms; $5: turns given before.
# Task number i belongs to place (i * 7919) % PLACES: all tenants and pools come up early and equally often.
_NUMBERED = f"""
SELECT i, (i * 7919 % {PLACES}) / {POOLS} AS tenant, i * 7919 % {POOLS} AS pool, $5::bigint + i / {PLACES} + 1 AS turn,
  $3::bigint + (i * $4::float8)::bigint AS ms, md5(i::text) AS h
FROM generate_series($1::bigint, $2::bigint) i
"""
_ID = """(lpad(to_hex(ms), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 5, 3) || substr(h, 9, 12))::uuid"""
_AT = "to_timestamp(ms / 1000.0)"
_TENANT = "'tenant-' || tenant"
_POOL = "'backlog-' || pool"
_PAYLOAD = """json_build_object('text', repeat(h, 5), 'n', i)"""
_AGENT = "('0b3c5b52-7a3e-4f6e-9f0f-' || lpad(to_hex(pool), 12, '0'))::uuid"
_FAILED = "i % 20 = 0"

QUEUED = f"""
INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts, created_at,
  queued_at)
SELECT {_ID}, {_TENANT}, 'bench', {_POOL}, 'bench', {_PAYLOAD}, 0, turn, 'queued', 3, {_AT}, {_AT} FROM ({_NUMBERED}) n
"""
QUEUED_EVENTS = f"""
INSERT INTO events (task_id, seq, tenant, type, at, data)
SELECT {_ID}, 1, {_TENANT}, 'task.queued', {_AT}, json_build_object('pool', {_POOL}, 'priority', 0) FROM ({_NUMBERED}) n
"""
TURNS = f"""
INSERT INTO queue_tags (pool, priority, tenant, last_tag, added)
SELECT {_POOL}, 0, {_TENANT}, max(turn), 1 FROM ({_NUMBERED}) n GROUP BY pool, tenant
ON CONFLICT (pool, priority, tenant) DO UPDATE SET last_tag = GREATEST(queue_tags.last_tag, EXCLUDED.last_tag)
"""
FINISHED = f"""
INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, attempt, max_attempts, fence,
  event_seq, agent_id, result, error_code, error_message, created_at, queued_at, started_at, attempt_started_at,
  finished_at)
SELECT {_ID}, {_TENANT}, 'bench', {_POOL}, 'bench', {_PAYLOAD}, 0, turn,
  CASE WHEN {_FAILED} THEN 'failed' ELSE 'succeeded' END, 1, 3, 1, 3, {_AGENT},
  CASE WHEN NOT {_FAILED} THEN '{{"ok":true}}'::json END, CASE WHEN {_FAILED} THEN 'executor_error' END,
  CASE WHEN {_FAILED} THEN 'The agent answered 500.' END, {_AT}, {_AT}, {_AT}, {_AT}, {_AT}
FROM ({_NUMBERED}) n
"""
ATTEMPTS = f"""
INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, manager_id, started_at, finished_at, outcome, counted)
SELECT {_ID}, 1, 1, {_POOL}, {_AGENT}, {_AGENT}, {_AT}, {_AT},
  CASE WHEN {_FAILED} THEN 'failed' ELSE 'succeeded' END, true
FROM ({_NUMBERED}) n
"""
EVENTS = f"""
INSERT INTO events (task_id, seq, tenant, type, at, data)
SELECT {_ID}, seq, {_TENANT},
  CASE seq WHEN 1 THEN 'task.queued' WHEN 2 THEN 'task.running'
    ELSE CASE WHEN {_FAILED} THEN 'task.failed' ELSE 'task.succeeded' END END, {_AT},
  CASE seq WHEN 1 THEN json_build_object('pool', {_POOL}, 'priority', 0)
    WHEN 2 THEN json_build_object('attempt', 1, 'fence', 1, 'agent_id', {_AGENT})
    ELSE json_build_object('attempt', 1) END
FROM ({_NUMBERED}) n CROSS JOIN generate_series(1, 3) seq
"""


LOADING = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "'16GB'"}
"""What the server can do without while it loads rows that nobody would miss."""


async def load(database_url: str, *, queued: int, finished: int) -> float:
    """Insert so many tasks of each kind, then vacuum, analyze and checkpoint. The database's size in 10^9 bytes."""
    connection = await asyncpg.connect(database_url)
    try:
        await configure(connection, [f"SET {name} = {value}" for name, value in LOADING.items()])
        await _fill(connection, database_url, queued, finished)
        await connection.execute("VACUUM (ANALYZE) tasks, attempts, events, queue_tags")
        await configure(connection, [f"RESET {name}" for name in LOADING])
        await connection.execute("CHECKPOINT")
        return float(await connection.fetchval("SELECT pg_database_size(current_database())")) / 1e9
    finally:
        await connection.close()


async def configure(connection: Connection, changes: Sequence[str]) -> None:
    """Change settings of the whole server."""
    for change in changes:
        await connection.execute(f"ALTER SYSTEM {change}")
    await connection.execute("SELECT pg_reload_conf()")


async def _fill(connection: Connection, database_url: str, queued: int, finished: int) -> None:
    """First the history, evenly over its time; then the queue, all of it new and with later turns."""
    now_ms, turns = int(time.time() * 1000), -(-finished // PLACES)
    past = (now_ms - HISTORY_MS, HISTORY_MS / max(1, finished), 0)
    present = (now_ms, 0.0, turns)
    await asyncio.gather(*(_insert(database_url, sql, finished, *past) for sql in (FINISHED, ATTEMPTS, EVENTS)))
    await asyncio.gather(*(_insert(database_url, sql, queued, *present) for sql in (QUEUED, QUEUED_EVENTS)))
    for count, (ms, step_ms, before) in ((finished, past), (queued, present)):
        if count:
            await connection.execute(TURNS, max(0, count - PLACES), count - 1, ms, step_ms, before)


async def _insert(database_url: str, sql: str, count: int, since_ms: int, step_ms: float, turns: int) -> None:
    """Tasks number 0 to count - 1, in chunks, over a connection of its own."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET synchronous_commit = off")
        for first in range(0, count, CHUNK):
            await connection.execute(sql, first, min(count, first + CHUNK) - 1, since_ms, step_ms, turns)
    finally:
        await connection.close()
