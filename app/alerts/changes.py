"""Deploys and rotations, told to those who are on call: what changed may explain what comes after it.

    launch    a pool's launch is another one
    version   an agent of a version registered that its pool has not had before
    rotation  a webhook has a new secret

A pass compares what there is with what was seen, and stores what is new with one row a receiver, in one transaction.
What is seen first is no change. A receiver that has change events (PagerDuty) is told each once; a manager that dies
between telling and storing leaves the one second telling there can be, after the row's lease.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from app.alerts.flushing import new_id
from app.alerts.notifiers.alerts import Delivered, Outcome, Permanent, Throttled
from app.alerts.notifiers.pagerduty_event import Change
from app.alerts.outcomes import backoff_s
from app.alerts.outside import Notifiers
from app.alerts.receivers import COLUMNS, ReceiverRecord
from app.core.db import Database, HotConnection
from app.core.failpoints import reach
from app.core.leader import Leader

log = structlog.get_logger()

MAX_TRIES = 12
"""With pauses that double up to five minutes: about half an hour. An old change explains nothing."""
BATCH, SIDE_BY_SIDE = 20, 8
"""So many are claimed by a pass, and so many of them told at once: one that hangs holds up no other."""

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('changes', 0))"
_NEW = """
WITH found AS (
  SELECT 'launch' AS kind, name, md5(launch::text) AS version FROM pools WHERE launch <> '{}'
  UNION ALL
  SELECT DISTINCT 'version', pool, version FROM agents WHERE status <> 'gone' AND version <> ''
  UNION ALL
  SELECT 'rotation', id::text, generation::text FROM webhooks
)
SELECT f.kind, f.name, f.version,
  EXISTS (SELECT FROM seen_versions s WHERE s.kind = f.kind AND s.name = f.name) AS known
FROM found f WHERE NOT EXISTS (
  SELECT FROM seen_versions s WHERE s.kind = f.kind AND s.name = f.name AND s.version = f.version)
ORDER BY 1, 2, 3
"""
_FORGET = """
DELETE FROM seen_versions s USING unnest($1::text[], $2::text[]) AS n (kind, name)
WHERE s.kind = n.kind AND s.name = n.name AND s.kind <> 'version'
"""
_SEE = """
INSERT INTO seen_versions (kind, name, version) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
ON CONFLICT DO NOTHING
"""
_ADD = """
INSERT INTO changes (id, kind, name, version) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
"""
_FOR = """
INSERT INTO change_sends (change_id, receiver)
SELECT c, r.name FROM unnest($1::uuid[]) AS c, receivers r WHERE r.enabled AND r.kind = ANY($2::text[])
"""
_CLAIM = f"""
WITH due AS (
  SELECT change_id, receiver FROM change_sends WHERE outcome = 'pending' AND due_at <= now()
  ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
), ours AS (
  UPDATE change_sends s SET tries = s.tries + 1, due_at = now() + make_interval(secs => $1) FROM due
  WHERE s.change_id = due.change_id AND s.receiver = due.receiver RETURNING s.change_id, s.receiver, s.tries
)
SELECT o.change_id, o.tries, c.kind AS what, c.name AS subject, c.version, c.at, r.* FROM ours o
JOIN changes c ON c.id = o.change_id JOIN (SELECT {COLUMNS} FROM receivers) r ON r.name = o.receiver
"""  # noqa: S608 - constants
_STORE = """
UPDATE change_sends SET outcome = $3, detail = $4, due_at = now() + make_interval(secs => $5)
WHERE change_id = $1 AND receiver = $2
"""
_OLD = "DELETE FROM changes WHERE at < now() - make_interval(secs => $1)"
_GONE = """
DELETE FROM seen_versions WHERE kind <> 'rotation' AND name NOT IN (SELECT name FROM pools)
   OR kind = 'rotation' AND name NOT IN (SELECT id::text FROM webhooks)
