"""Baselines that spend as much as the policy that is judged.

With their documented targets the policies spend different replica-hours: a cheap one lets tasks wait, a dear one need
not. So each baseline gets the highest target, in steps of 0.01, with which it still spends at least the replica-hours
of the judged policy (medians over the seeds). It has no less money then, and hardly more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from app.scaling.simulator.policies import BASELINES, TARGETS, Contender
from app.scaling.simulator.runs import Run
from app.scaling.simulator.tally import Measures, Tally, measures

STEP = 100
"""Targets are looked for in hundredths."""
LOWEST, HIGHEST = 20, 150
MOST_TRIED = 8

type Standing = Literal["fewer", "tie", "more", "unmatched"]


def rivals(contenders: Sequence[Contender]) -> list[str]:
    """The kinds of baselines that are compared with the first of `contenders`, which may be one itself."""
    kinds = dict.fromkeys(contender.kind for contender in contenders[1:] if contender.kind in BASELINES)
    return [kind for kind in kinds if kind != contenders[0].kind]


@dataclass(slots=True)
class Search:
    """The highest target with which at least `hours` are spent, `start` being the first that is tried; all targets in
    hundredths. `spent`: the hours by target, as far as they are known.

    Hours fall with the target, roughly as its inverse, which says where to look next; the search ends where the next
    hundredth is too much, or after `MOST_TRIED`. Hours that do not fall steadily may hide a still higher target.
    """

    hours: float
    start: int
    spent: dict[int, float] = field(default_factory=dict)
    tried: int = 0

    @property
    def best(self) -> int | None:
        """The highest known target that spends enough."""
        return max((target for target, hours in self.spent.items() if hours >= self.hours), default=None)

    def following(self) -> int | None:
        """What to try next; None at the end."""
        if self.tried >= MOST_TRIED:
            return None
        if not self.spent:
            return self.start
        best = self.best
        if best is None:
            least = min(self.spent)
            guess = min(least - 1, self._by_inverse(least) - self._margin())
            return max(LOWEST, guess) if least > LOWEST else None
        above = min((target for target in self.spent if target > best), default=None)
        if above is None:
            guess = max(best + 1, self._by_inverse(best) + self._margin())
            return min(HIGHEST, guess) if best < HIGHEST else None
        return self._between(best, above) if above - best > 1 else None

    def tell(self, target: int, hours: float) -> None:
        """So much was spent with that target."""
        self.spent[target] = hours
        self.tried += 1

    def _margin(self) -> int:
        """More with every guess that fell short, so that even hours that hardly change lead to the last target."""
        return (1 << self.tried) - 1

    def _by_inverse(self, target: int) -> int:
        return math.floor(target * self.spent[target] / max(self.hours, 1e-9))

    def _between(self, low: int, high: int) -> int:
        """By the line through both over the inverse; the middle every other time, so that a bent one cannot hold it
        up."""
        if self.tried % 2:
            return (low + high) // 2
        share = (self.spent[low] - self.hours) / (self.spent[low] - self.spent[high])
        inverse = 1 / low + share * (1 / high - 1 / low)
        return max(low + 1, min(high - 1, math.floor(1 / inverse)))


@dataclass(frozen=True, slots=True)
class Equal:
    """What the baseline `kind` came to with the `target` found for it, its runs one a seed; None and none where it
    spends less than the judged policy with every target that may be taken."""

    kind: str
    target: float | None
    runs: Sequence[Tally] = ()

    @property
    def label(self) -> str:
        return self.kind if self.target is None else f"{self.kind} at {self.target:.2f}"

    def measures(self, wait_s: float, usd_per_hour: float | None = None) -> Measures | None:
        """Its numbers."""
        return measures(self.label, self.runs, wait_s, usd_per_hour) if self.runs else None


class Pursuit:
    """The search for one baseline's target in one trace: what has to run for it, and what came of it."""

    def __init__(self, trace: str, kind: str, seeds: Sequence[int], hours: float) -> None:
        self._trace, self._kind, self._seeds = trace, kind, seeds
        self._search = Search(hours, round(STEP * TARGETS[kind]))
        self._runs: dict[int, dict[int, Tally]] = {}
        self._target: int | None = None

    @property
    def equal(self) -> Equal | None:
        """None until the search is over."""
        if self._target is not None:
            return None
        best = self._search.best
        return Equal(self._kind, None) if best is None else Equal(self._kind, best / STEP, self._ordered(best))

    def knows(self, contender: Contender, runs: Mapping[int, Tally]) -> None:
        """Runs by seed that were done anyway, if this is its kind and its target is one that may be taken."""
        target = STEP * contender.params.get("target", TARGETS[self._kind])
        if contender.kind == self._kind and LOWEST <= target <= HIGHEST and math.isclose(target, round(target)):
            self._runs[round(target)] = dict(runs)
            self._search.spent[round(target)] = self._hours(round(target))

    def following(self) -> list[Run]:
        """One run a seed; none at the end."""
        self._target = self._search.following()
        if self._target is None:
            return []
        target = self._target / STEP
        contender = Contender(f"{self._kind} at {target:.2f}", self._kind, {"target": target})
        return [Run(self._trace, seed, contender, self._kind) for seed in self._seeds]

    def keep(self, run: Run, tally: Tally) -> list[Run]:
        """What has to run after that, once every seed has run."""
        assert self._target is not None, "nothing was asked for"
        done = self._runs.setdefault(self._target, {})
        done[run.seed] = tally
        if len(done) < len(self._seeds):
            return []
        self._search.tell(self._target, self._hours(self._target))
        return self.following()

    def _ordered(self, target: int) -> list[Tally]:
        return [self._runs[target][seed] for seed in self._seeds]

    def _hours(self, target: int) -> float:
        return median(run.replica_s for run in self._runs[target].values()) / 3600.0


@dataclass(frozen=True, slots=True)
class EqualVerdict:
    """How the judged policy stands in one trace against each kind of baseline that spends as much."""

    trace: str
    standings: Mapping[str, Standing]

    def those(self, standing: Standing) -> list[str]:
        """The baselines against which it stands so."""
        return [kind for kind, found in self.standings.items() if found == standing]

    @property
    def wins(self) -> bool:
        """It has fewer long waits than every one of them: a tie, be it of zeros, is no win."""
        return bool(self.standings) and len(self.those("fewer")) == len(self.standings)


def equal_verdict(trace: str, mine: Measures, others: Sequence[Equal], wait_s: float) -> EqualVerdict:
    """`mine` against the `others`; a wait is long above `wait_s`."""
    return EqualVerdict(trace, {other.kind: _standing(mine, other.measures(wait_s)) for other in others})


def _standing(mine: Measures, other: Measures | None) -> Standing:
    if other is None:
        return "unmatched"
    if mine.violations == other.violations:
        return "tie"
    return "fewer" if mine.violations < other.violations else "more"
