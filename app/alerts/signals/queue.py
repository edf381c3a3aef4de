"""Signals of the queue: how many tasks wait, for how long, and how many gave up for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.alerts.reading import Reading, Sample
from app.alerts.signals.base import By, Dimension, Signal
from app.alerts.signals.series import grouped, labels_of, split
from app.core.db import HotConnection
from app.tasks import queue

_READY = "t.status = 'queued' AND t.wake_at IS NULL"
_HEAD = 1000
_TENANTS = "(SELECT DISTINCT tenant AS series FROM api_keys) s"

LENGTH_OF_TENANTS = f"""
SELECT s.series, q.n FROM {_TENANTS}
CROSS JOIN LATERAL (SELECT count(*) AS n FROM tasks t WHERE t.tenant = s.series AND t.status = 'queued') q
"""  # noqa: S608 - only constants

# Told from the head of each priority, where turns put the oldest: to look at all would take as long as the queue is.
# Tasks pinned to an agent are few, and in an index of their own.
OLDEST_OF_POOLS = f"""
SELECT series, min(queued_at) AS since FROM (
  SELECT l.pool AS series, h.queued_at FROM (SELECT DISTINCT pool, priority FROM queue_tags) l
  CROSS JOIN LATERAL (SELECT t.queued_at FROM tasks t
    WHERE {_READY} AND t.pinned_agent_id IS NULL AND t.pool = l.pool AND t.priority = l.priority
    ORDER BY t.priority DESC, t.tag, t.id LIMIT {_HEAD}) h
  UNION ALL
  SELECT t.pool, t.queued_at FROM tasks t WHERE {_READY} AND t.pinned_agent_id IS NOT NULL
) q GROUP BY 1
"""  # noqa: S608
OLDEST_OF_TENANTS = f"""
SELECT s.series, min(q.queued_at) AS since FROM {_TENANTS}
CROSS JOIN LATERAL (SELECT h.queued_at FROM (
    SELECT t.queued_at, t.wake_at FROM tasks t WHERE t.tenant = s.series AND t.status = 'queued'
    ORDER BY t.id LIMIT {_HEAD}) h WHERE h.wake_at IS NULL) q
GROUP BY 1
"""  # noqa: S608

_SERIES = {"pool": "pool", "tenant": "tenant", "label": "labels ->> $2::text"}
_DEAD_FOR = timedelta(hours=1)


def dead_statement(dimension: Dimension) -> str:
    """By series: tasks that failed for good after $1."""
    return f"""
SELECT {_SERIES[dimension]} AS series, count(*) AS n FROM tasks
WHERE finished_at > $1 AND status = 'failed' AND NOT synthetic {grouped(dimension)}
"""  # noqa: S608 - only constants


async def queue_length(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """Queued tasks, those that wait for their time too."""
    if by.dimension == "tenant":
        rows = await connection.fetch(LENGTH_OF_TENANTS)
        return [Sample(labels_of(by, row["series"]), row["n"], at=now) for row in rows]
    pools = [row["name"] for row in await connection.fetch("SELECT name FROM pools")]
    counts = await queue.counts(connection, pools)
    return [Sample(labels_of(by, name), counts.get(name, 0), at=now) for name in pools]


async def oldest_queued_age(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """How long the oldest task has been claimable; 0 where none is."""
    found = await split(connection, by, OLDEST_OF_POOLS if by.dimension == "pool" else OLDEST_OF_TENANTS)
    return [
        Sample(labels_of(by, name), 0.0 if row is None else max(0.0, (now - row["since"]).total_seconds()), at=now)
        for name, row in found.items()
    ]


async def dead_letters(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """Tasks that failed for good in the last hour and can be retried; probes are none."""
    found = await split(connection, by, dead_statement(by.dimension), now - _DEAD_FOR)
    return [Sample(labels_of(by, name), 0 if row is None else row["n"], at=now) for name, row in found.items()]


_POOL_OR_TENANT: frozenset[Dimension] = frozenset({"pool", "tenant"})

SIGNALS = (
    Signal("queue_length", "tasks", "Queued tasks.", queue_length, _POOL_OR_TENANT),
    Signal(
        "oldest_queued_age",
        "seconds",
        "How long the oldest task has waited that an agent could take.",
        oldest_queued_age,
        _POOL_OR_TENANT,
    ),
    Signal(
        "dead_letters",
        "tasks",
        "Tasks that failed for good in the last hour; people may retry them.",
        dead_letters,
        frozenset({"pool", "tenant", "label"}),
    ),
)
