"""The Knative Pod Autoscaler.

Source: knative.dev, "Additional autoscaling configuration for Knative Pod Autoscaler", "Configuring concurrency" and
"Configuring scale bounds" (`config-autoscaler`). Concurrency is what Knative's proxies count, requests that run or
wait: here tasks. Its hard limit is the slots of a replica, so the target is 70 % of these
(`container-concurrency-target-percentage`).
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean

from app.scaling.simulator.lens import Reading, Size
from app.scaling.simulator.world import Bounds

TICK_S = 2.0
STABLE_S, PANIC_S = 60.0, 6.0
PANIC_THRESHOLD = 2.0
TARGET = 0.7
MAX_UP_RATE, MAX_DOWN_RATE = 1000.0, 2.0
ZERO_GRACE_S = 30.0


def recommended(concurrency: float, slots: int, ready: int, target: float = TARGET) -> int:
    """Pods by ceil(concurrency ÷ (target · slots)), at most 1000 times the ready ones and at least half of them."""
    pods = max(1, ready)
    asked = math.ceil(concurrency / (target * slots) - 1e-9)
    return max(math.floor(ready / MAX_DOWN_RATE), min(math.ceil(pods * MAX_UP_RATE), asked))


def panics(concurrency: float, slots: int, ready: int, target: float = TARGET) -> bool:
    """Whether the panic window asks for twice the ready pods or more."""
    return math.ceil(concurrency / (target * slots) - 1e-9) / max(1, ready) >= PANIC_THRESHOLD


class Kpa:
    """The KPA of one pool: the mean over 60 s, and in a panic (until 60 s after its last cause) the higher of that and
    the mean over 6 s, and never fewer than the panic asked for. Without metrics it changes nothing."""

    interval_s = TICK_S

    def __init__(self, bounds: Bounds, target: float = TARGET) -> None:
        self._bounds, self._target = bounds, target
        self._window: deque[tuple[float, float]] = deque()
        self._panicked_s: float | None = None
        self._most = 0
        self._zero_since: float | None = None

    def desired(self, seen: Reading | None, size: Size, now: float) -> int:
        while self._window and self._window[0][0] <= now - STABLE_S:
            self._window.popleft()
        if seen is None:
            return size.wanted
        self._window.append((now, float(seen.serving + seen.counts.queued)))
        asked = max(self._bounds.min, min(self._bounds.max, self._asked(size.ready, now)))
        return self._late_to_zero(asked, now)

    def _asked(self, ready: int, now: float) -> int:
        stable, panic = self._mean(0), self._mean(now - PANIC_S)
        slots, target = self._bounds.slots, self._target
        if panics(panic, slots, ready, target):
            self._panicked_s = now
        elif self._panicked_s is not None and now - self._panicked_s >= STABLE_S:
            self._panicked_s, self._most = None, 0
        asked = recommended(stable, slots, ready, target)
        if self._panicked_s is None:
            return asked
        self._most = max(self._most, asked, recommended(panic, slots, ready, target))
        return self._most

    def _mean(self, after_s: float) -> float:
        return fmean(value for at_s, value in self._window if at_s > after_s)

    def _late_to_zero(self, asked: int, now: float) -> int:
        """The last pod stays for the grace period."""
        if asked > 0:
            self._zero_since = None
            return asked
        self._zero_since = now if self._zero_since is None else self._zero_since
        return 0 if now - self._zero_since >= ZERO_GRACE_S else 1
