"""A world from recorded attempts.

How long a task would have taken on another agent is not in a record. It is estimated: a task's seconds are its size
times a factor of its (type, agent version) times a factor of its agent, and the factors are found as ratios of medians,
which the long tail does not move:

    kind(t, v)  = median over the attempts of type t on version v of   seconds ÷ median seconds of type t
    agent(i)    = median over the attempts on agent i of               seconds ÷ (median of its type · kind)

Each is drawn toward 1 where there is little to go by: log factor · n ÷ (n + 15) of n attempts (the median of n
log-normal times varies by about 1.25 ÷ √n; agents of one pool differ by about 0.3). A task's size is what is left when
both are divided out, so that the recorded agent would need its recorded time again. A task that never succeeded gets
the median of its type.

An agent that failed far more often than the others gets a fault of its own that lasts throughout; the others' share of
failures, by type and version where these differ, is everybody's. What depends on anything else (the hour, how full an
agent was) is not estimated.

Agents come and go as recorded: one joins LEAD_S before its first attempt began, and leaves when its last one ended if
that is far from the end of the record: longer before the last attempt of all began than AWAY_S, than AWAY_SHARE of the
time between the first task and that attempt, and than the agent was ever idle between two of its own attempts.
Otherwise it stays.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import median

from app.dispatch.simulator.scenarios import WARM_UP
from app.dispatch.simulator.trace import Recorded
from app.dispatch.simulator.world import Arrival, Fault, PoolTerms, SimAgent, World, dice

PRIOR_ATTEMPTS = 15.0
LEAST_S = 0.001
LEAD_S = 0.01
AWAY_S, AWAY_SHARE = 60.0, 0.05
NOTEWORTHY = 0.05
"""Failure shares closer to the usual one than this are taken to be the usual one."""

type Kind = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What replaces the recorded agents: `agents` so many, in turn like the recorded ones and there throughout, each
    with `slots`. None: as recorded; slots are then the most attempts that overlapped on one agent."""

    agents: int | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Factors:
    """Slowness by (type, version) and by agent, 1.0 where nothing is said; the median seconds by type; failure shares
    above the usual by (type, version); agents with a fault of their own."""

    usual_s: Mapping[str, float]
    kinds: Mapping[Kind, float]
    agents: Mapping[str, float]
    base_failure: float
    failing: Mapping[Kind, float]
    faults: Mapping[str, Fault]

    def size_s(self, attempt: Recorded) -> float:
        """The task's seconds on an agent of normal speed that suits it."""
        if not attempt.ok:
            return self.usual_s[attempt.type]
        slower = self.kinds.get((attempt.type, attempt.version), 1.0) * self.agents.get(attempt.agent, 1.0)
        return max(LEAST_S, attempt.seconds) / slower


def factors(attempts: Sequence[Recorded]) -> Factors:
    """The estimates of the module's text; `attempts` not empty."""
    done = [attempt for attempt in attempts if attempt.ok] or list(attempts)
    usual_s = {kind: median(values) for kind, values in _grouped((a.type, max(LEAST_S, a.seconds)) for a in done)}
    usual_s |= {a.type: max(LEAST_S, a.seconds) for a in attempts if a.type not in usual_s}
    ratios = [max(LEAST_S, a.seconds) / usual_s[a.type] for a in done]
    kinds = _shrunk(((a.type, a.version), ratio) for a, ratio in zip(done, ratios, strict=True))
    agents = _shrunk((a.agent, ratio / kinds[a.type, a.version]) for a, ratio in zip(done, ratios, strict=True))
    faults = _faults(attempts, usual_s)
    sound = [a for a in attempts if a.agent not in faults]
    base, failing = _failing(sound)
    return Factors(usual_s, kinds, agents, base, failing, faults)


def world(attempts: Sequence[Recorded], seed: int, fleet: Fleet | None = None, terms: PoolTerms | None = None) -> World:
    """Recorded arrivals and sizes, and agents like the recorded ones. `seed` varies only which attempts fail."""
    known, wanted = factors(attempts), fleet or Fleet()
    begin_s = min(attempt.at_s for attempt in attempts)
    rng = dice("recorded", seed)
    arrivals = tuple(_arrival(attempt, begin_s, known, rng) for attempt in _tasks(attempts))
    duration_s = arrivals[-1].at_s
    return World(
        agents=tuple(_agents(attempts, known, wanted)),
        arrivals=arrivals,
        duration_s=duration_s,
        count_from_s=WARM_UP * duration_s,
        slower=known.kinds,
        failing=known.failing,
        base_failure=known.base_failure,
        terms=terms or PoolTerms(),
    )


def _tasks(attempts: Sequence[Recorded]) -> list[Recorded]:
    """One attempt a task, as old as its first: the one that succeeded, else the last. By age."""
    tasks: dict[object, list[Recorded]] = defaultdict(list)
    for number, attempt in enumerate(attempts):
        tasks[number if attempt.task is None else attempt.task].append(attempt)
    chosen = [(min(a.at_s for a in tries), next((a for a in tries if a.ok), tries[-1])) for tries in tasks.values()]
    chosen.sort(key=lambda pair: pair[0])
    return [replace(attempt, at_s=at_s) for at_s, attempt in chosen]


