"""Smooth weighted round robin: turns in proportion to weight, evenly interleaved, no randomness.

The algorithm of nginx's upstream module: every offered agent gains credit by its weight, the richest is
chosen and pays what all gained together; weights {5, 1, 1} give a a b a c a a instead of five in a row. Two
things differ, for a pool that changes while it runs:

- Credit is kept in turns (weight / total weight) rather than in weight. While the offer stays the same this
  is the same sequence; when a weight changes or an agent becomes full, nobody is left with a debt in the old
  currency, which would starve it for as long as the old total was large.
- A newcomer starts with the mean credit of those present. Only differences decide, so it neither floods nor
  starves whatever the credit of those who left in the meantime.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.dispatch.balancers.base import AgentView, TaskView
from app.dispatch.balancers.passive import Passive

# Sums of shares such as 1/7 are off by some 1e-16 each; what differs by less than this is a tie.
TIE = 1e-9


class WeightedRoundRobin(Passive):
    """Credit in turns by agent id, for the agents offered since they joined; ties go to the smaller id.

    Weights must be positive; an offer whose weights sum to zero raises ZeroDivisionError.
    """

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}
        self._sum = 0.0  # of all credit: a choice adds one turn and takes one, so only membership changes it

    def choose(self, task: TaskView, agents: Sequence[AgentView], now: float) -> str:
        total = sum(agent.weight for agent in agents)
        for agent in agents:
            if agent.id not in self._credit:
                self._admit(agent.id)
            self._credit[agent.id] += agent.weight / total
        chosen = self._richest(agents)
        self._credit[chosen] -= 1.0
        return chosen

    def left(self, agent_id: str, now: float) -> None:
        self._sum -= self._credit.pop(agent_id, 0.0)
        if not self._credit:
            self._sum = 0.0

    def _admit(self, agent_id: str) -> None:
        mean = self._sum / len(self._credit) if self._credit else 0.0
        self._credit[agent_id] = mean
        self._sum += mean

    def _richest(self, agents: Sequence[AgentView]) -> str:
        top = max(self._credit[agent.id] for agent in agents) - TIE
        return min(agent.id for agent in agents if self._credit[agent.id] >= top)
