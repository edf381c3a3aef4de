"""What balancers learned, beyond this manager and this run: shared through Redis, rebuilt from the attempts table, and
ejections written where everybody sees them.

Redis may be lost: then each manager knows what it sees itself, and a new one what the table says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
import redis.asyncio as redis
import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.core.http import DATABASE_AWAY
from app.core.nerve import Nerve
from app.dispatch.balancers.base import Outcome, TaskView
from app.dispatch.membership import Membership
from app.dispatch.placer import Placer
from app.dispatch.strategies import Strategies, Strategy
from app.dispatch.telemetry import EJECTED
from app.registry.service import Registry
from app.tasks import queries
from app.tasks.queries import AttemptRecord

log = structlog.get_logger()

KEY = "yard:balancer:{pool}"
KEY_EXPIRES_S = 60
MAX_SUMMARY_BYTES = 1_000_000
"""A larger one is not shared: it is not ours to flood Redis."""
REPEATED = 16
"""What is not new is shared again every so many ticks: before the key expires, and if Redis has lost it."""
REPLAYED_S, REPLAYED = 1800.0, 20_000
"""How far back, and how many attempts at most, a new manager learns from."""
NEWS_S = 1.0
"""An ejection that ends so much later than was written is written again."""


class LearningLoop:
    """`tick` once a second; `rebuild` once, before the first choice."""

    def __init__(
        self,
        db: Database,
        nerve: Nerve,
        clock: Clock,
        membership: Membership,
        registry: Registry,
        placer: Placer,
    ) -> None:
        self._db, self._nerve, self._clock = db, nerve, clock
        self._membership, self._registry = membership, registry
        self._strategies: Strategies = placer.strategies
        self._ticks = 0
        self._published: dict[str, int] = {}
        self._told: dict[str, float] = {}

    async def tick(self) -> float | None:
        """Share what is new, take what others know, tell the registry who is ejected."""
        self._ticks += 1
        if not self._membership.alone:
            for pool, strategy in list(self._strategies.pools.items()):
                await self._share(pool, strategy)
        await self._tell_registry()
        return None

    async def _share(self, pool: str, strategy: Strategy) -> None:
        if strategy.learner is None:
            return
        me, key = str(self._membership.me), KEY.format(pool=pool)
        ours, results = self._summary(pool, strategy), strategy.results

        async def call(client: redis.Redis) -> dict[bytes, bytes]:
            pipe = client.pipeline(transaction=False)
            if ours is not None:
                pipe.hset(key, me, ours)
                pipe.expire(key, KEY_EXPIRES_S)
            pipe.hgetall(key)
            return cast("dict[bytes, bytes]", (await pipe.execute())[-1])

        found = await self._nerve.run(call)
        if found is None:
            return
        self._published[pool] = results
        live = set(self._membership.live) - {me}
        strategy.merge([_parsed(value) for name, value in found.items() if name.decode() in live], self._now)
        dead = [name for name in found if name.decode() not in live and name.decode() != me]
        if dead:
            await self._nerve.run(lambda client: client.hdel(key, *dead))

    def _summary(self, pool: str, strategy: Strategy) -> bytes | None:
        """What to publish; None when nothing was learned since the last time, but for every REPEATED-th tick."""
        if self._published.get(pool) == strategy.results and self._ticks % REPEATED:
            return None
        data = strategy.summary(self._now)
        return data if data is not None and len(data) <= MAX_SUMMARY_BYTES else None

    async def _tell_registry(self) -> None:
        """Write who is ejected and until when. Raises what the database raises; the next pass tries again."""
        ends: dict[str, float] = {}
        new: list[tuple[UUID, float, str]] = []
        for pool, strategy in self._strategies.pools.items():
            for agent_id, (left_s, reason) in strategy.ejected(self._now).items():
                if left_s <= 0:  # its trial is due: no news
                    continue
                ends[agent_id] = self._now + left_s
                if ends[agent_id] > self._told.get(agent_id, 0.0) + NEWS_S:
                    new.append((UUID(agent_id), left_s, reason))
                    EJECTED.labels(pool).inc()
        if new:
            await self._registry.note_ejections(new)
        self._told = ends

    async def rebuild(self) -> None:
        """Teach the balancers what the last attempts showed, but for those of living managers: these share what they
        know. Without the table they start without it."""
        try:
            heard = await self._membership.heard()
            attempts = await queries.recent_attempts(self._db, max_age_s=REPLAYED_S, limit=REPLAYED)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as exc:
            log.warning("balancers_start_without_memory", error=repr(exc))
            return
        ended = self._clock.now()
        attempts = [attempt for attempt in attempts if str(attempt.manager_id) not in heard]
        for attempt in reversed(attempts):
            age_s = (ended - attempt.finished_at).total_seconds()
            self._replay(attempt, self._now - max(0.0, age_s))
        if attempts:
            log.info("balancers_rebuilt", attempts=len(attempts))

    def _replay(self, attempt: AttemptRecord, at: float) -> None:
        if attempt.agent_id is None or attempt.seconds is None or attempt.outcome not in ("succeeded", "failed"):
            return
        outcome = Outcome(
            attempt.outcome == "succeeded",
            max(0.0, attempt.seconds),
            attempt.counted,
            attempt.agents_fault,
        )
        task = TaskView(str(attempt.task_id), attempt.type, attempt.complexity, 0.0, attempt.thread_id)
        self._strategies.replay(attempt.pool, str(attempt.agent_id), task, outcome, at)

    @property
    def _now(self) -> float:
        return self._clock.monotonic()


def _parsed(value: bytes) -> Mapping[str, Any]:
    """A peer's summary; an empty one where it cannot be read."""
    try:
        found = orjson.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
