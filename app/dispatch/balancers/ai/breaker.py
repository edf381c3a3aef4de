"""When to leave an agent alone, and when to try it again: a CUSUM test and a half-open trial.

    closed ──score reaches OPEN_AT──▶ open ──time is up──▶ half open ──the trial succeeds──▶ closed
                                       ▲                       │
                                       └────the trial fails────┘   for twice as long

The score adds up the log likelihood ratio of each result under "70 % of its attempts fail" against "it fails as
often as its class", and never falls below zero (Page's CUSUM, 1954).
"""

from __future__ import annotations

import math
import random

BROKEN_RATE = 0.7
"""The failure rate of an agent that had better get nothing. Half-broken ones are handled by cost instead."""

LEAST_RATE, MOST_RATE = 0.02, 0.5
"""Limits of what counts as usual: below, one failure would be proof; above, a class where most fails would open."""

OPEN_AT = math.log(1000)
"""A thousand to one: two failures in a row where failures are rare."""

FIRST_OPEN_S, LONGEST_OPEN_S = 5.0, 120.0
JITTER = 0.25
"""Up to this share longer, so that managers and agents do not try in step."""

CALM_S = 300.0
"""After so long closed, the next opening is a first one again."""

LOST_TRIAL_S = 3600.0
"""A trial that has not ended after so long will not: allow another."""

RESERVED_S = 5.0
"""A task chosen as the trial must start within so long, or another may be: it may be lost before its start."""

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


class Breaker:
    """One agent's. `is_open` False (closed) is all that a choice needs to look at in the common case."""

    __slots__ = (
        "_calm_since", "_length", "_trial", "_trial_lasts", "_trial_since", "_until", "is_open", "level", "score",
        "trips",
    )  # fmt: skip

    def __init__(self) -> None:
        self.is_open = False
        self.score = 0.0
        self.level = 0  # openings in a row: each twice as long
        self.trips = 0
        self._until = 0.0
        self._length = 0.0
        self._calm_since = -math.inf
        self._trial: str | None = None
        self._trial_since = 0.0
        self._trial_lasts = 0.0

    def count(self, ok: bool, usual_rate: float) -> bool:
        """Add a result of an agent of a class that fails at `usual_rate`; whether the breaker should open now."""
        usual = min(MOST_RATE, max(LEAST_RATE, usual_rate))
        step = math.log((1 - BROKEN_RATE) / (1 - usual)) if ok else math.log(BROKEN_RATE / usual)
        self.score = max(0.0, self.score + step)
        return self.score >= OPEN_AT

    def open(self, now: float, rng: random.Random) -> None:
        """Get nothing for FIRST_OPEN_S, doubled with each opening in a row, at most LONGEST_OPEN_S, and jitter."""
        if not self.is_open and now - self._calm_since > CALM_S:
            self.level = 0
        length = min(LONGEST_OPEN_S, FIRST_OPEN_S * 2.0 ** min(self.level, 10))
        self.level += 1
        self.trips += 1
        self.open_for(length * (1.0 + JITTER * rng.random()), now)

    def open_for(self, seconds: float, now: float) -> None:
        """Get nothing for so long: what another manager found out."""
        self.is_open = True
        self.score = 0.0
        self._length = seconds
        self._until = now + seconds
        self._trial = None

    def close(self, now: float) -> None:
        self.is_open = False
        self.score = 0.0
        self._trial = None
        self._calm_since = now

    def remaining_s(self, now: float) -> float:
        """Seconds until a trial is due; 0 when it is, or when the breaker is closed."""
        if not self.is_open:
            return 0.0
        left = self._until - now
        if left > self._length:  # the clock stepped back
            self._until = now + self._length
            return self._length
        return max(0.0, left)

    def admits(self, now: float) -> bool:
        """Whether an attempt may start: closed, or due for a trial that is neither reserved nor under way."""
        if not self.is_open:
            return True
        return not self._under_way(now) and self.remaining_s(now) <= 0.0

    def reserve(self, task_id: str, now: float) -> None:
        """The task was chosen for the agent: when a trial is due, it is the trial, if it starts within RESERVED_S."""
        if self.is_open and self.admits(now):
            self._trial, self._trial_since, self._trial_lasts = task_id, now, RESERVED_S

    def began(self, task_id: str, now: float) -> None:
        """An attempt starts on the agent: it is the trial if that is reserved for it, or due and not reserved."""
        if self.is_open and (self._trial == task_id or self.admits(now)):
            self._trial, self._trial_since, self._trial_lasts = task_id, now, LOST_TRIAL_S

    def _under_way(self, now: float) -> bool:
        """Whether a trial is reserved or has begun, and is not given up."""
        return self._trial is not None and 0.0 <= now - self._trial_since < self._trial_lasts

    def ended(self, task_id: str) -> bool:
        """An attempt ended, whatever came of it; whether it was the trial."""
        if self._trial is None or self._trial != task_id:
            return False
        self._trial = None
        return True

    def tried(self, began: float, now: float) -> bool:
        """Whether an attempt that began then is a trial by its time: needed where its beginning was not told."""
        return self.is_open and not self._under_way(now) and began >= self._until

    def state(self, now: float) -> str:
        if not self.is_open:
            return CLOSED
        return OPEN if self.remaining_s(now) > 0.0 else HALF_OPEN
