"""Every manager's copy of the registry: refreshed by a hint, by time, and in full after a fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.core.batch import Batcher
from app.core.db import Database
from app.registry import queries
from app.registry.records import AgentRecord, PoolRecord

OVERLAP = timedelta(seconds=15)
FULL_EVERY = 60


@dataclass(slots=True)
class Changes:
    """What one refresh changed: agents that came, went or are different now; whether any pool did."""

    agents: set[UUID] = field(default_factory=set)
    pools: bool = False

    def __bool__(self) -> bool:
        return self.pools or bool(self.agents)


class RegistryView:
    """Pools and agents (those that are gone left out) as of the last `refresh`. Read it freely; never change it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._since: datetime | None = None
        self._refreshes = 0
        self._listeners: list[Callable[[Changes], None]] = []
        self._reads: Batcher[None, None] = Batcher(self._read_for, limit=10_000)
        self.pools: dict[str, PoolRecord] = {}
        self.agents: dict[UUID, AgentRecord] = {}
        self.by_pool: dict[str, dict[UUID, AgentRecord]] = {}

    def on_change(self, call: Callable[[Changes], None]) -> None:
        """Call `call(changes)` after a refresh that changed something."""
        self._listeners.append(call)

    async def refresh(self) -> None:
        """Read what changed, in a read that begins after this call; callers that come together share one."""
        await self._reads.put(None)

    async def _read_for(self, callers: Sequence[None]) -> Sequence[None]:
        # One at a time: an older read must not be merged over a newer one.
        await self._read()
        return callers

    async def _read(self) -> None:
        """Every 60th time read everything."""
        full = self._since is None or self._refreshes % FULL_EVERY == 0
        self._refreshes += 1
        since = None if full or self._since is None else self._since - OVERLAP
        pools, agents, now = await queries.changed_since(self._db, since, self.agents)
        changed = self._replace(pools, agents) if full else self._merge(pools, agents)
        self._since = now
        if changed:
            for call in self._listeners:
                call(changed)

    def pool_for_type(self, task_type: str) -> PoolRecord | None:
        """The pool most skilled in a task type; the first by name among equals."""
        skilled = [pool for pool in self.pools.values() if pool.skills.get(task_type, 0.0) > 0.0]
        return min(skilled, key=lambda pool: (-pool.skills[task_type], pool.name), default=None)

    def agents_of(self, pool: str) -> Mapping[UUID, AgentRecord]:
        """The pool's agents, whatever their status."""
        return self.by_pool.get(pool, {})

    def working(self, pool: str) -> int:
        """How many agents of the pool may be given tasks."""
        return sum(agent.works for agent in self.agents_of(pool).values())

    def _replace(self, pools: list[PoolRecord], agents: list[AgentRecord]) -> Changes:
        pools_before, before = self.pools, self.agents
        self.pools, self.agents, self.by_pool = {}, {}, {}
        self._merge(pools, agents)
        either = before.keys() | self.agents.keys()
        different = {agent_id for agent_id in either if before.get(agent_id) != self.agents.get(agent_id)}
        return Changes(different, pools_before != self.pools)

    def _merge(self, pools: list[PoolRecord], agents: list[AgentRecord]) -> Changes:
        changes = Changes()
        for pool in pools:
            if self.pools.get(pool.name) != pool:
                self.pools[pool.name] = pool
                changes.pools = True
        changes.agents.update(agent.id for agent in agents if self._put(agent))
        return changes

    def _put(self, agent: AgentRecord) -> bool:
        known = self.agents.get(agent.id)
        if agent.status == "gone":
            if known is not None:
                del self.agents[agent.id], self.by_pool[known.pool][agent.id]
            return known is not None
        if known == agent:
            return False
        self.agents[agent.id] = agent
        self.by_pool.setdefault(agent.pool, {})[agent.id] = agent
        return True
