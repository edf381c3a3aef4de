"""Somebody who undoes what we apply, again and again: put right, but ever more seldom, and told."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.clock import Clock
from app.scaling.backends.base import Condition

LONGEST_S = 60.0
CALM_S = 120.0
"""What stays as it was applied for so long is not fought over any more."""
FOUGHT = 3
"""So many repairs of the same are a fight."""


@dataclass(slots=True)
class _Round:
    """Of one Deployment and what was applied to it last; monotonic seconds."""

    digest: str
    repairs: int = 0
    applied_at: float = 0.0


class Fights:
    """By Deployment: the first repair is made at once, the others 1, 2, 4 … 60 s after the one before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rounds: dict[str, _Round] = {}

    def may_repair(self, name: str, digest: str) -> bool:
        """Whether it is time to apply this, which differs from what is there."""
        last = self._rounds.get(name)
        if last is None or last.digest != digest or not last.repairs:
            return True
        pause_s = min(LONGEST_S, 2.0 ** min(last.repairs - 1, 10))
        return self._clock.monotonic() - last.applied_at >= pause_s

    def applied(self, name: str, digest: str) -> None:
        """It was: for the first time, or once more."""
        last, now = self._rounds.get(name), self._clock.monotonic()
        repairs = last.repairs + 1 if last is not None and last.digest == digest else 0
        self._rounds[name] = _Round(digest, repairs, now)

    def rests(self, name: str) -> tuple[Condition, ...]:
        """It is as it was applied; a fight is over when that lasts."""
        last = self._rounds.get(name)
        if last is not None and self._clock.monotonic() - last.applied_at >= CALM_S:
            last.repairs = 0
        return self.conditions(name)

    def conditions(self, name: str) -> tuple[Condition, ...]:
        """`drift_fought`, where it is one. The words do not change with the number of repairs."""
        last = self._rounds.get(name)
        if last is None or last.repairs < FOUGHT:
            return ()
        text = f"Something keeps undoing what we apply to the Deployment {name}: it is put right less and less often."
        return (Condition("drift_fought", text),)
