"""One agent at work: its attempts share its speed, which changes with spells and with how many there are."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from app.dispatch.simulator.world import SimAgent


class Attempt:
    """One try of task number `task` on `agent` by manager number `manager`; `fails` was decided at its start."""

    __slots__ = ("agent", "ended", "fails", "manager", "started_s", "task")

    def __init__(self, task: int, agent: Working, manager: int, started_s: float, fails: bool) -> None:
        self.task, self.agent, self.manager = task, agent, manager
        self.started_s, self.fails, self.ended = started_s, fails, False


class Working:
    """The attempts under way, by the agent's own clock: it runs at `speed` and counts seconds of normal work.

    Every attempt gets the whole speed (slots are concurrent), so they end in the order of the clock's reading at which
    their work is done. `plan` numbers the forecasts of the next end: an event of an older plan means nothing.
    """

    __slots__ = ("_at_s", "_clock", "_crowding", "_ends", "_speed", "_started", "busy_s", "plan", "running", "truth")

    def __init__(self, truth: SimAgent, contention: float) -> None:
        self.truth = truth
        self.running = 0
        self.busy_s = 0.0
        self.plan = 0
        self._crowding = contention / (truth.slots - 1) if truth.slots > 1 else 0.0
        self._ends: list[tuple[float, int, Attempt]] = []
        self._started = 0
        self._clock, self._at_s = 0.0, truth.joins_s
        self._speed = self._speed_at(truth.joins_s)

    def start(self, attempt: Attempt, work_s: float, now: float) -> bool:
        """Begin; whether the next end is another now (the caller asks `next_end_s`)."""
        self._advance(now)
        self.running += 1
        self._started += 1
        heapq.heappush(self._ends, (self._clock + work_s, self._started, attempt))
        return self._new_speed(now) or self._ends[0][2] is attempt

    def end_next(self, now: float) -> Attempt:
        """The attempt whose end `next_end_s` foretold for now."""
        self._clock, self._at_s = self._ends[0][0], now
        attempt = heapq.heappop(self._ends)[2]
        self._ended(attempt, now)
        return attempt

    def abandon(self, attempt: Attempt, now: float) -> None:
        """It ends before its work is done: its caller has given up."""
        self._advance(now)
        self._ended(attempt, now)

    def spell_changed(self, now: float) -> None:
        """A spell began or ended."""
        self._advance(now)
        self._new_speed(now)

    def next_end_s(self) -> float:
        """When the next attempt ends if nothing changes; math.inf for none, and while the agent stands still."""
        while self._ends and self._ends[0][2].ended:
            heapq.heappop(self._ends)
        if not self._ends or self._speed == 0.0:
            return math.inf
        return self._at_s + max(0.0, self._ends[0][0] - self._clock) / self._speed

    def spell_times(self) -> Iterator[float]:
        """When its speed changes by itself."""
        for spell in self.truth.spells:
            yield from (time for time in (spell.start_s, spell.end_s) if time < math.inf)

    def _ended(self, attempt: Attempt, now: float) -> None:
        attempt.ended = True
        self.running -= 1
        self.busy_s += now - attempt.started_s
        self._new_speed(now)

    def _advance(self, now: float) -> None:
        self._clock += (now - self._at_s) * self._speed
        self._at_s = now

    def _new_speed(self, now: float) -> bool:
        if not (self._crowding or self.truth.spells):
            return False
        speed = self._speed_at(now)
        changed = speed != self._speed
        self._speed = speed
        return changed

    def _speed_at(self, now: float) -> float:
        slower = 1.0 + self._crowding * max(0, self.running - 1)
        for spell in self.truth.spells:
            if spell.start_s <= now < spell.end_s:
                slower *= spell.slower
        return 1.0 / slower
