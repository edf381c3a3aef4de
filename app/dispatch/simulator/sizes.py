"""How long tasks take: log-normal, with a long tail that is cut."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

SPREAD = 0.99
"""Standard deviation of the logarithm: the 99th percentile is ten times the median."""
LONGEST = 20.0
"""No task is longer than so many times its type's mean."""
HINT = 0.6
"""How well a task's complexity foretells its size: their correlation."""

_NORMAL = NormalDist()


def drawn(mean_s: float, rng: random.Random) -> tuple[float, float]:
    """(seconds of one task, its complexity 0..1); `mean_s` is the mean before the tail is cut."""
    deviation = rng.gauss(0.0, 1.0)
    hinted = HINT * deviation + math.sqrt(1.0 - HINT * HINT) * rng.gauss(0.0, 1.0)
    size_s = math.exp(_location(mean_s) + SPREAD * deviation)
    return min(size_s, LONGEST * mean_s), 0.5 * math.erfc(-hinted / math.sqrt(2.0))


def true_mean_s(mean_s: float) -> float:
    """The mean with the tail cut: E[min(X, c)] = E[X; X < c] + c · P(X ≥ c)."""
    cut_s = LONGEST * mean_s
    deviation = (math.log(cut_s) - _location(mean_s)) / SPREAD
    return mean_s * _NORMAL.cdf(deviation - SPREAD) + cut_s * (1.0 - _NORMAL.cdf(deviation))


def _location(mean_s: float) -> float:
    return math.log(mean_s) - SPREAD * SPREAD / 2.0
