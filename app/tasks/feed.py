"""The feed of a tenant: the events of all its tasks and budgets, in one order that nothing is ever put into afterwards.

Numbers given out by a sequence, or by a clock, are not in the order of commits: whoever reads up to the highest one
skips what a slow transaction writes below it later. So an event carries the id of its transaction (`tx`), and the
feed ends at the horizon: the oldest transaction that still runs. Behind it all have ended, and a new one gets a higher
id, so (tx, task, number) is final there. A transaction that takes long, in any database of the server, holds the feed
back for as long: that costs time, never an event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import orjson

from app.core.db import Database, HotConnection
from app.core.jsonbody import dump_bytes

NO_TASK = UUID(int=0)
SCAN = 1000
"""Events that one statement looks at, whether they are asked for or not."""
MAX_SCANS = 20
WINDOW, WINDOW_GROWTH = 4096, 16
_LAST_MS = 253_402_300_799_999  # of the year 9999
_CURSOR = re.compile(r"(\d{1,18})\.(\d{1,9})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


class Cursor(NamedTuple):
    """A place in a feed: behind event `seq` of a task in transaction `tx`.

    Without an event (`seq` 0) it is before all of `tx`, and the task's id tells the time instead (its first 48 bits are
    milliseconds), so that one can see how old such a place is.
    """

    tx: int
    task_id: UUID = NO_TASK
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.tx}.{self.seq}.{self.task_id}"

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """From the text that `str` gives; None where it has another form."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            return None
        cursor = cls(int(match[1]), UUID(match[3]), int(match[2]))
        return cursor if cursor.seq or cursor.task_id.int >> 80 <= _LAST_MS else None

    @classmethod
    def before(cls, tx: int, now: datetime) -> Cursor:
        """Before all of a transaction."""
        return cls(tx, UUID(int=int(now.timestamp() * 1000) << 80))

    @property
    def at(self) -> datetime | None:
        """The time of a place without an event."""
        if self.seq:
            return None
        return datetime.fromtimestamp((self.task_id.int >> 80) / 1000, UTC)

    @property
    def key(self) -> tuple[int, UUID, int]:
        """What events are compared with."""
        return self.tx, self.task_id if self.seq else NO_TASK, self.seq


