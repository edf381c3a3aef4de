"""weighted_score: a weighted sum of what an agent has shown, how free it is, and how well the task suits it.

    score = 0.30 x success rate          over its last 100 counted results
          + 0.25 x 1 / (1 + response)    exponential moving average of its response seconds, alpha 0.1
          + 0.20 x free share            of the slots this manager owns in it
          + 0.15 x compatibility         of the task's type in the skills; 0.5 where unknown
          + 0.10 x complexity fitness    any agent for easy tasks, middle weights for middling, heavy for hard

The numbers are those of the default `Formula`. `score` is pure and is all there is to the judgement; the class around
it learns and picks the best: of all offered agents up to MAX_SCAN, of a random draw of MAX_SCAN beyond.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

from app.dispatch.balancers.base import MAX_SCAN, AgentView, Offer, Outcome, TaskView
from app.dispatch.balancers.passive import Passive

UNKNOWN_COMPATIBILITY = 0.5
WEIGHTS = ("success", "response", "free", "compatibility", "complexity")


@dataclass(frozen=True, slots=True)
class Formula:
    """The weight of each term, the weight of the newest answer in the response time (0 < alpha <= 1), and how many
    results the success rate is of. Raises ValueError naming the field that cannot be used."""

    success: float = 0.30
    response: float = 0.25
    free: float = 0.20
    compatibility: float = 0.15
    complexity: float = 0.10
    alpha: float = 0.1
    window: int = 100

    def __post_init__(self) -> None:
        for name in (*WEIGHTS, "alpha"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value <= sys.float_info.max:
                raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")
        if all(getattr(self, name) == 0 for name in WEIGHTS):
            raise ValueError(f"one of {', '.join(WEIGHTS)} must be above 0")
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(f"alpha must be above 0 and at most 1, not {self.alpha!r}")
        if not _is_number(self.window) or not isinstance(self.window, int) or not 1 <= self.window <= 10_000:
            raise ValueError(f"window must be a whole number from 1 to 10000, not {self.window!r}")

    @classmethod
    def of(cls, params: Mapping[str, object]) -> Self:
        """The formula with `params` in place of its defaults. Raises ValueError as the class does."""
        unknown = params.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"does not take {', '.join(sorted(unknown))}")
        return cls(**params)  # type: ignore[arg-type]  # checked in __post_init__


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Terms(NamedTuple):
    """What each term adds to the score, its weight included: the score is the sum of the five."""

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
    later ones move it by alpha.
    """

    success_rate: float = 1.0
    response_s: float = 0.0
    _results: int = 0
    _successes: int = 0  # of the last `window` results, one bit each, 1 for success, the newest lowest
    _answered: bool = False

    def add(self, outcome: Outcome, formula: Formula) -> None:
        """Learn from one result that says something about the agent."""
        self._results = min(self._results + 1, formula.window)
        self._successes = (self._successes << 1 | outcome.ok) & ((1 << formula.window) - 1)
        self.success_rate = self._successes.bit_count() / self._results
        self.response_s = self._averaged(outcome, formula.alpha)

    def _averaged(self, outcome: Outcome, alpha: float) -> float:
        if not outcome.ok:
            return self.response_s if self._answered else math.inf
        seconds = max(outcome.seconds, 0.0)
        if not self._answered:
            self._answered = True
            return seconds
        return self.response_s + alpha * (seconds - self.response_s)


def complexity_fitness(complexity: float, weight: float) -> float:
    """How well an agent of `weight` (1..10) suits a task of `complexity` (0..1), 0..1."""
    if complexity <= 0.3:
        return 1.0
    if complexity <= 0.7:
        return 1.0 - abs(weight - 5.0) / 5.0
    return weight / 10.0


def score(task: TaskView, agent: AgentView, record: Record, formula: Formula) -> Terms:
    """The terms of the module's formula for placing `task` on `agent`."""
    slots = agent.slots
    return Terms(
        formula.success * record.success_rate,
        formula.response / (1.0 + record.response_s),
        formula.free * (slots - agent.in_flight) / slots,
        formula.compatibility * agent.skills.get(task.type, UNKNOWN_COMPATIBILITY),
        formula.complexity * complexity_fitness(task.complexity, agent.weight),
    )


class WeightedScore(Passive):
    """The agent with the highest score; equals are picked from at random."""

    def __init__(self, rng: random.Random, formula: Formula | None = None) -> None:
        self._rng = rng
        self._formula = formula or Formula()
        self._records: dict[str, Record] = {}
        self._unseen = Record()  # stands for every agent without a record; never added to

    def choose(self, task: TaskView, offer: Offer, now: float) -> str:
        agents = offer.draw(self._rng, MAX_SCAN)
        record_of, unseen, formula = self._records.get, self._unseen, self._formula
        totals = [sum(score(task, agent, record_of(agent.id, unseen), formula)) for agent in agents]
        best = max(totals)
        tied = [agent.id for agent, total in zip(agents, totals, strict=True) if total == best]
        chosen = tied[0] if len(tied) == 1 else self._rng.choice(tied)
        if chosen not in self._records:
            self._records[chosen] = Record()
        return chosen

    def scores(self, task: TaskView, agents: Iterable[AgentView]) -> dict[str, Terms]:
        """The terms by agent id, as `choose` would weigh them now; changes nothing."""
        record_of = self._records.get
        return {agent.id: score(task, agent, record_of(agent.id, self._unseen), self._formula) for agent in agents}

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        record = self._records.get(agent_id)
        if record is not None and outcome.counted and (outcome.ok or outcome.agents_fault):
            record.add(outcome, self._formula)

    def joined(self, agent: AgentView, now: float) -> None:
        self._records.setdefault(agent.id, Record())

    def left(self, agent_id: str, now: float) -> None:
        self._records.pop(agent_id, None)
