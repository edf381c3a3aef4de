"""The loops of the registry, the queue and the managers themselves: what keeps a manager in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from app.core.loop import VITAL_BACKOFF_CAP_S, Loop
from app.dispatch.stats import INTERVAL_S as STATS_INTERVAL_S
from app.dispatch.stats import StatsLoop
from app.registry.loop import HealthLoop
from app.tasks.loop import SweepLoop
from app.tasks.retention import RetentionLoop
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

HUB_CHECK_S, LEARNING_INTERVAL_S = 5.0, 1.0


class Upkeep(Part):
    """`view`, `health` and `sweep` are woken by others. Built after what they look after."""

    def __init__(self, yard: Yard, refresh: Callable[[], Awaitable[float | None]]) -> None:
        super().__init__(yard)
        registry, tasks = yard.settings.registry, yard.settings.tasks
        health = HealthLoop(
            yard.db, yard.registry, self.leader("health"), lambda agent: yard.executor.healthy(agent.url), registry
        )
        sweep = SweepLoop(yard.db, yard.hub, yard.queued, tasks.sweep_interval_s, yard.durable.waits.freed)
        self.view = Loop("registry-view", refresh, interval_s=registry.refresh_interval_s)
        self.health = Loop("health", health.tick, interval_s=min(5.0, registry.probe_interval_s / 3))
        self.sweep = Loop("sweep", sweep.tick, interval_s=tasks.sweep_interval_s)
        self.loops = [self.view, self.health, self.sweep, *self._others()]

    def _others(self) -> list[Loop]:
        yard = self.yard
        tasks, beat_s = yard.settings.tasks, yard.settings.dispatch.heartbeat_interval_s
        retention = RetentionLoop(yard.db, self.leader("retention"), yard.clock, tasks)
        stats = StatsLoop(yard.db, yard.clock, yard.view)
        flush_s = yard.settings.registry.flush_interval_s
        return [
            Loop("rescue", yard.rescue.tick, interval_s=beat_s, backoff_cap_s=VITAL_BACKOFF_CAP_S),
            Loop("heartbeats", _no_delay(yard.heartbeats.flush), interval_s=flush_s),
            Loop("hub", yard.hub.check, interval_s=HUB_CHECK_S),
            Loop("learning", yard.learning.tick, interval_s=LEARNING_INTERVAL_S),
            Loop("retention", retention.tick, interval_s=tasks.retention_interval_s),
            Loop("stats", stats.tick, interval_s=STATS_INTERVAL_S),
        ]


def _no_delay(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float | None]]:
    async def tick() -> float | None:
        await work()
        return None

    return tick
