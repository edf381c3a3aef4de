"""What is counted while a simulation runs, and the measures that come out of it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from app.core.quantiles import quantile


@dataclass(slots=True)
class Tally:
    """Counts of one run. `latencies_s`: of tasks that succeeded, from arrival to result. `waits_s`: seconds in which a
    task could have run and was queued, for every counted task. `attempts` and `failures` are of counted tasks.
    `busy` is each agent's share of slot-seconds in use while it was there, `backlog` the tasks queued when the last one
    arrived."""

    arrived: int = 0
    counted: int = 0
    succeeded: int = 0
    failed: int = 0
    unfinished: int = 0
    counted_successes: int = 0
    attempts: int = 0
    failures: int = 0
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    waits_s: array[float] = field(default_factory=lambda: array("d"))
    busy: list[float] = field(default_factory=list)
    choices: int = 0
    deferrals: int = 0
    choice_s: float = 0.0
    errors: int = 0
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class Measures:
    """One strategy's numbers: the means over its runs, one a seed.

    Latencies (p50_s, p90_s, p99_s) are of succeeded tasks, waiting included. `goodput` is succeeded ÷ arrived tasks,
    `wasted` failed ÷ all attempts, `wait_s` the mean time queued, `unevenness` the busiest agent's busy share ÷ the
    mean one's, `choice_us` the mean time of a choice in microseconds of this machine. `kept` is the share of choices
    that left the task queued, `errors` counts calls in which the strategy broke its contract, `tasks` those counted.
    `backlog` is the share of all tasks that were queued when the last one arrived: more than a few in a hundred, and
    the pool could not keep up, so that latencies say how long was simulated. `curve_s` are 1,000 latency quantiles.
    """

    strategy: str
    tasks: int
    p50_s: float
    p90_s: float
    p99_s: float
    goodput: float
    wasted: float
    wait_s: float
    unevenness: float
    choice_us: float
    kept: float
    errors: int
    backlog: float
    curve_s: tuple[float, ...] = field(repr=False)


def measures(strategy: str, runs: Sequence[Tally]) -> Measures:
    """The means over `runs`, at least one."""
    ordered = [sorted(run.latencies_s) for run in runs]
    pooled = sorted(value for latencies in ordered for value in latencies)
    return Measures(
        strategy=strategy,
        tasks=sum(run.counted for run in runs),
        p50_s=fmean(quantile(latencies, 0.50) for latencies in ordered),
        p90_s=fmean(quantile(latencies, 0.90) for latencies in ordered),
        p99_s=fmean(quantile(latencies, 0.99) for latencies in ordered),
        goodput=fmean(_share(run.counted_successes, run.counted) for run in runs),
        wasted=fmean(_share(run.failures, run.attempts) for run in runs),
        wait_s=fmean(_mean(run.waits_s) for run in runs),
        unevenness=fmean(_unevenness(run.busy) for run in runs),
        choice_us=1e6 * _share(sum(run.choice_s for run in runs), sum(run.choices for run in runs)),
        kept=_share(sum(run.deferrals for run in runs), sum(run.choices for run in runs)),
        errors=sum(run.errors for run in runs),
        backlog=fmean(_share(run.backlog, run.arrived) for run in runs),
        curve_s=tuple(quantile(pooled, step / 999) for step in range(1000)) if pooled else (),
    )


NEAR_BEST_GOODPUT = 0.002


def recommended(found: Sequence[Measures]) -> Measures | None:
    """The lowest p99 among those that lose at most 0.2 % of the tasks that the best in goodput does not; None of none
    that finished a task."""
    finished = [measure for measure in found if measure.curve_s]
    if not finished:
        return None
    best = max(measure.goodput for measure in finished)
    near = [measure for measure in finished if measure.goodput >= best - NEAR_BEST_GOODPUT]
    return min(near, key=lambda measure: measure.p99_s)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _unevenness(busy: Sequence[float]) -> float:
    mean = _mean(busy)
    return max(busy) / mean if mean else 1.0
