"""The figures of a series of timings."""

from collections.abc import Sequence
from math import ceil
from statistics import fmean, stdev
from typing import Any


def summarize(times: Sequence[float], number: int) -> dict[str, Any]:
    """Percentiles, mean, deviation and range of `times` (seconds, each of `number` calls), also per call."""
    per_call = _figures([time / number for time in times])
    return {"runs": len(times), "number": number, **_figures(times), "per_call": per_call}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` of all values don't exceed."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _figures(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50_s": percentile(ordered, 0.5),
        "p90_s": percentile(ordered, 0.9),
        "p99_s": percentile(ordered, 0.99),
        "mean_s": fmean(ordered),
        "stdev_s": stdev(ordered) if len(ordered) > 1 else 0.0,
        "min_s": ordered[0],
        "max_s": ordered[-1],
    }
