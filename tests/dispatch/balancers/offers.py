"""Agents, tasks and outcomes for the balancers' tests, and a small pool that runs tasks to the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.dispatch.balancers.base import AgentView, Balancer, Outcome, TaskView

TASK = TaskView(id="t", type="log")
DONE = Outcome(ok=True, seconds=1.0)


def agent(agent_id: str, *, weight: float = 5.0, in_flight: int = 0, slots: int = 4) -> AgentView:
    return AgentView(id=agent_id, slots=slots, in_flight=in_flight, weight=weight)


def idle(ids: Iterable[str]) -> list[AgentView]:
    return [agent(agent_id) for agent_id in ids]


def choices(balancer: Balancer, offer: list[AgentView], count: int) -> list[str | None]:
    return [balancer.choose(TASK, offer, float(n)) for n in range(count)]


@dataclass
class Pool:
    """What the dispatch loop does around a balancer, checking its half of the contract at every step.

    `slots` and `weights` by agent id; `running` the attempts under way; `finished` counts by agent.
    """

    balancer: Balancer
    slots: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    running: list[tuple[str, TaskView]] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    now: float = 0.0

    def join(self, agent_id: str, slots: int = 2, weight: float = 5.0) -> None:
        self.slots[agent_id], self.weights[agent_id] = slots, weight
        self.balancer.joined(agent_id, self._tick())

    def leave(self, agent_id: str) -> None:
        del self.slots[agent_id], self.weights[agent_id]
        self.balancer.left(agent_id, self._tick())

    def offer(self) -> list[AgentView]:
        in_flight = Counter(agent_id for agent_id, _ in self.running)
        return [
            AgentView(agent_id, slots, in_flight[agent_id], self.weights[agent_id], skills={"log": 0.9})
            for agent_id, slots in self.slots.items()
            if in_flight[agent_id] < slots
        ]

    def place(self, task: TaskView, order: random.Random) -> str | None:
        """Offer the free agents in random order; the chosen id; None where none is free or it waits."""
        offer = self.offer()
        if not offer:
            return None
        order.shuffle(offer)
        chosen = self.balancer.choose(task, offer, self._tick())
        if chosen is not None:
            assert chosen in {view.id for view in offer}
            self.balancer.started(chosen, task, self._tick())
            self.running.append((chosen, task))
        return chosen

    def finish(self, index: int, outcome: Outcome = DONE) -> None:
        agent_id, task = self.running.pop(index)
        self.finished[agent_id] += 1
        self.balancer.finished(agent_id, task, outcome, self._tick())

    def _tick(self) -> float:
        self.now += 0.01
        return self.now
