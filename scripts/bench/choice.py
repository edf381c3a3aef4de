"""Choice: what one decision of each built-in balancer costs in a pool of 10 to 10,000 agents, in process.

What is timed is `Guarded.choose`, as the dispatch loop calls it, in a pool half of whose slots are in use, by balancers
that have seen results of the agents. Attempts start and end between the choices; that is not timed.
"""

from __future__ import annotations

import random
import statistics
import time

from app.dispatch.balancers import registry
from app.dispatch.balancers.base import AgentView, Outcome, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.balancers.offer import FreeAgents
from scripts.bench.targets import at_most

TARGETS = {"choice_ai_optimized_10000_us": at_most(20.0), "choice_ai_optimized_growth": at_most(2.0, " ×")}

SIZES = (10, 100, 1_000, 10_000)
CHOICES = 5_000
SLOTS = 8
VERSIONS, TYPES = 4, 3
MEAN_S = 1.0
WARM_UP_PER_AGENT, LEAST_WARM_UP = 8, 1_000


class _Pool:
    """Agents with work, and the balancer under test; `step` is one choice with what follows from it."""

    def __init__(self, name: str, agents: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._guarded = Guarded(registry.build(name, random.Random(seed)))
        self._agents = [
            AgentView(f"agent-{number}", SLOTS, 0, version=f"v{number % VERSIONS}", skills={"type-0": 0.9})
            for number in range(agents)
        ]
        self._offer = FreeAgents(self._agents)
        self._busy: list[tuple[AgentView, TaskView, float]] = []
        self._now = 1000.0
        self._number = 0
        for agent in self._agents:
            self._guarded.joined(agent, self._now)

    def step(self) -> float:
        """Microseconds of one choice."""
        self._now += MEAN_S / (len(self._agents) * SLOTS / 2)
        self._number += 1
        task = TaskView(f"task-{self._number}", f"type-{self._rng.randrange(TYPES)}", self._rng.random())
        began = time.perf_counter_ns()
        chosen = self._guarded.choose(task, self._offer, self._now)
        spent_us = (time.perf_counter_ns() - began) / 1000
        assert self._guarded.errors == 0
        if chosen is not None:
            self._start(chosen, task)
        while len(self._busy) > len(self._agents) * SLOTS / 2 or not len(self._offer):
            self._end()
        return spent_us

    def _start(self, agent_id: str, task: TaskView) -> None:
        agent = self._offer.get(agent_id)
        assert agent is not None
        agent.in_flight += 1
        if agent.in_flight == agent.slots:
            self._offer.discard(agent_id)
        self._guarded.started(agent_id, task, self._now)
        self._busy.append((agent, task, self._now))

    def _end(self) -> None:
        """Some attempt ends: one in fifty fails."""
        place = self._rng.randrange(len(self._busy))
        self._busy[place], self._busy[-1] = self._busy[-1], self._busy[place]
        agent, task, began = self._busy.pop()
        agent.in_flight -= 1
        self._offer.add(agent)
        outcome = Outcome(self._rng.random() > 0.02, max(self._now - began, 0.001) * self._rng.lognormvariate(0, 0.5))
        self._guarded.finished(agent.id, task, outcome, self._now)


def _median_us(name: str, agents: int, choices: int, seed: int) -> float:
    pool = _Pool(name, agents, seed)
    for _ in range(max(LEAST_WARM_UP, WARM_UP_PER_AGENT * agents)):
        pool.step()
    return statistics.median(pool.step() for _ in range(choices))


def measure(rounds: int = 3, choices: int = CHOICES) -> list[dict[str, float]]:
    """Microseconds a choice, the median of many; the growth is the cost at 10,000 agents ÷ that at 100."""
    found = []
    for seed in range(rounds):
        costs = {(name, size): _median_us(name, size, choices, seed) for name in registry.BUILT_IN for size in SIZES}
        row = {f"choice_{name}_{size}_us": cost for (name, size), cost in costs.items()}
        row["choice_ai_optimized_growth"] = costs["ai_optimized", 10_000] / costs["ai_optimized", 100]
        found.append(row)
    return found
