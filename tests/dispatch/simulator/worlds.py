"""Small worlds, and strategies that watch the engine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

from app.dispatch.balancers.base import Balancer, Offer, Outcome, TaskView
from app.dispatch.balancers.passive import Passive
from app.dispatch.balancers.registry import BUILT_IN, NO_PARAMS
from app.dispatch.simulator.engine import Build
from app.dispatch.simulator.world import Arrival, PoolTerms, SimAgent, World
from app.registry.records import RetryPolicy

QUICK_RETRY = RetryPolicy(initial_s=0.1, max_s=1.0, factor=2.0, jitter=0.0)


def arrival(at_s: float, size_s: float = 1.0, luck: float = 0.9, kind: str = "task") -> Arrival:
    return Arrival(at_s, kind, size_s, 0.5, luck)


def small(
    agents: Iterable[SimAgent], arrivals: Iterable[Arrival], terms: PoolTerms | None = None, **facts: object
) -> World:
    tasks = tuple(sorted(arrivals, key=lambda task: task.at_s))
    end_s = tasks[-1].at_s if tasks else 1.0
    return World(tuple(agents), tasks, end_s, terms=terms or PoolTerms(60.0, 3, QUICK_RETRY), **facts)  # type: ignore[arg-type]


def built_in(name: str) -> Build:
    return lambda rng: BUILT_IN[name](rng, NO_PARAMS)


class Anyone(Passive):
    """Any agent offered; keeps a task queued with probability `keeps`, and with `lies` names a stranger. Records what
    started and what finished, and in `wrong` what must not happen (raising would be caught by the guard)."""

    def __init__(self, rng: random.Random, keeps: float = 0.0, lies: float = 0.0) -> None:
        self.rng, self.keeps, self.lies = rng, keeps, lies
        self.offered: set[str] = set()
        self.present: set[str] = set()
        self.running: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.started_ids: list[tuple[str, str, float]] = []
        self.outcomes: list[tuple[str, str, Outcome, float]] = []

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        agents = list(offer)
        self.offered = {agent.id for agent in agents}
        if not self.offered <= self.present:
            self.wrong.append(f"offered at {now}: {self.offered - self.present}, which left")
        if not all(agent.in_flight == self.running[agent.id] < agent.slots for agent in agents):
            self.wrong.append(f"offered at {now}: {agents}, but there are {self.running}")
        if self.rng.random() < self.keeps:
            return None
        return "stranger" if self.rng.random() < self.lies else self.rng.choice(sorted(self.offered))

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        if agent_id not in self.offered:
            self.wrong.append(f"started at {now} on {agent_id}, which was not offered")
        self.running[agent_id] += 1
        self.started_ids.append((agent_id, task.id, now))

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        self.running[agent_id] -= 1
        self.outcomes.append((agent_id, task.id, outcome, now))

    def joined(self, agent: object, now: float) -> None:
        self.present.add(agent.id)  # type: ignore[attr-defined]

    def left(self, agent_id: str, now: float) -> None:
        self.present.discard(agent_id)


def watched(keeps: float = 0.0, lies: float = 0.0) -> tuple[Build, list[Anyone]]:
    """A way to build `Anyone`, and where those built are found."""
    made: list[Anyone] = []

    def build(rng: random.Random) -> Balancer:
        made.append(Anyone(rng, keeps, lies))
        return made[-1]

    return build, made
