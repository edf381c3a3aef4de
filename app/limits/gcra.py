"""The generic cell rate algorithm, pure: how many may pass now, and when the next may.

Source: ITU-T Recommendation I.371, the virtual scheduling algorithm. With a rate of `per_s` and a burst of `burst`, the
emission interval is T = 1/per_s, and the state is one number, the theoretical arrival time TAT: when the bucket is full
again. n units pass at `now` if max(TAT, now) + n·T is at most now + burst·T, and then that sum is the new TAT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EPSILON_S = 1e-6
"""Differences below a microsecond are rounding: times since 1970 are no finer in a double."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` units a second in the long run, `burst` (at least 1) at once from rest."""

    per_s: float
    burst: int

    @property
    def interval_s(self) -> float:
        """T, the time that one unit takes."""
        return 1.0 / self.per_s

    @property
    def reach_s(self) -> float:
        """How far TAT may be ahead of the present."""
        return self.burst / self.per_s


@dataclass(frozen=True, slots=True)
class Taken:
    """TAT after n units were asked for, and the seconds until they pass: 0 where they do now."""

    tat: float
    wait_s: float


def take(tat: float, now: float, rate: Rate, units: int) -> Taken:
    """What asking for `units` at `now` would come to; `tat` and `now` in seconds of one clock.

    A TAT further ahead than `rate` can have left it was left by a limit that has changed since, and is cut.
    More units than the burst never pass: look at `rate.burst` first.
    """
    start = min(max(tat, now), now + rate.reach_s)
    after = start + units * rate.interval_s
    wait_s = after - now - rate.reach_s
    return Taken(after, wait_s if wait_s > EPSILON_S else 0.0)


def take_all(asked: Sequence[tuple[float, Rate, int]], now: float) -> tuple[list[float], int | None, float]:
    """Ask several limits, (TAT, rate, units) each, together: all give or none does.

    The new TATs (the old ones where it was refused), which limit refused longest (None: it passes), for how long (s).
    """
    taken = [take(tat, now, rate, units) for tat, rate, units in asked]
    longest = max(range(len(taken)), key=lambda index: taken[index].wait_s, default=None)
    if longest is None or taken[longest].wait_s <= 0.0:
        return [item.tat for item in taken], None, 0.0
    return [tat for tat, _, _ in asked], longest, taken[longest].wait_s
