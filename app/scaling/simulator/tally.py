"""What is counted while a simulation runs, and the measures that come out of it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from app.core.quantiles import quantile


@dataclass(slots=True)
class Tally:
    """Counts of one run. `waits_s`: from arrival to the start of work, of counted tasks. `replica_s` and `changes`
    (decisions that altered the number of replicas) are of the `counted_s` seconds. `times_s`, `replicas` (all that
    cost) and `queued` are the state at regular moments."""

    arrived: int = 0
    finished: int = 0
    changes: int = 0
    replica_s: float = 0.0
    uncounted_s: float = 0.0
    counted_s: float = 0.0
    waits_s: array[float] = field(default_factory=lambda: array("d"))
    times_s: array[float] = field(default_factory=lambda: array("d"))
    replicas: array[int] = field(default_factory=lambda: array("l"))
    queued: array[int] = field(default_factory=lambda: array("l"))


@dataclass(frozen=True, slots=True)
class Measures:
    """One policy's numbers in one trace: medians over its runs, one a seed.

    `violations` of `tasks` waited longer than the limit, `share` of 1; `p50_s`, `p95_s`, `max_s` of the waits;
    `replica_hours`; `changes_per_hour`; `usd` where a replica has a price; `lost` tasks that never finished, over all
    runs.
    """

    policy: str
    tasks: int
    violations: float
    share: float
    p50_s: float
    p95_s: float
    max_s: float
    replica_hours: float
    changes_per_hour: float
    usd: float | None
    lost: int


def measures(policy: str, runs: Sequence[Tally], wait_s: float, usd_per_hour: float | None = None) -> Measures:
    """The medians over `runs`, at least one; a wait violates above `wait_s`."""
    ordered = [sorted(run.waits_s) for run in runs]
    late = [len(waits) - bisect_right(waits, wait_s) for waits in ordered]
    hours = median(run.replica_s for run in runs) / 3600.0
    return Measures(
        policy=policy,
        tasks=round(median(map(len, ordered))),
        violations=median(late),
        share=median(count / max(1, len(waits)) for count, waits in zip(late, ordered, strict=True)),
        p50_s=median(quantile(waits, 0.5) for waits in ordered),
        p95_s=median(quantile(waits, 0.95) for waits in ordered),
        max_s=median(quantile(waits, 1.0) for waits in ordered),
        replica_hours=hours,
        changes_per_hour=median(3600.0 * run.changes / max(1.0, run.counted_s) for run in runs),
        usd=None if usd_per_hour is None else usd_per_hour * hours,
        lost=sum(run.arrived - run.finished for run in runs),
    )
