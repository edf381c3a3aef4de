"""Gauges over the tables, refreshed now and then."""

from __future__ import annotations

from app.core.clock import Clock
from app.core.db import Database
from app.dispatch.telemetry import AGENTS, QUEUED
from app.registry.models import AGENT_STATUSES
from app.registry.view import RegistryView
from app.tasks import queue

EJECTED = "ejected"
"""An idle or busy agent that a manager gives nothing: a status of the metric only."""

INTERVAL_S = 10.0
REST = 20.0
"""So many times as long as counting took it rests at least: millions of queued tasks take a second to count."""


class StatsLoop:
    """Sets `ai_agents_total` and `ai_agent_queue_length`: zeros too, never absent for a pool that exists."""

    def __init__(self, db: Database, clock: Clock, view: RegistryView) -> None:
        self._db, self._clock, self._view = db, clock, view

    async def tick(self) -> float:
        began = self._clock.monotonic()
        async with self._db.read() as connection:
            queued = await queue.counts(connection, self._view.pools)
        took_s = self._clock.monotonic() - began
        now = self._clock.now()
        for pool in self._view.pools:
            QUEUED.labels(pool).set(queued.get(pool, 0))
            counts = dict.fromkeys((*AGENT_STATUSES[:-1], EJECTED), 0)
            for agent in self._view.agents_of(pool).values():
                counts[EJECTED if agent.works and agent.is_ejected(now) else agent.status] += 1
            for status, count in counts.items():
                AGENTS.labels(pool, status).set(count)
        return max(INTERVAL_S, REST * took_s)
