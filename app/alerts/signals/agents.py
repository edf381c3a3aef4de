"""Signals of agents: how many have which status, how many are silent, and which pools' agents cannot stay up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.alerts.reading import Reading, Sample
from app.alerts.signals.base import By, Dimension, Signal
from app.alerts.signals.series import labels_of, split
from app.core.db import HotConnection
from app.registry.models import AGENT_STATUSES

EJECTED = "ejected"
"""An idle or busy agent that is given nothing for a while: a status here and in metrics only."""

SILENT_AFTER = timedelta(seconds=60)
CRASH_LOOP = "crash_loop"

_STATUSES = (*AGENT_STATUSES[:-1], EJECTED)
_COUNTS = f"""
SELECT pool, CASE WHEN status IN ('idle', 'busy') AND ejected_until > $1 THEN '{EJECTED}' ELSE status END AS status,
  count(*)::int AS n
FROM agents WHERE status <> 'gone' GROUP BY 1, 2
"""  # noqa: S608 - only constants
_SILENT = "SELECT pool AS series, count(*) AS n FROM agents WHERE status <> 'gone' AND last_seen_at < $1 GROUP BY 1"
_CRASHING = """
SELECT name AS series FROM pools
WHERE EXISTS (SELECT FROM jsonb_array_elements(conditions) c WHERE c ->> 'code' = $1)
"""


async def agents(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """Agents by pool and `status`: zeros too."""
    pools = [row["name"] for row in await connection.fetch("SELECT name FROM pools")]
    counts = Counter({(row["pool"], row["status"]): row["n"] for row in await connection.fetch(_COUNTS, now)})
    return [
        Sample({**labels_of(by, pool), "status": status}, counts[pool, status], at=now)
        for pool in pools
        for status in _STATUSES
    ]


async def silent_agents(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """Agents that nothing was heard of for a minute and that are not gone yet."""
    found = await split(connection, by, _SILENT, now - SILENT_AFTER)
    return [Sample(labels_of(by, name), 0 if row is None else row["n"], at=now) for name, row in found.items()]


async def crash_loops(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """1 for a pool whose agents crash again and again, 0 for the others."""
    found = await split(connection, by, _CRASHING, CRASH_LOOP)
    return [Sample(labels_of(by, name), float(row is not None), at=now) for name, row in found.items()]


_POOL: frozenset[Dimension] = frozenset({"pool"})

SIGNALS = (
    Signal("agents", "agents", "Agents by pool and status.", agents, _POOL),
    Signal("silent_agents", "agents", "Agents not heard of for a minute.", silent_agents, _POOL),
    Signal("crash_loops", "0 or 1", "1 while the agents of a pool crash again and again.", crash_loops, _POOL),
)
