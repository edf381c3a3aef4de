"""Gauges over the tables, refreshed now and then."""

from __future__ import annotations

from app.core.db import Database
from app.dispatch.telemetry import AGENTS, QUEUED
from app.registry.models import AGENT_STATUSES
from app.registry.view import RegistryView
from app.tasks import queue


class StatsLoop:
    """Sets `ai_agents_total` and `ai_agent_queue_length`: zeros too, never absent for a pool that exists."""

    def __init__(self, db: Database, view: RegistryView) -> None:
        self._db, self._view = db, view

    async def tick(self) -> float | None:
        async with self._db.read() as connection:
            queued = await queue.counts(connection)
        for pool in self._view.pools:
            QUEUED.labels(pool).set(queued.get(pool, 0))
            counts = dict.fromkeys(AGENT_STATUSES[:-1], 0)
            for agent in self._view.agents_of(pool).values():
                counts[agent.status] += 1
            for status, count in counts.items():
                AGENTS.labels(pool, status).set(count)
        return None