BEGINNING = Cursor(0)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is wanted of a feed. `types` are prefixes; None and nothing: all."""

    types: Sequence[str] = ()
    pool: str | None = None
    task_id: UUID | None = None
    thread_id: str | None = None

    @property
    def nothing(self) -> bool:
        """Whether every event that is looked at is wanted."""
        return not self.types and self.pool is None and self.thread_id is None


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of a feed; `data` is JSON text."""

    cursor: Cursor
    type: str
    at: datetime
    data: str
    pool: str
    thread_id: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted events up to `cursor`. `more`: there may be more behind it already."""

    items: list[FeedEvent]
    cursor: Cursor
    more: bool


# What a page costs does not depend on what is wanted. OFFSET 0 keeps the planner from joining the whole of `tasks`;
# `tx >=` and `tx <` keep it in the window, whatever it believes of the table.
_READ = """
WITH seen AS MATERIALIZED (
  SELECT tx, task_id, seq, type, at, data FROM events
  WHERE tenant = $1 AND tx >= $2 AND (tx, task_id, seq) > ($2, $3, $4) AND tx < $5 {of_task}
  ORDER BY tx, task_id, seq LIMIT $6
), found AS (
  SELECT s.*, p.pool, t.thread_id,
    (cardinality($7::text[]) = 0 OR s.type ^@ ANY($7)) AND ($8::text IS NULL OR p.pool IS NOT DISTINCT FROM $8)
      AND ($9::text IS NULL OR t.thread_id IS NOT DISTINCT FROM $9) AS wanted
  FROM seen s LEFT JOIN LATERAL (SELECT pool, thread_id FROM tasks WHERE id = s.task_id OFFSET 0) t ON true
  -- Not every event is of a task: one of a budget is of the pool in its scope, if any.
  CROSS JOIN LATERAL (SELECT CASE WHEN s.type ^@ 'budget.' THEN s.data #>> '{{scope,pool}}' ELSE t.pool END AS pool) p
), counted AS (
  SELECT *, count(*) FILTER (WHERE wanted) OVER (ORDER BY tx, task_id, seq) AS nth FROM found
)
SELECT tx, task_id, seq, wanted, type, at, CASE WHEN wanted THEN data END AS data, pool, thread_id
FROM counted WHERE nth <= $10 ORDER BY tx, task_id, seq
"""
_READ_ALL = _READ.format(of_task="")
_READ_TASK = _READ.format(of_task="AND task_id = $11")
_HORIZON = "SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint AS tx, clock_timestamp() AS at"
_WRITTEN = "SELECT at FROM events WHERE tenant = $1 AND task_id = $2 AND seq = $3"


async def end(db: Database) -> Cursor:
    """Where the feed ends now: what is read behind this was not yet in the feed."""
    async with db.read() as connection:
        return Cursor.before(*await _horizon(connection))


async def read(db: Database, tenant: str, after: Cursor | None, filters: Filters, limit: int) -> Page:
    """The wanted events behind `after` (None: from the beginning), at most `limit`.

    Few or none may be found though there are more: then the cursor has moved all the same, and `more` says so.
    """
    place, items = after or BEGINNING, list[FeedEvent]()
    async with db.read() as connection:
        horizon, at = await _horizon(connection)
        window = WINDOW if filters.task_id is None else horizon
        for _ in range(MAX_SCANS):
            left = limit - len(items)
            scan, until = left if filters.nothing else SCAN, min(horizon, place.tx + window)
            rows = await _scan(connection, tenant, place, until, scan, filters, left)
            items += [_event(row) for row in rows if row["wanted"]]
            if rows:
                place = _cursor(rows[-1])
            if len(items) == limit:
                return Page(items, place, more=True)
            if len(rows) < scan:
                place, window = Cursor.before(max(place.tx, until), at), window * WINDOW_GROWTH
                if until >= horizon:
                    return Page(items, place, more=False)
    return Page(items, place, more=True)


async def is_ahead(db: Database, cursor: Cursor) -> bool:
    """Whether a feed has not come that far: the cursor is not of this database."""
    return cursor.tx > (await end(db)).tx


async def is_lost(db: Database, tenant: str, cursor: Cursor, keep_s: float) -> bool:
    """Whether events behind the cursor may be gone: its own is, or it is older than what is kept (0: all is)."""
    if cursor == BEGINNING:
        return False
    async with db.read() as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
        at = await connection.fetchval(_WRITTEN, tenant, cursor.task_id, cursor.seq) if cursor.seq else cursor.at
    return at is None or (keep_s > 0 and at < now - timedelta(seconds=keep_s))


async def _horizon(connection: HotConnection) -> tuple[int, datetime]:
    row = await connection.fetchrow(_HORIZON)
    assert row is not None
    return row["tx"], row["at"]


async def _scan(
    connection: HotConnection, tenant: str, place: Cursor, until: int, scan: int, filters: Filters, limit: int
) -> list[asyncpg.Record]:
    args = [tenant, *place.key, until, scan, list(filters.types), filters.pool, filters.thread_id, limit]
    if filters.task_id is None:
        return await connection.fetch(_READ_ALL, *args)
    return await connection.fetch(_READ_TASK, *args, filters.task_id)


def _cursor(row: asyncpg.Record) -> Cursor:
    return Cursor(row["tx"], row["task_id"], row["seq"])


def _event(row: asyncpg.Record) -> FeedEvent:
    return FeedEvent(_cursor(row), row["type"], row["at"], row["data"], row["pool"] or "", row["thread_id"])


def feed_json(event: FeedEvent) -> bytes:
    """An event of a feed as JSON; its id is its cursor."""
    return dump_bytes(
        {
            "id": str(event.cursor),
            "task_id": event.cursor.task_id,
            "seq": event.cursor.seq,
            "type": event.type,
            "at": event.at,
            "pool": event.pool,
            "thread_id": event.thread_id,
            "data": orjson.Fragment(event.data),
        }
    )
