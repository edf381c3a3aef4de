"""Placing: which agent a claimed task goes to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

import structlog
from prometheus_client import Gauge

from app.core.clock import Clock
from app.dispatch.balancers.base import Offer, Outcome, TaskView
from app.dispatch.balancers.offer import Without
from app.dispatch.capping import spread
from app.dispatch.decide import cooling_s
from app.dispatch.executors.base import Refused
from app.dispatch.pauses import Pauses, Why
from app.dispatch.slots import AgentSlots, SlotTable
from app.dispatch.strategies import Strategies
from app.dispatch.telemetry import LOAD
from app.limits.restraints import Hold
from app.registry.records import AgentRecord
from app.registry.view import Changes, RegistryView
from app.settings import BalancerSettings, DispatchSettings
from app.tasks.queue import Ready

log = structlog.get_logger()


class Placer:
    """Owns the slot table, one balancer per pool and the agents' pauses; follows the registry.

    `place` takes a slot; whoever gets an agent from it calls `release` once. `on_warm(pool)` is called when an agent's
    pause is over. `hold(pool)` is what holds a pool back: a cap takes slots from its agents (`capping`), first from
    those that the registry says are ejected, which all managers know.
    """

    def __init__(
        self,
        view: RegistryView,
        slots: SlotTable,
        clock: Clock,
        settings: DispatchSettings,
        balancer_settings: BalancerSettings,
        max_labelled: int,
        hold: Callable[[str], Hold | None] = lambda _pool: None,
    ) -> None:
        self._hold, self._capped = hold, dict[str, Mapping[str, int]]()  # by pool, what each agent offers
        self._clock = clock
        self._redo: asyncio.TimerHandle | None = None
        self._view, self._slots, self._settings = view, slots, settings
        self._rng = random.Random()  # noqa: S311 - a spread, not a secret
        self._pauses = Pauses(self._warm)
        self.strategies = Strategies(clock, balancer_settings, self._eject, self._pauses.end_ejection)
        self._agents: dict[str, AgentRecord] = {}
        self._gauges: dict[str, Gauge] = {}
        self._max_labelled = max_labelled
        self._unreachable: dict[str, int] = {}
        self.on_warm: Callable[[str], None] = lambda _pool: None

    def follow_registry(self, changes: Changes | None = None) -> None:
        """Take over what the registry says now: of the agents in `changes`; None or a changed pool: of all."""
        if changes is None or changes.pools:
            had = dict(self.strategies.pools)
            self.strategies.follow(self._view.pools)
            self._follow(self._agents.keys() | {agent.key for agent in self._view.agents.values()})
            for pool, strategy in self.strategies.pools.items():
                if had.get(pool) is not strategy:
                    for agent in self._view.agents_of(pool).values():
                        self._pauses.end_ejection(agent.key)  # the new one has ejected nobody
        else:
            self._follow(str(agent_id) for agent_id in changes.agents)

    def _known(self, agent_id: str) -> AgentRecord | None:
        return self._view.agents.get(UUID(agent_id))

    def _follow(self, agent_ids: Iterable[str]) -> None:
        before = self._capped
        self._capped = {pool: caps for pool in self._view.pools if (caps := self._caps(pool)) is not None}
        self._look_again()
        # Of a capped pool the others offer more or less when one comes or goes.
        dealt_anew = {
            pool for pool in before.keys() | self._capped.keys() if before.get(pool) != self._capped.get(pool)
        }
        others = {agent.key for pool in dealt_anew for agent in self._view.agents_of(pool).values()}
        for agent_id in others.union(agent_ids):
            agent, known = self._known(agent_id), self._agents.get(agent_id)
            if known is not None and (agent is None or agent.registered_at != known.registered_at):
                self._forget(known)  # it is gone, or it has started anew
            if agent is not None:
                self._take_over(agent)

    def _caps(self, pool: str) -> Mapping[str, int] | None:
        hold = self._hold(pool)
        if hold is None or not hold.capped:
            return None
        agents, now = [agent for agent in self._view.agents_of(pool).values() if agent.works], self._clock.now()
        slots = [(agent.key, agent.slots) for agent in agents]
        ejected = {agent.key for agent in agents if agent.is_ejected(now)}
        return spread(hold.cap(sum(count for _, count in slots)), slots, ejected)

    def _look_again(self) -> None:
        """Deal the slots of capped pools anew once an agent there is ejected no more: no change of the registry says
        so."""
        if self._redo is not None:
            self._redo.cancel()
            self._redo = None
        now = self._clock.now()
        agents = (agent for pool in self._capped for agent in self._view.agents_of(pool).values())
        soonest = min(
            (until for agent in agents if (until := agent.ejected_until) is not None and until > now), default=None
        )
        if soonest is not None:
            left_s = (soonest - now).total_seconds()
            self._redo = asyncio.get_running_loop().call_later(left_s, self.follow_registry)

    def _take_over(self, agent: AgentRecord) -> None:
        pool = self._view.pools.get(agent.pool)
        facts = AgentSlots(
            agent.pool,
            self._capped.get(agent.pool, {}).get(agent.key, agent.slots),
            agent.works and agent.key not in self._pauses,
            agent.weight,
            agent.version,
            {} if pool is None else pool.skills,
        )
        self._agents[agent.key] = agent
        before = self._slots.facts(agent.key)
        self._slots.put(agent.key, facts)
        strategy, seen = self.strategies.pools.get(agent.pool), self._slots.view(agent.key)
        known = strategy is not None and agent.key in strategy.members
        if strategy is None or seen is None or (known and before is not None and before.same_kind(facts)):
            return
        self.strategies.joined(agent.pool, seen)

    def _forget(self, agent: AgentRecord) -> None:
        del self._agents[agent.key]
        self._pauses.forget(agent.key)
        self._unreachable.pop(agent.key, None)
        self._slots.remove(agent.key)
        self.strategies.left(agent.pool, agent.key)
        if self._gauges.pop(agent.key, None) is not None:
            LOAD.remove(agent.key)

    def place(self, task: Ready) -> AgentRecord | None:
        """An agent for the task, with its slot taken; None to leave the task queued for now."""
        agent_id = self._choose(task)
        if agent_id is None:
            return None
        agent = self._agents[agent_id]
        self._slots.take(agent_id)
        self._load(agent)
        return agent

    def release(self, agent: AgentRecord) -> None:
        """An attempt on the agent ended, or never began."""
        self._slots.give_back(agent.key)
        self._load(agent)

    def refused(self, agent: AgentRecord, refusal: Refused) -> None:
        """Offer nothing of this agent for a while: it is full, leaving, or cannot be reached."""
        name = agent.key
        if self._pauses.why(name) is not None or name not in self._agents:
            return
        failures = self._unreachable.get(name, 0) + 1 if refusal.unreachable else 0
        self._unreachable[name] = failures
        pause_s = cooling_s(refusal, failures, self._settings.busy_retry_s, self._rng.random())
        self._pause(name, "unreachable" if refusal.unreachable else "busy", pause_s)
        log.info("agent_cooling", agent_id=name, seconds=round(pause_s, 1), reason=refusal.code)

    def reached(self, agent: AgentRecord) -> None:
        """The agent took a call: if it could not be reached before, that is over."""
        if self._unreachable.pop(agent.key, None) and self._pauses.why(agent.key) == "unreachable":
            self._pauses.end_refusal(agent.key)

    def _eject(self, agent_id: str, seconds: float) -> None:
        if agent_id in self._agents:
            self._pause(agent_id, "ejected", seconds)

    def _pause(self, agent_id: str, why: Why, seconds: float) -> None:
        self._slots.set_eligible(agent_id, False)
        self._pauses.begin(agent_id, why, seconds)

    def _warm(self, agent_id: str) -> None:
        agent = self._agents.get(agent_id)
        if agent is not None:
            self._slots.set_eligible(agent_id, agent.works)
            self.on_warm(agent.pool)

    def close(self) -> None:
        """Forget the pauses."""
        self._pauses.close()
        if self._redo is not None:
            self._redo.cancel()

    def started(self, pool: str, agent: AgentRecord, task: TaskView) -> None:
        self.strategies.started(pool, agent.key, task)

    def finished(self, pool: str, agent: AgentRecord, task: TaskView, outcome: Outcome) -> None:
        self.strategies.finished(pool, agent.key, task, outcome)

    def _choose(self, task: Ready) -> str | None:
        if task.pinned_agent_id is not None:
            pinned = str(task.pinned_agent_id)
            return pinned if self._slots.free(pinned) else None
        if task.agent_id is None:
            return self._balance(task, None)
        former = self._agents.get(str(task.agent_id))
        if task.rejoin and former is not None and former.works:
            if self._slots.free(former.key):
                return former.key
            if task.waited_s < self._settings.rejoin_patience_s:
                return None
        return self._balance(task, former)

    def _balance(self, task: Ready, former: AgentRecord | None) -> str | None:
        """The balancer's choice among the free agents; not `former` if there is another: elsewhere this time."""
        free = self._slots.offer(task.pool)
        offer: Offer = free
        if former is not None and former.key in free and len(free) > 1:
            offer = Without(free, former.key)
        if not len(offer):
            return None
        return self.strategies.choose(task.pool, task_view(task), offer)

    def _load(self, agent: AgentRecord) -> None:
        gauge = self._gauges.get(agent.key)
        if gauge is None:
            if agent.key not in self._agents or len(self._gauges) >= self._max_labelled:
                return
            gauge = self._gauges[agent.key] = LOAD.labels(agent.key)
        gauge.set(self._slots.in_flight(agent.key) / agent.slots)


def task_view(task: Ready) -> TaskView:
    """What a balancer may know of a claimed task."""
    return TaskView(str(task.id), task.type, task.complexity, task.waited_s, task.thread_id)