"""


@dataclass(frozen=True, slots=True)
class Due:
    """One change for one receiver, claimed for one try."""

    change_id: UUID
    tries: int
    receiver: ReceiverRecord
    change: Change


class Changes:
    """`tick` is one pass of the leader."""

    def __init__(self, db: Database, leader: Leader, notifiers: Notifiers, *, retention_s: float, url: str) -> None:
        self._db, self._leader, self._notifiers = db, leader, notifiers
        self._retention_s, self._url = retention_s, url.rstrip("/")

    async def tick(self) -> float | None:
        if await self._leader.leads():
            await see(self._db, self._notifiers.tells_changes, self._retention_s)
            await self._tell_all(await self._claim())
        return None

    async def _tell_all(self, items: Sequence[Due]) -> None:
        free = asyncio.Semaphore(SIDE_BY_SIDE)

        async def one(item: Due) -> None:
            async with free:
                await self._tell(item)

        outcomes = await asyncio.gather(*map(one, items), return_exceptions=True)
        for failed in filter(None, outcomes):  # after the others were told
            raise failed

    async def _claim(self) -> list[Due]:
        async with self._db.hot() as connection:
            rows = await connection.fetch(_CLAIM, BATCH * self._notifiers.bound_s, BATCH)
        return [Due(row["change_id"], row["tries"], ReceiverRecord.of(dict(row)), self._change(row)) for row in rows]

    def _change(self, row: asyncpg.Record) -> Change:
        return told(row["what"], row["subject"], row["version"], row["at"], self._url)

    async def _tell(self, item: Due) -> None:
        outcome = await self._notifiers.change(item.receiver, item.change)
        reach("changes.told")
        fate, detail, wait_s = fate_of(outcome, item.tries, random.uniform(-1.0, 1.0))  # noqa: S311 - jitter
        async with self._db.hot() as connection:
            await connection.execute(_STORE, item.change_id, item.receiver.name, fate, detail, wait_s)
        if fate == "given_up":
            log.warning("change_not_told", receiver=item.receiver.name, change=item.change.summary, reason=detail)


async def see(db: Database, kinds: Sequence[str], retention_s: float) -> int:
    """Store what is new, for the receivers of these kinds; how many changes there were."""
    async with db.hot() as connection, connection.transaction():
        if not await connection.fetchval(_LOCK):
            return 0
        rows = await connection.fetch(_NEW)
        if rows:
            await _remember(connection, rows)
        changed = [row for row in rows if row["known"]]
        if changed:
            ids = [new_id() for _ in changed]
            columns = [[row[name] for row in changed] for name in ("kind", "name", "version")]
            await connection.execute(_ADD, ids, *columns)
            await connection.execute(_FOR, ids, list(kinds))
        await connection.execute(_GONE)
        await connection.execute(_OLD, retention_s)
    return len(changed)


async def _remember(connection: HotConnection, rows: Sequence[asyncpg.Record]) -> None:
    kinds, names, versions = ([row[column] for row in rows] for column in ("kind", "name", "version"))
    await connection.execute(_FORGET, kinds, names)
    await connection.execute(_SEE, kinds, names, versions)


def told(kind: str, name: str, version: str, at: datetime, url: str) -> Change:
    """A change as people read it. Pure."""
    summary, path = {
        "launch": (f"Pool {name}: a new launch is rolled out", f"/v1/pools/{name}"),
        "version": (f"Pool {name}: agents of version {version}", f"/v1/pools/{name}"),
        "rotation": (f"Webhook {name}: a new secret", f"/v1/webhooks/{name}"),
    }[kind]
    links = ((f"{url}{path}", "What changed"),) if url else ()
    return Change(summary, at, details={"kind": kind, "name": name, "version": version}, links=links)


def fate_of(outcome: Outcome, tries: int, spread: float) -> tuple[str, str, float]:
    """What is stored of a try: outcome, detail, and the pause in seconds before another. Pure."""
    if isinstance(outcome, Delivered):
        return "delivered", outcome.note, 0.0
    if isinstance(outcome, Permanent) or tries >= MAX_TRIES:
        return "given_up", outcome.reason, 0.0
    pause_s = backoff_s(tries, spread)
    return "pending", outcome.reason, max(pause_s, 30.0) if isinstance(outcome, Throttled) else pause_s
