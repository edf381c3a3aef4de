"""ai_optimized: a weighted score of what an agent has shown, how free it is, and how well the task suits it.

    score = 0.30 x success rate          over its last 100 counted results
          + 0.25 x 1 / (1 + response)    exponential moving average of its response seconds, alpha 0.1
          + 0.20 x free share            of the slots this manager owns in it
          + 0.15 x compatibility         of the task's type in the skills; 0.5 where unknown
          + 0.10 x complexity fitness    any agent for easy tasks, middle weights for middling, heavy for hard

`score` is pure and is all there is to the judgement; the class around it learns and picks the best.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.dispatch.balancers.base import AgentView, Outcome, TaskView
from app.dispatch.balancers.passive import Passive

ALPHA = 0.1
WINDOW = 100
UNKNOWN_COMPATIBILITY = 0.5


class Terms(NamedTuple):
    """What each term adds to the score, its weight included: the sum of the five is the score, 0..1."""

    success: float
    response: float
    free: float
    compatibility: float
    complexity: float

    @property
    def total(self) -> float:
        return sum(self)


@dataclass(slots=True)
class Record:
    """What one agent has shown. Without results it counts as perfect, so that a new agent is tried at once.

    `response_s` averages answers only. A failure is no answer: were it averaged, an agent that fails in a
    millisecond would earn the response term of the fastest agent and draw the pool's tasks to itself. An
    agent with results but no answer yet has an infinite response time. The first answer sets the average,
    later ones move it by ALPHA.
    """

    success_rate: float = 1.0
    response_s: float = 0.0
    _results: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _successes: int = 0
    _answered: bool = False

    def add(self, outcome: Outcome) -> None:
        """Learn from one counted result."""
        if len(self._results) == WINDOW:
            self._successes -= self._results[0]
        self._results.append(outcome.ok)
        self._successes += outcome.ok
        self.success_rate = self._successes / len(self._results)
        self.response_s = self._averaged(outcome)

    def _averaged(self, outcome: Outcome) -> float:
        if not outcome.ok:
            return self.response_s if self._answered else math.inf
        if not self._answered:
            self._answered = True
            return outcome.seconds
        return self.response_s + ALPHA * (outcome.seconds - self.response_s)


def complexity_fitness(complexity: float, weight: float) -> float:
    """How well an agent of `weight` (1..10) suits a task of `complexity` (0..1), 0..1."""
    if complexity <= 0.3:
        return 1.0
    if complexity <= 0.7:
        return 1.0 - abs(weight - 5.0) / 5.0
    return weight / 10.0


def score(task: TaskView, agent: AgentView, record: Record) -> Terms:
    """The terms of the module's formula for placing `task` on `agent`."""
    return Terms(
        success=0.30 * record.success_rate,
        response=0.25 / (1.0 + record.response_s),
        free=0.20 * (agent.slots - agent.in_flight) / agent.slots,
        compatibility=0.15 * agent.skills.get(task.type, UNKNOWN_COMPATIBILITY),
        complexity=0.10 * complexity_fitness(task.complexity, agent.weight),
    )


class AiOptimized(Passive):
    """The agent with the highest score; equals are picked from at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._records: dict[str, Record] = {}
        self._unseen = Record()  # stands for every agent without a record; never added to

    def choose(self, task: TaskView, agents: Sequence[AgentView], now: float) -> str:
        record_of = self._records.get
        totals = [sum(score(task, agent, record_of(agent.id, self._unseen))) for agent in agents]
        best = max(totals)
        tied = [agent.id for agent, total in zip(agents, totals, strict=True) if total == best]
        chosen = tied[0] if len(tied) == 1 else self._rng.choice(tied)
        self.joined(chosen, now)
        return chosen

    def scores(self, task: TaskView, agents: Sequence[AgentView]) -> dict[str, Terms]:
        """The terms by agent id, as `choose` would weigh them now; changes nothing."""
        return {agent.id: score(task, agent, self._records.get(agent.id, self._unseen)) for agent in agents}

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        record = self._records.get(agent_id)
        if record is not None and outcome.counted:
            record.add(outcome)

    def joined(self, agent_id: str, now: float) -> None:
        if agent_id not in self._records:
            self._records[agent_id] = Record()

    def left(self, agent_id: str, now: float) -> None:
        self._records.pop(agent_id, None)
