"""Prequal's rule: among agents that are not busier than usual the quickest, else the least busy.

The hot-cold lexicographic rule of Wydrowski et al., "Load is not what you should balance: Introducing Prequal"
(NSDI 2024). An agent is *hot* when its load is above the pool's quantile 2^-0.25 of recently seen loads, else *cold*.
Of the cold candidates the one with the lowest estimated latency is chosen; where all are hot, the least loaded.

Prequal learns both signals by probing a few servers asynchronously. A balancer here does no I/O, and need not: the
manager owns its slots in an agent alone, so what it has in flight there (the share of these slots) is never stale.
In place of a probe's answers stand

- for load: the shares of a random draw of CANDIDATES free agents, read at the moment of the choice;
- for latency: the median of the agent's recent answers that began at in-flight counts nearest to the present one. An
  agent without answers counts as the pool's median: it is neither shunned nor flooded.

Against sinkholes, agents that fail fast and so look idle and quick: a failure is no answer and shortens no estimate;
the estimate is divided by the share of attempts that succeed lately (the time until a success); and an agent most of
whose attempts failed lately is left out for SHUN_S after each failure, unless no other candidate is there.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.dispatch.balancers.base import AgentView, Offer, Outcome, TaskView
from app.dispatch.balancers.passive import Passive

CANDIDATES = 16
"""Free agents compared for one choice: the size of Prequal's probe pool."""

Q_RIF = 2.0**-0.25
"""Above this quantile of seen loads an agent is hot; the paper's default."""

RECENT = 10
"""Answers kept of an agent, and NEAREST of them, by in-flight count at their start, make the estimate."""
NEAREST = 5

FAILURE_WEIGHT = 0.2
"""Of the last attempt in the moving share of failures; four failures in a row bring it above one half."""
LEAST_SUCCESS = 0.05
"""Bounds the division: an agent looks at most 20 times slower for its failures."""
SHUN_S = 10.0


class RecentQuantile:
    """The `q` quantile of the last `size` values, brought up to date at every eighth addition; 0 before the first."""

    def __init__(self, q: float, size: int) -> None:
        self._q, self._values, self._additions = q, deque[float](maxlen=size), 0
        self.value = 0.0

    def add(self, values: Sequence[float]) -> None:
        self._values.extend(values)
        if self._additions % 8 == 0:
            ordered = sorted(self._values)
            self.value = ordered[int(self._q * len(ordered))]
        self._additions += 1


@dataclass(slots=True)
class Record:
    """What is known of one agent. `failing` is the moving share of its attempts that failed by its fault."""

    running: dict[str, int] = field(default_factory=dict)  # attempts that others preceded, by task id
    answers: list[tuple[int, float]] = field(default_factory=list)  # (in flight before it, seconds), oldest first
    failing: float = 0.0
    shunned_until: float = -math.inf
    _estimates: dict[int, float] = field(default_factory=dict)

    def answered(self, in_flight: int, seconds: float) -> None:
        self.answers.append((in_flight, seconds))
        del self.answers[:-RECENT]
        self._estimates.clear()

    def estimate_s(self, in_flight: int) -> float | None:
        """Median seconds of the NEAREST answers begun at about `in_flight`, newer ones first; None without any."""
        if not self.answers:
            return None
        known = self._estimates.get(in_flight)
        if known is None:
            newest_first = self.answers[::-1]
            by_distance = sorted(newest_first, key=lambda answer: abs(answer[0] - in_flight))
            nearest = sorted([seconds for _, seconds in by_distance[:NEAREST]])
            known = self._estimates[in_flight] = nearest[len(nearest) // 2]
        return known

    def shunned(self, now: float) -> bool:
        return 0.0 < self.shunned_until - now <= SHUN_S  # a clock that stepped back shuns nobody for long


class Prequal(Passive):
    """See the module's text; among equals the choice is random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._records: dict[str, Record] = {}
        self._loads = RecentQuantile(Q_RIF, size=128)
        self._seconds = RecentQuantile(0.5, size=64)

    def choose(self, task: TaskView, offer: Offer, now: float) -> str:
        drawn = [(agent.in_flight / agent.slots, agent) for agent in offer.draw(self._rng, CANDIDATES)]
        self._loads.add([load for load, _ in drawn])
        fit = [(load, agent) for load, agent in drawn if not self._shunned(agent.id, now)] or drawn
        limit, random01 = self._loads.value, self._rng.random
        cold = [(self.latency_s(agent), load, random01(), agent.id) for load, agent in fit if load <= limit]
        chosen = min(cold)[3] if cold else min((load, random01(), agent.id) for load, agent in fit)[2]
        if chosen not in self._records:
            self._records[chosen] = Record()
        return chosen

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        record = self._records.get(agent_id)
        if record is not None:
            record.running[task.id] = len(record.running)

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        record = self._records.get(agent_id)
        if record is None:
            return
        in_flight = record.running.pop(task.id, len(record.running))
        if not outcome.counted or not (outcome.ok or outcome.agents_fault):
            return
        record.failing += FAILURE_WEIGHT * ((not outcome.ok) - record.failing)
        if outcome.ok:
            seconds = max(outcome.seconds, 0.0)
            record.answered(in_flight, seconds)
            self._seconds.add((seconds,))
        elif record.failing > 0.5:
            record.shunned_until = now + SHUN_S

    def joined(self, agent: AgentView, now: float) -> None:
        self._records.setdefault(agent.id, Record())

    def left(self, agent_id: str, now: float) -> None:
        self._records.pop(agent_id, None)

    def latency_s(self, agent: AgentView) -> float:
        """Estimated seconds until the agent, as busy as it is, answers with success."""
        record = self._records.get(agent.id)
        if record is None:
            return self._seconds.value
        estimate = record.estimate_s(agent.in_flight)
        return (self._seconds.value if estimate is None else estimate) / max(LEAST_SUCCESS, 1.0 - record.failing)

    def _shunned(self, agent_id: str, now: float) -> bool:
        record = self._records.get(agent_id)
        return record is not None and record.failing > 0.0 and record.shunned(now)