def _arrival(attempt: Recorded, begin_s: float, known: Factors, rng: random.Random) -> Arrival:
    at_s, size_s = attempt.at_s - begin_s, known.size_s(attempt)
    return Arrival(at_s, attempt.type, size_s, attempt.complexity, rng.random(), attempt.thread_id)


def _agents(attempts: Sequence[Recorded], known: Factors, wanted: Fleet) -> list[SimAgent]:
    versions = {attempt.agent: attempt.version for attempt in attempts}  # the last one it had
    slots = wanted.slots or most_at_once(attempts)
    names = sorted(versions)
    there = {} if wanted.agents else _presence(attempts)
    found = []
    for number in range(wanted.agents or len(names)):
        name = names[number % len(names)]
        turn = number // len(names)
        joins_s, leaves_s = there.get(name, (0.0, math.inf))
        found.append(
            SimAgent(
                id=f"{name or 'agent'}-{turn + 1}" if turn or not name else name,
                slots=slots,
                version=versions[name],
                slower=known.agents.get(name, 1.0),
                joins_s=joins_s,
                leaves_s=leaves_s,
                fault=known.faults.get(name),
            )
        )
    return found


def _presence(attempts: Sequence[Recorded]) -> dict[str, tuple[float, float]]:
    """By agent, from when until when it was there, by the module's text, in seconds since the first task was queued."""
    first_s = min(attempt.at_s for attempt in attempts)
    last_s = max(attempt.begin_s for attempt in attempts)
    far_s = max(AWAY_S, AWAY_SHARE * (last_s - first_s))
    found = {}
    for agent, times in _grouped((a.agent, (a.begin_s, a.end_s)) for a in attempts):
        times.sort()
        idle_s, ended_s = 0.0, times[0][1]
        for begin_s, end_s in times:
            idle_s, ended_s = max(idle_s, begin_s - ended_s), max(ended_s, end_s)
        left = last_s - ended_s > max(far_s, idle_s)
        found[agent] = (max(0.0, times[0][0] - LEAD_S - first_s), ended_s - first_s if left else math.inf)
    return found


def most_at_once(attempts: Iterable[Recorded]) -> int:
    """The most attempts that overlapped on one agent by LEAST_S (less is rounding), at least 1."""
    spans = _grouped((a.agent, (a.begin_s, a.end_s - LEAST_S)) for a in attempts)
    return max(1, *(most_overlapping(mine) for _, mine in spans))


def most_overlapping(spans: Iterable[tuple[float, float]]) -> int:
    """The most spans (begin, end) that contain one moment; of two of which one ends as the other begins, one does."""
    changes = [change for begin_s, end_s in spans for change in ((begin_s, 1), (max(begin_s, end_s), -1))]
    return max(accumulate(change for _, change in sorted(changes)), default=0)


def _shrunk[K](pairs: Iterable[tuple[K, float]]) -> dict[K, float]:
    """The median by key, drawn toward 1 where there are few."""
    return {
        key: math.exp(math.log(median(values)) * len(values) / (len(values) + PRIOR_ATTEMPTS))
        for key, values in _grouped(pairs)
    }


def _faults(attempts: Sequence[Recorded], usual_s: Mapping[str, float]) -> dict[str, Fault]:
    """Agents whose failure share, drawn toward the pool's, stands far above it, and how soon they fail."""
    usual = sum(not a.ok for a in attempts) / len(attempts)
    found = {}
    for agent, mine in _grouped((a.agent, a) for a in attempts):
        failed = [a for a in mine if not a.ok]
        share = (len(failed) + PRIOR_ATTEMPTS * usual) / (len(mine) + PRIOR_ATTEMPTS)
        if agent and share > 3.0 * usual + NOTEWORTHY:
            after = min(1.0, median(a.seconds / usual_s[a.type] for a in failed))
            found[agent] = Fault(0.0, share=len(failed) / len(mine), after=after)
    return found


def _failing(attempts: Sequence[Recorded]) -> tuple[float, dict[Kind, float]]:
    """(the usual share of failures, what is above it by type and version)."""
    if not attempts:
        return 0.0, {}
    usual = sum(not a.ok for a in attempts) / len(attempts)
    shares = {
        kind: (sum(failed) + PRIOR_ATTEMPTS * usual) / (len(failed) + PRIOR_ATTEMPTS)
        for kind, failed in _grouped(((a.type, a.version), not a.ok) for a in attempts)
    }
    least = min(shares.values())
    failing = {kind: share - least for kind, share in shares.items() if share - least > NOTEWORTHY}
    return (least if failing else usual), failing


def _grouped[K, V](pairs: Iterable[tuple[K, V]]) -> Iterable[tuple[K, list[V]]]:
    groups: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups.items()
