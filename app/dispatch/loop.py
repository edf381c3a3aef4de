"""Claiming: for free slots, read what could start, place it, start it in one statement, and begin the attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.failpoints import reach
from app.core.loop import VITAL_BACKOFF_CAP_S, Loop
from app.dispatch.attempt import Attempts
from app.dispatch.candidates import LEFT_S, Candidates
from app.dispatch.gate import Gate, Passed
from app.dispatch.membership import Membership
from app.dispatch.placer import Placer
from app.dispatch.slots import SlotTable
from app.events.hub import Hub
from app.registry.records import AgentRecord
from app.registry.view import RegistryView
from app.settings import DispatchSettings
from app.tasks import queue
from app.tasks.queue import Ready, Started

DEFERRED_RETRY_S = 0.1
LOST_RETRY_S, MAX_FRUITLESS = 0.02, 3
MAX_SKIP = 200
ASKED_A_TYPE = 4
"""After so many tasks of a type were kept queued in one pass, the balancer is not asked about more of it."""


@dataclass(slots=True)
class _Pass:
    """One pass's choices, undone as a whole when the statement that starts them fails. `deferred`: by pool and type,
    how many tasks the balancer keeps queued; `lost`: by pool, how many were not ours to start after all."""

    placed: list[tuple[Ready, AgentRecord]] = field(default_factory=list)
    deferred: dict[str, dict[str, int]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    passed: Passed = field(default_factory=Passed)

    @property
    def started(self) -> dict[UUID, Started]:
        return self.passed.started

    def asked_enough(self, task: Ready) -> bool:
        """Whether so many of this type were kept queued just now that another would be too."""
        return self.deferred.get(task.pool, {}).get(task.type, 0) >= ASKED_A_TYPE

    def defer(self, task: Ready) -> None:
        types = self.deferred.setdefault(task.pool, {})
        types[task.type] = types.get(task.type, 0) + 1


class DispatchLoop:
    """`tick` is one pass. `queued(pools)` and `freed(pool)` are hints that one may be worth while.

    `least(pool)`: the least priority that is claimed there now. `_maybe` holds the pools in which something claimable
    may wait: those hinted at, those whose last claim came back full, and at every poll all of them. `_resting` are
    those in which a balancer keeps tasks queued for a better agent: they are looked at again after a moment, or when a
    slot of theirs is free, and cost the other pools nothing.
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
        gate: Gate,
        on_aside: Callable[[Passed], None] = lambda _passed: None,
        least: Callable[[str], int] = lambda _pool: queue.ANY_PRIORITY,
    ) -> None:
        self._db, self._clock, self._view, self._membership = db, clock, view, membership
        self._gate, self._on_aside, self._least = gate, on_aside, least
        self._slots, self._placer, self._hub, self._settings, self._me = slots, placer, hub, settings, me
        self._maybe: set[str] = set()
        self._pinned_maybe = True
        self._pinned_waiting = False
        self._skipped: dict[str, int] = {}
        self._resting: dict[str, float] = {}
        self._candidates = Candidates()
        self._poll_at = 0.0
        self.attempts: Attempts | None = None
        self.loop = Loop("dispatch", self.tick, interval_s=settings.poll_interval_s, backoff_cap_s=VITAL_BACKOFF_CAP_S)
        self.paused = False

    def queued(self, pools: Iterable[str], *, pinned: bool = False) -> None:
        """Something became claimable in these pools; an empty hint means anywhere. `pinned`: for one agent only."""
        named = set(pools)
        self._candidates.drop(named or self._view.pools)
        self._maybe |= named or set(self._view.pools)
        self._pinned_maybe |= pinned or not named
        self.loop.wake()

    def freed(self, pool: str) -> None:
        """A slot of the pool is free again."""
        self._pinned_maybe |= self._pinned_waiting
        if self._resting.pop(pool, None) is not None:
            self._maybe.add(pool)
        if pool in self._maybe or self._pinned_maybe:
            self.loop.wake()

    def everywhere(self) -> None:
        """Agents or managers changed: look at every pool."""
        self.queued(())

    async def tick(self) -> float | None:
        """Read, place, start and begin until no pool with a free slot may hold more."""
        if self.paused or not self._membership.may_claim:
            return None
        if self._clock.monotonic() >= self._poll_at:
            self._poll_at = self._clock.monotonic() + self._settings.poll_interval_s
            self._candidates.drop(self._view.pools)
            self._maybe |= set(self._view.pools)
            self._pinned_maybe = True
        for pool in [pool for pool, until in self._resting.items() if until <= self._clock.monotonic()]:
            del self._resting[pool]
            self._maybe.add(pool)
        fruitless = 0
        while (wanted := self._wanted()) or self._pinned_maybe:
            made = await self._claim(wanted)
            self._begin(made)
            fruitless = 0 if made.started or made.passed.aside else fruitless + 1
            if not made.placed:
                break
            if fruitless == MAX_FRUITLESS:  # another manager is faster, or somebody holds locks
                return LOST_RETRY_S
        return self._rest_s()

    def _rest_s(self) -> float | None:
        """Seconds until a pass may find what this one left; None: until somebody says so."""
        if any(self._slots.free_in(pool) for pool in self._maybe):  # left to another manager
            return LEFT_S
        if not self._resting:
            return None
        return max(LOST_RETRY_S, min(self._resting.values()) - self._clock.monotonic())

    def _wanted(self) -> dict[str, int]:
        """How many tasks to take, by pool; takes these pools out of `_maybe`."""
        wanted = {pool: free for pool in self._maybe if (free := self._slots.free_in(pool)) > 0}
        self._maybe -= wanted.keys()
        for pool in wanted:
            self._resting.pop(pool, None)
        budget = self._settings.claim_batch
        share = max(1, budget // max(1, len(wanted)))
        return {pool: min(free, share) + self._skipped.get(pool, 0) for pool, free in wanted.items()}

    async def _claim(self, wanted: dict[str, int]) -> _Pass:
        made = _Pass()
        try:
            async with self._db.hot() as connection:
                self._place(made, await self._pinned(connection))
                await self._read(connection, wanted)
                for pool, count in wanted.items():
                    left = self._place(made, self._candidates.take(pool, count))
                    self._candidates.give_back(pool, left)
                await self._look_past(connection, made)
                if made.placed:
                    made.passed = await self._gate.start(connection, self._me, made.placed)
                    reach("start.written")
        except BaseException:
            for _, agent in made.placed:
                self._placer.release(agent)
            self._maybe |= wanted.keys()
            self._candidates.drop(wanted)
            raise
        self._maybe.update(pool for pool in wanted if self._candidates.may_have(pool))
        return made

    async def _pinned(self, connection: HotConnection) -> list[Ready]:
        """Tasks that only one agent may run, for agents with a free slot."""
        if not self._pinned_maybe:
            return []
        self._pinned_maybe = False
        waiting = await queue.pinned_to(connection)
        self._pinned_waiting = bool(waiting)
        free = {agent: self._slots.free(str(agent)) for agent in waiting}
        if not any(free.values()):
            return []
        least = [
            self._least(agent.pool) if (agent := self._view.agents.get(one)) else queue.ANY_PRIORITY for one in free
        ]
        found = await queue.ready_pinned(connection, list(free), list(free.values()), least)
        self._pinned_maybe = bool(found)
        return found

    async def _read(self, connection: HotConnection, wanted: Mapping[str, int]) -> None:
        """Have candidates for what is wanted."""
        share, now = self._membership.share, self._clock.monotonic()
        reads = self._candidates.to_read(wanted, share, now)
        if reads:
            limits = [(pool, read.limit, read.own) for pool, read in reads.items()]
            least = {pool: self._least(pool) for pool in reads}
            found = await queue.ready(connection, limits, share.index, share.count, least)
            self._candidates.put(reads, found, share, now)

    async def _look_past(self, connection: HotConnection, made: _Pass) -> None:
        """Tasks of other types stand behind those that are kept queued: they need not wait with them."""
        for pool, types in list(made.deferred.items()):
            free = min(self._slots.free_in(pool), self._settings.claim_batch)
            if free:
                placed = {task.id for task, _ in made.placed}
                wanted = free + len(placed)
                found = await queue.ready_past(connection, pool, list(types), wanted, self._least(pool))
                self._place(made, [task for task in found if task.id not in placed])

    def _place(self, made: _Pass, ready: Sequence[Ready]) -> Sequence[Ready]:
        """Choose agents; those for which no slot is left are given back."""
        for number, task in enumerate(ready):
            if self._slots.free_in(task.pool) == 0:
                return ready[number:]
            agent = None if made.asked_enough(task) else self._placer.place(task)
            if agent is not None:
                made.placed.append((task, agent))
            else:
                made.defer(task)
        return ()

    def _begin(self, made: _Pass) -> None:
        assert self.attempts is not None
        for task, agent in made.placed:
            begun, pool = made.started.get(task.id), self._view.pools.get(task.pool)
            if begun is not None and pool is not None:
                self.attempts.begin(task, pool, agent, begun)
                continue
            self._placer.release(agent)
            if begun is None and task.id not in made.passed.aside:
                made.lost[task.pool] = made.lost.get(task.pool, 0) + 1
        self._skipped = {pool: min(MAX_SKIP, count) for pool, count in made.lost.items()}
        self._candidates.drop([*made.lost, *made.deferred])
        self._maybe |= made.lost.keys()
        self._maybe -= made.deferred.keys()
        self._resting.update(dict.fromkeys(made.deferred, self._clock.monotonic() + DEFERRED_RETRY_S))
        self._hub.changed([*made.started, *made.passed.aside])
        if made.passed.aside:
            self._maybe.update(task.pool for task, _ in made.placed if task.id in made.passed.aside)
            self._on_aside(made.passed)
