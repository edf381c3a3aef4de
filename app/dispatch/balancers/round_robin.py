"""Round robin: each offered agent in turn, in the order of their ids."""

from __future__ import annotations

import random
from collections.abc import Sequence

from app.dispatch.balancers.base import AgentView, TaskView
from app.dispatch.balancers.passive import Passive


class RoundRobin(Passive):
    """A cursor over the ids, which need not name a living agent: nothing to repair when agents come and go.

    The first choice is random, so that managers started together do not begin at the same agent.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._last: str | None = None

    def choose(self, task: TaskView, agents: Sequence[AgentView], now: float) -> str:
        ids = [agent.id for agent in agents]
        self._last = self._after(self._last, ids) if self._last is not None else self._rng.choice(ids)
        return self._last

    @staticmethod
    def _after(last: str, ids: Sequence[str]) -> str:
        """The next id in order after `last`, from the beginning again after the greatest."""
        return min((later for later in ids if later > last), default=None) or min(ids)
