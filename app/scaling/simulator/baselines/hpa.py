"""The Horizontal Pod Autoscaler of Kubernetes, `autoscaling/v2`.

Source: kubernetes.io, "Horizontal Pod Autoscaling", sections "Algorithm details", "Default behavior" and
"Stabilization window". Its target is 80 % of the slots busy: what processor use is to a web server. The busy share is
of the pods that are ready, as metrics of pods that have just started are set aside. It never goes below one pod:
scaling to zero is off by default there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.scaling.simulator.lens import Reading, Size
from app.scaling.simulator.world import Bounds

SYNC_S = 15.0
TARGET = 0.8
TOLERANCE = 0.1
DOWN_WINDOW_S = 300.0
UP_PODS, UP_FACTOR = 4, 2.0
"""A period of 15 s adds 4 pods or doubles them, whichever is more: the default scaleUp policies, one sync each."""


def recommended(busy: int, ready: int, starting: int, slots: int, target: float = TARGET) -> int:
    """Pods by ceil(pods · usage ÷ target), unchanged where that ratio is within 0.1 of 1.

    Usage is the mean busy share of the `ready` pods. Where it asks for more, the `starting` ones count as pods that use
    nothing, and where that turns the direction or falls within the tolerance, nothing changes.
    """
    current = ready + starting
    if ready == 0:
        return current
    ratio = busy / (ready * slots) / target
    if abs(ratio - 1.0) <= TOLERANCE:
        return current
    if ratio > 1.0 and starting:
        return _with_idle(ratio * ready, current)
    return _ceil(ratio * ready)


def _with_idle(pods: float, current: int) -> int:
    ratio = pods / current
    return current if ratio <= 1.0 + TOLERANCE else _ceil(pods)


def _ceil(pods: float) -> int:
    """Without pods that come of rounding."""
    return math.ceil(pods - 1e-9)


def most_after(current: int) -> int:
    """The most pods that one sync may leave: 4 more or twice as many, whichever is more."""
    return max(current + UP_PODS, _ceil(current * UP_FACTOR))


@dataclass(slots=True)
class Behaviour:
    """The default `behavior`: up at once within `most_after`, down to the highest recommendation of the last 300 s
    (100 % of the pods may go in one period, so nothing else bounds it)."""

    recent: list[tuple[float, int]]

    def limited(self, recommendation: int, current: int, now: float) -> int:
        """What becomes of it now."""
        self.recent = [(at_s, pods) for at_s, pods in self.recent if at_s > now - DOWN_WINDOW_S]
        self.recent.append((now, recommendation))
        stable = max(pods for _, pods in self.recent)
        if recommendation < current:
            return min(current, stable)
        return min(recommendation, most_after(current))


class Hpa:
    """The HPA of one pool. Without metrics it changes nothing; it does not know that they are old."""

    interval_s = SYNC_S

    def __init__(self, bounds: Bounds, target: float = TARGET) -> None:
        self._bounds, self._target = bounds, target
        self._behaviour = Behaviour([])

    def desired(self, seen: Reading | None, size: Size, now: float) -> int:
        if size.wanted == 0:
            return 1
        if seen is None:
            return size.wanted
        asked = recommended(seen.serving, size.ready, size.starting, self._bounds.slots, self._target)
        bounded = max(1, self._bounds.min, min(self._bounds.max, asked))
        return self._behaviour.limited(bounded, size.wanted, now)
