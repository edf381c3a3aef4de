"""All that is known of a pool: its agents' records, the cost matrix and the ejections; shared, merged and shown."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from typing import Any

from app.dispatch.balancers.ai import exchange
from app.dispatch.balancers.ai.breaker import HALF_OPEN, JITTER, LONGEST_OPEN_S
from app.dispatch.balancers.ai.costs import NOTHING, Costs
from app.dispatch.balancers.ai.ejection import Ejections
from app.dispatch.balancers.ai.record import WARM_UP_S, Record, faded
from app.dispatch.balancers.base import AgentView, Outcome

MEMORY_S = 120.0
MEMORY_TASKS = 24.0
"""Time constant of what is known of an agent: MEMORY_S, or MEMORY_TASKS usual tasks where those take longer."""

STALE_S = 5.0
"""An agent without results is judged anew after so long, as its sums decay."""

LONGEST_S = 1e7
"""No attempt takes longer; a duration beyond, or below zero, is not one and teaches no time."""

SEQ_BITS = 48
"""Sequence numbers begin with so many random bits, and stay exact in JSON."""

LEAST_WEIGHT, MOST_WEIGHT = 1.0, 10.0


class Knowledge:
    """What this manager learned of one pool, and what the others told it."""

    def __init__(self, rng: random.Random) -> None:
        self.costs = Costs()
        self.records: dict[str, Record] = {}
        self.ejections = Ejections(rng)
        self._weights = 0.0  # the sum over all records
        self._merged: list[Record] = []  # those with sums of other managers
        self._told: tuple[object, ...] | None = None  # what the last merge depended on
        self._joins = 0
        self._seq = rng.getrandbits(SEQ_BITS)

    def join(self, agent: AgentView, now: float) -> Record:
        """The agent came, or its facts changed. Another version is another agent: nothing of the former one counts."""
        record = self.records.get(agent.id)
        if record is None or record.version != agent.version:
            self.leave(agent.id, now)
            record = Record(agent.id, agent.version, self.costs.enter(agent.version, agent.skills), now)
            self._warm_up(record, now)
            self.records[agent.id] = record
            self._joins += 1
        else:
            self._weights -= record.weight
            self.costs.facts(record.cls, agent.skills)
        record.weight = min(MOST_WEIGHT, max(LEAST_WEIGHT, agent.weight))
        self._weights += record.weight
        return record

    def _warm_up(self, record: Record, now: float) -> None:
        """A newcomer starts slowly where there is something warm to compare with. The first agents of a pool, which
        join within WARM_UP_S of the first of them, are all equally new, or were there before this balancer."""
        longest_here = next(iter(self.records.values()), None)
        if longest_here is not None and now > longest_here.compares_from:
            record.warm_since = record.compares_from = now
        else:
            record.compares_from = now + WARM_UP_S

    def leave(self, agent_id: str, now: float) -> Record | None:
        record = self.records.pop(agent_id, None)
        if record is None:
            return None
        self._weights -= record.weight
        self.costs.leave(record.cls)
        self.ejections.close(agent_id, now)
        self.ejections.shrink(len(self.records), now)
        return record

    def learn(self, record: Record, task_id: str, task_type: str, outcome: Outcome, now: float) -> None:
        """An attempt ended."""
        breaker = record.breaker
        trial = breaker.is_open and breaker.ended(task_id)
        if not outcome.counted or not (outcome.ok or outcome.agents_fault):
            return
        self._seq += 1
        row = self.costs.row_of_result(task_type, now)
        usual = row.cells[record.cls]
        usual_s, usual_rate = usual.seconds, usual.failing
        seconds = outcome.seconds if 0.0 <= outcome.seconds <= LONGEST_S else usual_s
        self.refresh(record, now, outcome.ok, seconds / max(usual_s * record.warmth_then(now), 1e-9), usual_rate)
        self.costs.count(row, record.cls, outcome.ok, seconds)
        if trial or breaker.tried(now - seconds, now):
            self._verdict(record, outcome.ok, now)
        elif breaker.count(outcome.ok, usual_rate) and not breaker.is_open:
            self.ejections.open(record.id, breaker, len(self.records), now)

    def refresh(
        self, record: Record, now: float, ok: bool | None = None, ratio: float = 0.0, usual_rate: float = 0.0
    ) -> None:
        """Bring the record to `now`, with a result if one is given."""
        record.decay(now, self._memory_s())
        if ok is not None:
            record.count(ok, ratio, usual_rate)
        record.judge(self._usual_weight())

    def _usual_weight(self) -> float:
        return self._weights / max(len(self.records), 1)

    def _memory_s(self) -> float:
        return max(MEMORY_S, MEMORY_TASKS * self.costs.usual_s)

    def _verdict(self, record: Record, ok: bool, now: float) -> None:
        """The trial of an ejected agent ended."""
        if ok:
            self.ejections.close(record.id, now)
            record.readmit(now)
        else:
            self.ejections.open(record.id, record.breaker, len(self.records), now)

    def summary(self, now: float) -> dict[str, Any]:
        """What this manager observed; see `exchange` for the shape."""
        telling = heapq.nlargest(exchange.MAX_AGENTS, self.records.values(), key=_telling)
        types: dict[str, dict[str, list[float]]] = {}
        for task_type, cls, cell in self.costs.cells():
            if cell.attempts:
                types.setdefault(task_type, {})[cls] = _rounded(cell.own)
        return {
            "v": exchange.FORMAT,
            "seq": self._seq,
            "agents": {record.id: self._own(record, now) for record in telling if record.seen},
            "types": types,
        }

    def _own(self, record: Record, now: float) -> list[float]:
        left, kept = faded(max(0.0, now - record.at), self._memory_s())
        sums = (record.spent * left, record.answers * left, record.excess * kept, record.attempts * kept)
        return _rounded((*sums, record.breaker.trips, record.breaker.remaining_s(now)))

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        """Replace what the other managers told before by what they tell now. Where they tell the same, and nothing
        came here that it could be about, there is nothing to do."""
        seqs = exchange.seqs(summaries)
        if seqs is not None and (seqs, self._joins, self.costs.added) == self._told:
            return
        told: dict[str, list[float]] = {}
        cells: dict[tuple[str, str], tuple[float, float, float, float]] = {}
        for summary in summaries:
            for agent_id, read in exchange.agents(summary):
                if agent_id in self.records:
                    so_far = told.setdefault(agent_id, [0.0] * 6)
                    open_s = max(so_far[5], read[5])
                    told[agent_id] = [a + b for a, b in zip(so_far, read)]  # noqa: B905
                    told[agent_id][5] = open_s
            for task_type, cls, (spent, answers, failures, attempts) in exchange.cells(summary):
                a, b, c, d = cells.get((task_type, cls), NOTHING)
                cells[task_type, cls] = (a + spent, b + answers, c + failures, d + attempts)
        self.costs.merge(cells)
        self._merge_agents(told, now)
        self._told = (seqs, self._joins, self.costs.added)

    def _merge_agents(self, told: Mapping[str, Sequence[float]], now: float) -> None:
        before, self._merged = self._merged, []
        for record in before:
            record.peer = NOTHING
        for agent_id, (spent, answers, excess, attempts, trips, open_s) in told.items():
            record = self.records[agent_id]
            self.refresh(record, now)
            record.peer = (spent, answers, excess, attempts)
            self._merged.append(record)
            if open_s > 0.0 and trips > record.peer_trips:
                longest = LONGEST_OPEN_S * (1.0 + JITTER)
                self.ejections.adopt(agent_id, record.breaker, min(open_s, longest), len(self.records), now)
            record.peer_trips = int(trips)
        for record in {id(one): one for one in (*before, *self._merged)}.values():
            record.judge(self._usual_weight())

    def learned(self, now: float) -> dict[str, Any]:
        types: dict[str, dict[str, dict[str, float]]] = {}
        for task_type, cls, cell in self.costs.cells():
            types.setdefault(task_type, {})[cls] = {
                "seconds": cell.seconds,
                "failure_rate": cell.failing,
                "samples": cell.attempts + cell.peer[3],
            }
        return {"agents": {record.id: self._shown(record, now) for record in self.records.values()}, "types": types}

    def _shown(self, record: Record, now: float) -> dict[str, Any]:
        slow, excess = record.judged(self._usual_weight(), *faded(max(0.0, now - record.at), self._memory_s()))
        return {
            "version": record.version,
            "slowness": slow,
            "failure_rate": excess,
            "breaker": record.breaker.state(now),
            "opens_s": record.breaker.remaining_s(now),
            "warm_up": record.warmth(now),
            "attempts": record.seen,
        }

    def ejected(self, now: float) -> Mapping[str, tuple[float, str]]:
        return {
            agent_id: (
                breaker.remaining_s(now),
                "one attempt at a time until one succeeds"
                if breaker.state(now) == HALF_OPEN
                else "fails far more often than its class",
            )
            for agent_id, breaker in self.ejections
        }


def _telling(record: Record) -> float:
    """How much the others should want to know of it: how far it is from a usual agent, and on how much evidence."""
    return record.breaker.is_open * 1e9 + abs(record.excess) + abs(record.spent - record.answers) + 1e-3 * record.seen


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]
