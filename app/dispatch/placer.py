"""Placing: which agent a claimed task goes to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from app.core.clock import Clock
from app.dispatch.balancers import registry as balancers
from app.dispatch.balancers.base import AgentView, Outcome, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.decide import cooling_s
from app.dispatch.executors.base import Refused
from app.dispatch.slots import AgentSlots, SlotTable
from app.dispatch.telemetry import BALANCER_ERRORS, LOAD
from app.registry.records import AgentRecord, PoolRecord
from app.registry.view import RegistryView
from app.settings import DispatchSettings
from app.tasks.queue import Ready

log = structlog.get_logger()

MAX_OFFER = 256
"""Of more free agents than this a random sample is offered, so that one choice stays cheap in a large pool."""


class Placer:
    """Owns one balancer per pool and the slot table; follows the registry.

    `place` takes a slot; whoever gets an agent from it calls `release` once.
    """

    def __init__(
        self, view: RegistryView, slots: SlotTable, clock: Clock, settings: DispatchSettings, max_labelled: int
    ) -> None:
        self._view, self._slots, self._clock, self._settings = view, slots, clock, settings
        self._rng = random.Random()  # noqa: S311 - a spread, not a secret
        self._balancers: dict[str, tuple[str, Guarded]] = {}
        self._known: dict[str, set[str]] = {}
        self._labelled: set[str] = set()
        self._max_labelled = max_labelled
        self._cooling: dict[str, tuple[asyncio.TimerHandle, datetime, bool]] = {}
        self._unreachable: dict[str, int] = {}
        self.on_warm: Callable[[str], None] = lambda _pool: None

    def follow_registry(self) -> None:
        """Take over what the registry says now: agents, slots, balancers."""
        now = self._clock.monotonic()
        for name, (_, registered_at, _) in list(self._cooling.items()):
            agent = self._view.agents.get(UUID(name))
            if agent is None or agent.registered_at != registered_at:
                self._end_pause(name)  # it is gone, or it has started anew
        self._slots.set_agents(
            {
                str(agent.id): AgentSlots(agent.pool, agent.slots, agent.works and str(agent.id) not in self._cooling)
                for agent in self._view.agents.values()
            }
        )
        for pool in self._view.pools.values():
            self._follow_pool(pool, now)

    def _follow_pool(self, pool: PoolRecord, now: float) -> None:
        name, balancer = self._balancers.get(pool.name, ("", None))
        if balancer is None or name != pool.balancer:
            balancer = self._build(pool)
            self._balancers[pool.name] = (pool.balancer, balancer)
            self._known[pool.name] = set()
        present = {str(agent_id) for agent_id in self._view.agents_of(pool.name)}
        known = self._known[pool.name]
        for agent_id in present - known:
            balancer.joined(agent_id, now)
        for agent_id in known - present:
            balancer.left(agent_id, now)
            self._unreachable.pop(agent_id, None)
            self._unlabel(agent_id)
        self._known[pool.name] = present

    def _build(self, pool: PoolRecord) -> Guarded:
        def on_error(reason: str, exc: Exception | None) -> None:
            BALANCER_ERRORS.labels(pool.name, reason).inc()
            log.warning("balancer_failed", pool=pool.name, balancer=pool.balancer, reason=reason, error=repr(exc))

        rng = random.Random(self._rng.random())  # noqa: S311
        try:
            return Guarded(balancers.build(pool.balancer, rng), on_error)
        except balancers.UnknownBalancer as exc:  # a strategy that another release, or another manager, has
            on_error("unknown_strategy", exc)
            return Guarded(balancers.build("least_connections", rng), on_error)

    def place(self, task: Ready) -> AgentRecord | None:
        """An agent for the task, with its slot taken; None to leave the task queued for now."""
        agent_id = self._choose(task)
        if agent_id is None:
            return None
        self._slots.take(agent_id)
        self._load(agent_id)
        return self._view.agents[UUID(agent_id)]

    def release(self, agent_id: UUID) -> None:
        """An attempt on the agent ended, or never began."""
        self._slots.give_back(str(agent_id))
        self._load(str(agent_id))

    def refused(self, agent_id: UUID, refusal: Refused) -> None:
        """Offer nothing of this agent for a while: it is full, leaving, or cannot be reached."""
        name = str(agent_id)
        if name in self._cooling or agent_id not in self._view.agents:
            return
        failures = self._unreachable.get(name, 0) + 1 if refusal.unreachable else 0
        self._unreachable[name] = failures
        pause_s = cooling_s(refusal, failures, self._settings.busy_retry_s, self._rng.random())
        self._slots.set_eligible(name, False)
        timer = asyncio.get_running_loop().call_later(pause_s, self._warm, name)
        self._cooling[name] = (timer, self._view.agents[agent_id].registered_at, refusal.unreachable)
        log.info("agent_cooling", agent_id=name, seconds=round(pause_s, 1), reason=refusal.code)

    def reached(self, agent_id: UUID) -> None:
        """The agent took a call: if it could not be reached before, that is over."""
        name = str(agent_id)
        self._unreachable.pop(name, None)
        if name in self._cooling and self._cooling[name][2]:
            self._end_pause(name)
            self._warm(name)

    def _end_pause(self, name: str) -> None:
        self._cooling.pop(name)[0].cancel()
        self._unreachable.pop(name, None)

    def _warm(self, name: str) -> None:
        self._cooling.pop(name, None)
        agent = self._view.agents.get(UUID(name))
        if agent is not None:
            self._slots.set_eligible(name, agent.works)
            self.on_warm(agent.pool)

    def close(self) -> None:
        """Forget the pauses."""
        for timer, _, _ in self._cooling.values():
            timer.cancel()
        self._cooling.clear()

    def started(self, pool: str, agent_id: UUID, task: TaskView) -> None:
        if pool in self._balancers:
            self._balancers[pool][1].started(str(agent_id), task, self._clock.monotonic())

    def finished(self, pool: str, agent_id: UUID, task: TaskView, outcome: Outcome) -> None:
        if pool in self._balancers:
            self._balancers[pool][1].finished(str(agent_id), task, outcome, self._clock.monotonic())

    def _choose(self, task: Ready) -> str | None:
        if task.pinned_agent_id is not None:
            pinned = str(task.pinned_agent_id)
            return pinned if self._slots.free(pinned) else None
        if task.rejoin and task.agent_id is not None:
            former = self._view.agents.get(task.agent_id)
            if former is not None and former.works:
                if self._slots.free(str(former.id)):
                    return str(former.id)
                if task.waited_s < self._settings.rejoin_patience_s:
                    return None
        return self._balance(task)

    def _balance(self, task: Ready) -> str | None:
        pool, entry = self._view.pools.get(task.pool), self._balancers.get(task.pool)
        if pool is None or entry is None:
            return None
        offered = self._slots.free_agents(task.pool)
        if len(offered) > MAX_OFFER:
            offered = self._rng.sample(offered, MAX_OFFER)
        if task.agent_id is not None and len(offered) > 1:
            offered = [agent_id for agent_id in offered if agent_id != str(task.agent_id)]  # elsewhere this time
        if not offered:
            return None
        return entry[1].choose(task_view(task), self._views(offered, pool), self._clock.monotonic())

    def _views(self, agent_ids: Sequence[str], pool: PoolRecord) -> list[AgentView]:
        views = []
        for agent_id in agent_ids:
            agent = self._view.agents[UUID(agent_id)]
            views.append(
                AgentView(
                    agent_id,
                    self._slots.owned(agent_id),
                    self._slots.in_flight(agent_id),
                    agent.weight,
                    agent.version,
                    pool.skills,
                )
            )
        return views

    def _load(self, agent_id: str) -> None:
        agent = self._view.agents.get(UUID(agent_id))
        if agent is None or (agent_id not in self._labelled and len(self._labelled) >= self._max_labelled):
            return
        self._labelled.add(agent_id)
        LOAD.labels(agent_id).set(self._slots.in_flight(agent_id) / agent.slots)

    def _unlabel(self, agent_id: str) -> None:
        if agent_id in self._labelled:
            self._labelled.discard(agent_id)
            LOAD.remove(agent_id)


def task_view(task: Ready) -> TaskView:
    """What a balancer may know of a claimed task."""
    return TaskView(str(task.id), task.type, task.complexity, task.waited_s, task.thread_id)
