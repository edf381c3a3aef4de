"""When did the log suddenly say much more than it usually does?"""

from dataclasses import dataclass
from statistics import median

MAX_BURSTS = 10
BUCKETS = 200
STEPS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 86400)
LEAST_LINES = 10
TIMES_NORMAL = 3.0


@dataclass(frozen=True, slots=True)
class Burst:
    """[start, end) in epoch seconds, its lines, and how many times the normal rate that is."""

    start: float
    end: float
    lines: int
    times_normal: float


def find_bursts(moments: list[float]) -> list[Burst]:
    """The busiest bursts, in order of time.

    The span is cut into at most about 200 buckets of a round width. Normal is the median of those buckets
    that have lines (a log that is silent at night isn't bursting by day); a burst is a run of buckets of at
    least 3 times that and 10 lines each.
    """
    if len(moments) < 2:
        return []
    width = _width(max(moments) - min(moments))
    counts: dict[int, int] = {}
    for moment in moments:
        bucket = int(moment // width)
        counts[bucket] = counts.get(bucket, 0) + 1
    if len(counts) < 3:
        return []
    normal = float(median(counts.values()))
    loud = sorted(b for b, n in counts.items() if n >= max(LEAST_LINES, TIMES_NORMAL * normal))
    bursts = [_burst(run, counts, width, normal) for run in _runs(loud)]
    busiest = sorted(bursts, key=lambda burst: -burst.lines)[:MAX_BURSTS]
    return sorted(busiest, key=lambda burst: burst.start)


def _width(span_s: float) -> int:
    return next((step for step in STEPS_S if span_s / step <= BUCKETS), STEPS_S[-1])


def _runs(buckets: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for bucket in buckets:
        if runs and runs[-1][-1] == bucket - 1:
            runs[-1].append(bucket)
        else:
            runs.append([bucket])
    return runs


def _burst(run: list[int], counts: dict[int, int], width: int, normal: float) -> Burst:
    lines = sum(counts[bucket] for bucket in run)
    return Burst(run[0] * width, (run[-1] + 1) * width, lines, round(lines / len(run) / normal, 1))
