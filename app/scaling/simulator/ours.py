"""The product's own policies in a simulation: its demand and its judgement."""

from __future__ import annotations

from app.scaling.decide import decide
from app.scaling.decision import Decision, Demand, History
from app.scaling.demand import Measured, ended_of
from app.scaling.policy import ScalePolicy
from app.scaling.simulator.lens import Reading, Size
from app.scaling.simulator.world import World


class Ours:
    """A pool's `ScalePolicy`, asked every `interval_s`. `last` is the newest decision."""

    def __init__(self, policy: ScalePolicy, world: World, interval_s: float) -> None:
        self.interval_s = interval_s
        self._policy, self._bounds, self._begins_at = policy, world.bounds, world.begins_at
        self._measured = Measured()
        self._history = History()
        self.last: Decision | None = None

    def desired(self, seen: Reading | None, size: Size, now: float) -> int:
        if seen is not None:
            self._measure(seen)
        self.last = decide(self._policy, self._demand(size), self._history, self._begins_at + now)
        self._history = self.last.history
        return self.last.desired

    def _measure(self, seen: Reading) -> None:
        """A reading no newer than the one before teaches nothing."""
        at = self._begins_at + seen.at_s
        if self._measured.at is None or at > self._measured.at:
            self._measured = self._measured.after(at, seen.counts, ended_of(seen.ended_s))

    def _demand(self, size: Size) -> Demand | None:
        if self._measured.at is None:
            return None
        bounds = self._bounds
        return self._measured.demand(
            slots=bounds.slots, desired=size.wanted, ready=size.ready, cold_start_s=bounds.cold_start_s
        )
