"""λ from counts: an even stream is averaged over minutes, and a change is seen within seconds. Pure.

Counts of a steady stream vary by their square root (Poisson), so a short window mistakes chance for load: replicas come
for it and stay for the down window. A long one is late where it matters. So the longest window counts, unless a shorter
one holds what chance would not put there: it differs by more than SIGMAS standard deviations (a Shewhart chart;
W. A. Shewhart, 1931).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

LONGEST_S = 300.0
SURGES_S = (15.0, 60.0, 120.0)
"""Windows in which more than usual shows, the fastest first."""
LULLS_S = (60.0, 120.0)
SIGMAS = 3.75
"""By simulation: fewer, and chance is followed; more, and a real surge waits."""
LATELY_S = 60.0
FEW = 3.0
"""So many at once are no batch."""
ENOUGH = 5
"""Fewer arrivals are no surge."""


def arrival_rate(counts: Iterable[tuple[float, float]]) -> float:
    """Arrivals a second. `counts`: (arrivals, seconds that they came in), the newest first; 0 of nothing.

    A batch is no rate: what came at once, beyond FEW and twice what came before or after it, is left out (while it
    waits, the backlog speaks for it). A surge is seen a count later for that.
    """
    newest = _without_batches(tuple(counts))
    came, seconds = _within(newest, LONGEST_S)
    if seconds <= 0.0:
        return 0.0
    usual = came / seconds
    for window_s in SURGES_S:
        came, seconds = _within(newest, window_s)
        chance = SIGMAS * math.sqrt(max(usual, 1.0 / LONGEST_S) / seconds)
        surge = came >= ENOUGH and came / seconds > usual + chance
        lull = window_s in LULLS_S and came / seconds < usual - chance
        if surge or lull:
            return came / seconds
    return usual


def usual_rate(counts: Iterable[tuple[float, float]]) -> float:
    """Arrivals a second over the longest window, without batches."""
    came, seconds = _within(_without_batches(tuple(counts)), LONGEST_S)
    return came / seconds if seconds > 0.0 else 0.0


def came_lately(counts: Iterable[tuple[float, float]]) -> float:
    """All arrivals of the last minute, batches too."""
    return _within(tuple(counts), LATELY_S)[0]


def _without_batches(counts: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    rates = [came / lasted if lasted > 0.0 else 0.0 for came, lasted in counts]
    kept = []
    for at, (came, lasted) in enumerate(counts):
        beside = max(rates[at - 1] if at else 0.0, rates[at + 1] if at + 1 < len(rates) else 0.0)
        kept.append((min(came, FEW + 2.0 * beside * lasted), lasted))
    return tuple(kept)


def _within(newest: tuple[tuple[float, float], ...], window_s: float) -> tuple[float, float]:
    """(arrivals, seconds) of the newest counts that make up the window. Never negative: what is cancelled before
    anybody counted it can take more from a while than came in it."""
    came = seconds = 0.0
    for arrivals, lasted in newest:
        if seconds >= window_s:
            break
        came, seconds = came + arrivals, seconds + lasted
    return max(0.0, came), seconds
