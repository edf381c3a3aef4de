"""This tree's balancers as strategies of the fleet simulator `lbsim`: run its `sim.py` with

    --strategy scripts/bench/lbsim_adapter.py:AiOptimized

Every strategy of the registry has a class here, its name in CamelCase: `RoundRobin`, `LeastConnections`, `P2C`.
`AiOptimized` also runs under PyPy, some ten times faster; the others need the Python of the service.
"""

# The simulator gives no types to check against.
# mypy: ignore-errors

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if sys.version_info < (3, 10):  # noqa: UP036 - PyPy: dataclasses have no slots there
    import dataclasses

    _dataclass = dataclasses.dataclass

    def _without_slots(cls=None, *, slots=False, **options):
        return _dataclass(cls, **options)

    dataclasses.dataclass = _without_slots

from app.dispatch.balancers.base import AgentView, Outcome, TaskView


class SimOffer:
    """The simulator's view of the fleet as an `Offer`.

    What is free is found by drawing and looking, since a manager is not told what the others start: constant work
    while some share is free, a look at all of them when hardly any is.
    """

    TRIES = 6  # draws for each agent wanted before all are looked at

    def __init__(self):
        self.view = None  # of the moment
        self._agents = {}  # by executor id
        self._all = []
        self._by_version = {}

    def add(self, eid, agent):
        self._agents[eid] = agent
        self._all.append((eid, agent))
        self._by_version.setdefault(agent.version, []).append((eid, agent))

    def remove(self, eid):
        agent = self._agents.pop(eid)
        self._all.remove((eid, agent))
        self._by_version[agent.version].remove((eid, agent))

    def _fits(self, eid, agent):
        agent.in_flight = self.view.inflight[eid]
        agent.slots = self.view.cap[eid]
        return agent.in_flight < agent.slots

    def draw(self, rng, count, version=None):
        agents = self._all if version is None else self._by_version.get(version, ())
        n = len(agents)
        drawn, seen = [], set()
        for _ in range(self.TRIES * count if n > 2 * count else 0):
            place = int(rng.random() * n)
            if place not in seen:
                seen.add(place)
                if self._fits(*agents[place]):
                    drawn.append(agents[place][1])
                    if len(drawn) == count:
                        return drawn
        start = int(rng.random() * n)
        for step in range(n):
            place = (start + step) % n
            if place not in seen and self._fits(*agents[place]):
                drawn.append(agents[place][1])
                if len(drawn) == count:
                    break
        return drawn

    def __len__(self):
        return sum(self._fits(eid, agent) for eid, agent in self._all)

    def __iter__(self):
        return (agent for eid, agent in self._all if self._fits(eid, agent))

    def __contains__(self, agent_id):
        return self.get(agent_id) is not None

    def get(self, agent_id):
        agent = self._agents.get(int(agent_id))
        return agent if agent is not None and self._fits(int(agent_id), agent) else None


class Adapter:
    """One manager's balancer as lbsim knows strategies. `make(rng)` builds the balancer."""

    name = ""
    make = None

    def __init__(self, ctx):
        self.ctx = ctx
        self.balancer = type(self).make(ctx.rng)
        self.looking = random.Random(ctx.rng.random())
        self.offer = SimOffer()

    def on_join(self, eid, now):
        ctx = self.ctx
        version = ctx.cls(eid)
        skills = {task_type: ctx.compat(task_type, version) for task_type in ctx.types}
        agent = AgentView(str(eid), ctx.cap(eid), 0, float(ctx.weight(eid)), version, skills)
        self.offer.add(eid, agent)
        self.balancer.joined(agent, now)

    def on_leave(self, eid, now):
        self.offer.remove(eid)
        self.balancer.left(str(eid), now)

    def select(self, view, task):
        self.offer.view = view
        if not self.offer.draw(self.looking, 1):
            return None
        chosen = self.balancer.choose(_told(task, view.now), self.offer, view.now)
        return None if chosen is None else int(chosen)

    def on_start(self, eid, task, now):
        self.balancer.started(str(eid), _told(task, now), now)

    def on_finish(self, eid, task, latency, ok, now, rif=None):
        self.balancer.finished(str(eid), _told(task, now), Outcome(ok, latency), now)

    def on_refresh(self, now, peers):
        if peers and hasattr(self.balancer, "merge"):
            self.balancer.merge([peer.balancer.summary(now) for peer in peers], now)


def _told(task, now):
    return TaskView(str(task.id), task.type, task.complexity, now - task.t)


def _ai_optimized(rng):
    from app.dispatch.balancers.ai_optimized import AiOptimized as Strategy

    return Strategy(rng)


class AiOptimized(Adapter):
    name = "ai_optimized"
    make = staticmethod(_ai_optimized)


def __getattr__(class_name):
    """The adapter of the registry's strategy of that name."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", class_name).lower()
    if class_name.startswith("_"):
        raise AttributeError(class_name)
    from app.dispatch.balancers import registry

    if name not in registry.BUILT_IN:
        raise AttributeError(class_name)
    return type(class_name, (Adapter,), {"name": name, "make": staticmethod(lambda rng: registry.build(name, rng))})
