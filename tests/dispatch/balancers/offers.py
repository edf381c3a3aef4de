"""Agents, tasks and offers for the balancers' tests, and a small pool that runs tasks to the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from app.dispatch.balancers.base import AgentView, Balancer, Offer, Outcome, TaskView
from app.dispatch.balancers.offer import FreeAgents

TASK = TaskView(id="t", type="log")
DONE = Outcome(ok=True, seconds=1.0)
FAILED = Outcome(ok=False, seconds=0.001)


def agent(agent_id: str, *, weight: float = 5.0, in_flight: int = 0, slots: int = 4, version: str = "") -> AgentView:
    return AgentView(id=agent_id, slots=slots, in_flight=in_flight, weight=weight, version=version)


def offer(*agents: AgentView) -> FreeAgents:
    return FreeAgents(agents)


def idle(ids: Iterable[str]) -> FreeAgents:
    return FreeAgents(agent(agent_id) for agent_id in ids)


def choices(balancer: Balancer, offered: Offer, count: int) -> list[str | None]:
    return [balancer.choose(TASK, offered, float(n)) for n in range(count)]


def join_all(balancer: Balancer, agents: Iterable[AgentView]) -> None:
    for view in agents:
        balancer.joined(view, 0.0)


class Counting:
    """An offer that counts the agents read from it, one for each drawn, looked up, tested or iterated over."""

    def __init__(self, offered: FreeAgents) -> None:
        self._offered = offered
        self.read = 0

    def __len__(self) -> int:
        return len(self._offered)

    def __contains__(self, agent_id: object) -> bool:
        self.read += 1
        return agent_id in self._offered

    def __iter__(self) -> Iterator[AgentView]:
        for view in self._offered:
            self.read += 1
            yield view

    def get(self, agent_id: str) -> AgentView | None:
        self.read += 1
        return self._offered.get(agent_id)

    def draw(self, rng: random.Random, count: int, version: str | None = None) -> Sequence[AgentView]:
        drawn = self._offered.draw(rng, count, version)
        self.read += len(drawn)
        return drawn


@dataclass
class Pool:
    """What the dispatch loop does around a balancer, checking its half of the contract at every step.

    `members` are the views by agent id, changed in place as slots are taken and given back; `running` the attempts
    under way; `finished` counts by agent. `tick_s` is how far the clock goes from call to call.
    """

    balancer: Balancer
    members: dict[str, AgentView] = field(default_factory=dict)
    free: FreeAgents = field(default_factory=FreeAgents)
    running: list[tuple[str, TaskView]] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    now: float = 0.0
    tick_s: float = 0.01
    _tasks: int = 0

    def join(self, agent_id: str, slots: int = 2, weight: float = 5.0, version: str = "") -> None:
        busy = sum(running_on == agent_id for running_on, _ in self.running)
        view = AgentView(agent_id, slots, busy, weight, version, skills={"log": 0.9})
        self.members[agent_id] = view
        self.balancer.joined(view, self._tick())
        self._show(agent_id)

    def weigh(self, agent_id: str, weight: float) -> None:
        """The operator changes the agent's weight."""
        self.members[agent_id].weight = weight
        self.balancer.joined(self.members[agent_id], self._tick())

    def leave(self, agent_id: str) -> None:
        del self.members[agent_id]
        self.free.discard(agent_id)
        self.balancer.left(agent_id, self._tick())

    def place(self, task: TaskView = TASK, waited_s: float = 0.0) -> str | None:
        """Offer the free agents; the chosen id; None where none is free or the balancer waits."""
        if not len(self.free):
            return None
        self._tasks += 1
        task = replace(task, id=f"{task.id}-{self._tasks}", waited_s=waited_s)
        before = {view.id: replace(view) for view in self.free}
        chosen = self.balancer.choose(task, self.free, self._tick())
        assert {view.id: view for view in self.free} == before
        if chosen is not None:
            assert chosen in before
            self.balancer.started(chosen, task, self._tick())
            self.running.append((chosen, task))
            self._move(chosen, 1)
        return chosen

    def finish(self, index: int, outcome: Outcome = DONE) -> None:
        agent_id, task = self.running.pop(index)
        self.finished[agent_id] += 1
        self._move(agent_id, -1)
        self.balancer.finished(agent_id, task, outcome, self._tick())

    def _move(self, agent_id: str, by: int) -> None:
        if agent_id in self.members:
            self.members[agent_id].in_flight += by
            self._show(agent_id)

    def _show(self, agent_id: str) -> None:
        view = self.members[agent_id]
        if view.in_flight < view.slots:
            self.free.add(view)
        else:
            self.free.discard(agent_id)

    def _tick(self) -> float:
        self.now += self.tick_s
        return self.now
