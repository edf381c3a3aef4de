"""What an autoscaler gets to see of the pool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from app.scaling.demand import Counts
from app.scaling.simulator.replicas import Fleet
from app.scaling.simulator.world import Gap, World, dice

NOISE_S = 15.0
"""So long a measured number keeps its error: that of one scrape."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Measured at `at_s`: the `counts` of tasks, those of the running ones that are on replicas which do not leave
    (`serving`), and the seconds of the attempts that ended since the reading before."""

    at_s: float
    counts: Counts
    serving: int
    ended_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Size:
    """What whoever launches replicas knows without any metric: how many are `wanted`, `ready` and on their way."""

    wanted: int
    ready: int

    @property
    def starting(self) -> int:
        return self.wanted - self.ready


class Autoscaler(Protocol):
    """One policy for one run. The engine asks every `interval_s`; None for `seen` is: there are no metrics."""

    interval_s: float

    def desired(self, seen: Reading | None, size: Size, now: float) -> int:
        """Replicas from now on, within the pool's bounds."""


class Lens:
    """Readings of one run, with the world's noise and gaps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: Reading | None = None
        self._ended_s: list[float] = []

    def ended(self, service_s: float) -> None:
        """An attempt ended."""
        self._ended_s.append(service_s)

    def keep(self, fleet: Fleet) -> None:
        """A gap begins: this is the last true reading."""
        self._before = self._true(fleet)

    def look(self, fleet: Fleet) -> Reading | None:
        """The pool at the fleet's present as its metrics tell it. What ended during a gap is told after it."""
        gap = self._gap(fleet.at_s)
        if gap is not None:
            return self._before if gap.kind == "stale" else None
        ended_s, self._ended_s = tuple(self._ended_s), []
        return self._noisy(replace(self._true(fleet), ended_s=ended_s))

    def _gap(self, now: float) -> Gap | None:
        return next((gap for gap in self._world.gaps if gap.start_s <= now < gap.end_s), None)

    def _true(self, fleet: Fleet) -> Reading:
        oldest_s = fleet.at_s - fleet.queue[0].at_s if fleet.queue else 0.0
        counts = Counts(queued=len(fleet.queue), oldest_s=oldest_s, running=fleet.running)
        return Reading(fleet.at_s, counts, fleet.serving)

    def _noisy(self, true: Reading) -> Reading:
        if not self._world.noise:
            return true
        rng = dice("noise", self._world.seed, true.at_s // NOISE_S)
        error = max(0.0, rng.gauss(1.0, self._world.noise))
        counts = replace(
            true.counts, queued=round(true.counts.queued * error), running=round(true.counts.running * error)
        )
        return replace(true, counts=counts, serving=round(true.serving * error))
