"""Gauges over the tables, refreshed now and then."""

from __future__ import annotations

from app.core.db import Database
from app.dispatch.telemetry import AGENTS, QUEUED
from app.registry.models import AGENT_STATUSES
from app.registry.view import RegistryView

_QUEUED = "SELECT pool, count(*) AS n FROM tasks WHERE status = 'queued' GROUP BY pool"


class StatsLoop:
    """Sets `ai_agents_total` and `ai_agent_queue_length`: zeros too, never absent for a pool that exists."""

    def __init__(self, db: Database, view: RegistryView) -> None:
        self._db, self._view = db, view

    async def tick(self) -> float | None:
        async with self._db.hot() as connection:
            queued = {row["pool"]: row["n"] for row in await connection.fetch(_QUEUED)}
        for pool in self._view.pools:
            QUEUED.labels(pool).set(queued.get(pool, 0))
            counts = dict.fromkeys(AGENT_STATUSES[:-1], 0)
            for agent in self._view.agents_of(pool).values():
                counts[agent.status] += 1
            for status, count in counts.items():
                AGENTS.labels(pool, status).set(count)
        return None
