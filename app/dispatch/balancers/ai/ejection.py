"""Which agents of a pool are left alone: their breakers, of which only a share may be open at once."""

from __future__ import annotations

import random
from collections.abc import Iterator

from app.dispatch.balancers.ai.breaker import Breaker

MOST_EJECTED = 0.3
"""Share of the pool that may be left alone. Where more seems broken, the cause is likely elsewhere, and the rest could
not carry the work."""


class Ejections:
    """The breakers that are not closed, by agent id: at most `floor(MOST_EJECTED * agents in the pool)`."""

    __slots__ = ("_open", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._open: dict[str, Breaker] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[tuple[str, Breaker]]:
        return iter(list(self._open.items()))

    def open(self, agent_id: str, breaker: Breaker, pool: int, now: float) -> bool:
        """Open the breaker, if the pool of so many agents can do without this one too; whether it did."""
        if agent_id not in self._open and not self._room(pool):
            return False
        self._open[agent_id] = breaker
        breaker.open(now, self._rng)
        return True

    def adopt(self, agent_id: str, breaker: Breaker, seconds: float, pool: int, now: float) -> bool:
        """Open a closed breaker for so long, as another manager did; whether there was room."""
        if agent_id in self._open or not self._room(pool):
            return False
        self._open[agent_id] = breaker
        breaker.open_for(seconds, now)
        return True

    def close(self, agent_id: str, now: float) -> None:
        breaker = self._open.pop(agent_id, None)
        if breaker is not None:
            breaker.close(now)

    def shrink(self, pool: int, now: float) -> None:
        """The pool has so many agents now: close breakers, those soonest due first, until the share is kept."""
        while len(self._open) > int(MOST_EJECTED * pool):
            soonest = min(self._open, key=lambda agent_id: self._open[agent_id].remaining_s(now))
            self.close(soonest, now)

    def _room(self, pool: int) -> bool:
        return len(self._open) + 1 <= int(MOST_EJECTED * pool)
