"""Claiming: take as many tasks as there are free slots, place them, and begin their attempts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.loop import VITAL_BACKOFF_CAP_S, Loop
from app.dispatch.attempt import Attempts
from app.dispatch.membership import Membership
from app.dispatch.placer import Placer
from app.dispatch.slots import SlotTable
from app.events.hub import Hub
from app.registry.records import AgentRecord
from app.registry.view import RegistryView
from app.settings import DispatchSettings
from app.tasks import queue
from app.tasks.queue import Ready

DEFERRED_RETRY_S = 0.1
MAX_SKIP = 200


@dataclass(slots=True)
class _Pass:
    """One transaction's choices, undone as a whole when it does not commit."""

    placed: list[tuple[Ready, AgentRecord]] = field(default_factory=list)
    deferred: dict[str, int] = field(default_factory=dict)
    started: dict[UUID, tuple[int, int]] = field(default_factory=dict)


class DispatchLoop:
    """`tick` is one pass. `queued(pools)` and `freed(pool)` are hints that one may be worth while.

    `_maybe` holds the pools in which something claimable may wait: those hinted at, those whose last claim came back
    full, and at every poll all of them.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        view: RegistryView,
        membership: Membership,
        slots: SlotTable,
        placer: Placer,
        hub: Hub,
        settings: DispatchSettings,
        me: UUID,
    ) -> None:
        self._db, self._clock, self._view, self._membership = db, clock, view, membership
        self._slots, self._placer, self._hub, self._settings, self._me = slots, placer, hub, settings, me
        self._maybe: set[str] = set()
        self._pinned_maybe = True
        self._pinned_waiting = False
        self._skipped: dict[str, int] = {}
        self._poll_at = 0.0
        self.attempts: Attempts | None = None
        self.loop = Loop("dispatch", self.tick, interval_s=settings.poll_interval_s, backoff_cap_s=VITAL_BACKOFF_CAP_S)
        self.paused = False

    def queued(self, pools: Iterable[str], *, pinned: bool = False) -> None:
        """Something became claimable in these pools; an empty hint means anywhere. `pinned`: for one agent only."""
        named = set(pools)
        self._maybe |= named or set(self._view.pools)
        self._pinned_maybe |= pinned or not named
        self.loop.wake()

    def freed(self, pool: str) -> None:
        """A slot of the pool is free again."""
        self._pinned_maybe |= self._pinned_waiting
        if pool in self._maybe or self._pinned_maybe:
            self.loop.wake()

    def everywhere(self) -> None:
        """Agents or managers changed: look at every pool."""
        self.queued(())

    async def tick(self) -> float | None:
        """Claim, place and begin until no pool with a free slot may hold more."""
        if self.paused or not self._membership.may_claim:
            return None
        if self._clock.monotonic() >= self._poll_at:
            self._poll_at = self._clock.monotonic() + self._settings.poll_interval_s
            self._maybe |= set(self._view.pools)
            self._pinned_maybe = True
        deferred = False
        while (wanted := self._wanted()) or self._pinned_maybe:
            made = await self._claim(wanted)
            deferred |= bool(made.deferred)
            self._begin(made)
            if not made.placed:
                break
        return DEFERRED_RETRY_S if deferred else None

    def _wanted(self) -> dict[str, int]:
        """How many tasks to ask for, by pool; takes these pools out of `_maybe`."""
        wanted = {pool: free for pool in self._maybe if (free := self._slots.free_in(pool)) > 0}
        self._maybe -= wanted.keys()
        budget = self._settings.claim_batch
        share = max(1, budget // max(1, len(wanted)))
        return {pool: min(free, share) + self._skipped.get(pool, 0) for pool, free in wanted.items()}

    async def _claim(self, wanted: dict[str, int]) -> _Pass:
        made = _Pass()
        try:
            async with self._db.hot() as connection, connection.transaction():
                ready = await self._ready(connection, wanted)
                self._place(made, ready)
                if made.placed:
                    pairs = [(task.id, agent.id) for task, agent in made.placed]
                    made.started = await queue.start(connection, self._me, pairs)
        except BaseException:
            self._undo(made)
            self._maybe |= wanted.keys()
            raise
        return made

    async def _ready(self, connection: HotConnection, wanted: dict[str, int]) -> list[Ready]:
        ready: list[Ready] = []
        if self._pinned_maybe:
            self._pinned_maybe = False
            waiting = await queue.pinned_to(connection)
            self._pinned_waiting = bool(waiting)
            free = {agent: self._slots.free(str(agent)) for agent in waiting}
            if any(free.values()):
                ready += await queue.ready_pinned(connection, list(free), list(free.values()))
            self._pinned_maybe = bool(ready)
        if wanted:
            found = await queue.ready(connection, list(wanted), list(wanted.values()))
            counts: dict[str, int] = {}
            for task in found:
                counts[task.pool] = counts.get(task.pool, 0) + 1
            self._maybe |= {pool for pool, limit in wanted.items() if counts.get(pool, 0) >= limit}
            ready += found
        return ready

    def _place(self, made: _Pass, ready: Iterable[Ready]) -> None:
        for task in ready:
            agent = self._placer.place(task) if self._slots.free_in(task.pool) > 0 else None
            if agent is not None:
                made.placed.append((task, agent))
            elif self._slots.free_in(task.pool) > 0:
                made.deferred[task.pool] = made.deferred.get(task.pool, 0) + 1
                self._maybe.add(task.pool)
        self._skipped = {pool: min(MAX_SKIP, count) for pool, count in made.deferred.items()}

    def _undo(self, made: _Pass) -> None:
        for _, agent in made.placed:
            self._placer.release(agent.id)

    def _begin(self, made: _Pass) -> None:
        assert self.attempts is not None
        for task, agent in made.placed:
            numbers = made.started.get(task.id)
            pool = self._view.pools.get(task.pool)
            if numbers is None or pool is None:
                self._placer.release(agent.id)
            else:
                self.attempts.begin(task, pool, agent, *numbers)
        self._hub.changed(made.started)
