"""What a signal says about its series at one time: a number each, or why there is none.

    Sample       a number, with the events it was made of where it is a share or a quantile of events
    Unanswered   no_data   the series is there and there was nothing to measure
                 error     the signal could not be read
                 vanished  what the series is about is no longer there

The three are different answers and none of them means that all is well. A known series that nothing is said about has
vanished. An `Unanswered` speaks for every known series that has its labels, if nothing is said about that one itself:
with no labels at all, for the whole signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.alerts.records import Labels

type Missing = Literal["no_data", "error", "vanished"]
type Reading = Sample | Unanswered


@dataclass(frozen=True, slots=True)
class Sample:
    """A number. `total` is of how many events, where it is made of events; `at` when it was measured.

    A share also has `good`, how many of them were good. It is `worst` when none was and `best` when all were, and a
    straight line between: a success rate goes from 0 to 1, an error rate from 1 to 0.
    """

    labels: Labels
    value: float
    total: int | None = None
    good: int | None = None
    worst: float = 0.0
    best: float = 1.0
    at: datetime | None = None

    def __post_init__(self) -> None:
        if self.good is not None and (self.total is None or not 0 <= self.good <= self.total or self.total == 0):
            raise ValueError(f"{self.good} of {self.total} events is no share")

    def value_of(self, share: float) -> float:
        """What its value would be if this share (0..1) of events were good."""
        return self.worst + (self.best - self.worst) * share


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No number, and why. `detail` is for people: the error's text, or what was looked for."""

    labels: Labels
    why: Missing
    detail: str = ""


def success_rate(labels: Labels, good: int, total: int, at: datetime | None = None) -> Reading:
    """The share of good events, 0..1; of no events there is no share."""
    return _share(labels, good, total, 0.0, 1.0, at)


def error_rate(labels: Labels, good: int, total: int, at: datetime | None = None) -> Reading:
    """The share of events that were not good, 0..1; of no events there is no share."""
    return _share(labels, good, total, 1.0, 0.0, at)


def burn_rate(labels: Labels, good: int, total: int, target: float, at: datetime | None = None) -> Reading:
    """How many times faster than allowed an objective's error budget is used up: share of bad ÷ (1 − target)."""
    if not 0 <= target < 1:
        raise ValueError(f"a target of {target} leaves no error budget")
    return _share(labels, good, total, 1 / (1 - target), 0.0, at)


def _share(labels: Labels, good: int, total: int, worst: float, best: float, at: datetime | None) -> Reading:
    if total == 0:
        return Unanswered(labels, "no_data", "no events")
    return Sample(labels, worst + (best - worst) * (good / total), total, good, worst, best, at)
