"""From counts to demand: what was measured pass by pass, turned into rates and times. Pure.

Arrivals come from conservation of flow: what came to the queue in a while is what was finished in it, and what more is
running and queued at its end than at its beginning. So work that comes again (a retry, a task that resumes) counts each
time it needs a slot, and what was cancelled in the queue does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.scaling.arrival_rate import LONGEST_S, arrival_rate, came_lately, usual_rate
from app.scaling.decision import Demand

SERVICE_MEMORY_S = 900.0
"""What was finished so long ago weighs 1/e of what is finished now. Without new attempts nothing is forgotten."""
LEAST_WEIGHT = 1.0
"""A measure keeps the weight of one attempt at least, however old."""
RATIO = 1.25
"""Bounds of the histogram's bins: powers of it, so a quantile is exact to 12 %."""
LEAST_S = 0.001
P90 = 0.9


@dataclass(frozen=True, slots=True)
class Counts:
    """A pool at a moment: tasks that may be claimed, the age of the oldest of these (s), how many of them were
    suspended before, and tasks that hold a slot."""

    queued: int = 0
    oldest_s: float = 0.0
    resuming: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """Attempts that gave their slot back since the pass before, by bin of `bin_of(seconds)`: (count, Σs, Σs²)."""

    bins: Mapping[int, tuple[int, float, float]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(n for n, _, _ in self.bins.values())


@dataclass(frozen=True, slots=True)
class Service:
    """Times of attempts, the older ones fading: weight, Σs and Σs² of all, and weights by bin."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    bins: Mapping[int, float] = field(default_factory=dict)

    @property
    def mean_s(self) -> float | None:
        return self.total / self.weight if self.weight > 0 else None

    @property
    def cv(self) -> float:
        """Standard deviation over mean; 1 (as of exponential times) while fewer than two attempts tell."""
        mean = self.mean_s
        if self.weight < 2 or not mean:
            return 1.0
        return math.sqrt(max(0.0, self.squares / self.weight - mean * mean)) / mean

    def quantile_s(self, share: float) -> float | None:
        """Upper bound of the bin that holds the quantile."""
        wanted, seen = share * sum(self.bins.values()), 0.0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen >= wanted:
                return float(RATIO ** (index + 1))
        return None

    def after(self, ended: Ended, passed_s: float) -> Service:
        """With what ended now. Fades only when something ended: a pool at rest forgets nothing."""
        if not ended.count:
            return self
        fade = math.exp(-passed_s / SERVICE_MEMORY_S)
        if self.weight > 0:
            fade = max(fade, min(1.0, LEAST_WEIGHT / self.weight))
        bins = {index: weight * fade for index, weight in self.bins.items() if weight * fade > 1e-3}
        for index, (count, _, _) in ended.bins.items():
            bins[index] = bins.get(index, 0.0) + count
        return Service(
            self.weight * fade + ended.count,
            self.total * fade + sum(total for _, total, _ in ended.bins.values()),
            self.squares * fade + sum(squares for _, _, squares in ended.bins.values()),
            bins,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """Arrivals in the `seconds` before `at` (seconds since the epoch)."""

    at: float
    seconds: float
    arrivals: float


@dataclass(frozen=True, slots=True)
class Measured:
    """All that is known of a pool's load after a pass; `at` None: nothing yet."""

    at: float | None = None
    counts: Counts = field(default_factory=Counts)
    samples: tuple[Sample, ...] = ()
    service: Service = field(default_factory=Service)

    def after(self, now: float, counts: Counts, ended: Ended) -> Measured:
        """One pass later."""
        if self.at is None or now <= self.at:
            return replace(self, at=now, counts=counts, service=self.service.after(ended, 0.0))
        before = self.counts
        came = ended.count + (counts.running - before.running) + (counts.queued - before.queued)
        sample = Sample(now, now - self.at, float(came))
        kept = (*(old for old in self.samples if now - old.at < LONGEST_S), sample)
        return Measured(now, counts, kept, self.service.after(ended, now - self.at))

    def arrivals_per_s(self) -> float:
        """λ; 0 before two passes."""
        return arrival_rate(self._newest())

    def usual_per_s(self) -> float:
        """λ of the last minutes, surges averaged out."""
        return usual_rate(self._newest())

    def came_lately(self) -> float:
        """All that came in the last minute."""
        return came_lately(self._newest())

    def demand(self, *, slots: int, desired: int, ready: int, cold_start_s: float | None) -> Demand:
        """What a decision rests on; `at` 0 before the first pass."""
        counts, service = self.counts, self.service
        return Demand(
            at=self.at or 0.0,
            slots=slots,
            desired=desired,
            ready=ready,
            arrivals_per_s=self.arrivals_per_s(),
            usual_per_s=self.usual_per_s(),
            came_lately=self.came_lately(),
            service_s=service.mean_s,
            service_cv=service.cv,
            service_p90_s=service.quantile_s(P90),
            queued=counts.queued,
            oldest_s=counts.oldest_s,
            running=counts.running,
            resuming=counts.resuming,
            cold_start_s=cold_start_s,
        )

    def _newest(self) -> list[tuple[float, float]]:
        return [(sample.arrivals, sample.seconds) for sample in reversed(self.samples)]


def bin_of(seconds: float) -> int:
    """The histogram's bin: RATIO**bin ≤ seconds < RATIO**(bin + 1); times below a millisecond count as one."""
    return math.floor(math.log(max(seconds, LEAST_S)) / math.log(RATIO) + 1e-9)


def ended_of(times_s: Sequence[float]) -> Ended:
    """Attempts' seconds, binned."""
    bins: dict[int, tuple[int, float, float]] = {}
    for seconds in times_s:
        count, total, squares = bins.get(bin_of(seconds), (0, 0.0, 0.0))
        bins[bin_of(seconds)] = (count + 1, total + seconds, squares + seconds * seconds)
    return Ended(bins)
