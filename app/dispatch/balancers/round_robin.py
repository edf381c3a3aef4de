"""Round robin: each offered agent in turn, in the order of their ids."""

from __future__ import annotations

import random

from app.dispatch.balancers.base import MAX_SCAN, AgentView, Offer, TaskView
from app.dispatch.balancers.passive import Passive
from app.dispatch.balancers.ring import Ring


class RoundRobin(Passive):
    """The agent after the one chosen last; the first choice is random, so that managers do not begin alike.

    Turns are exact while at most MAX_SCAN agents are free, or one of the next MAX_SCAN members is. Otherwise, in a
    large pool that is nearly full, the turn goes to the nearest in order of a random draw of MAX_SCAN, so that it may
    pass over free agents, but over none more often than over another.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._members = Ring()
        self._last: str | None = None

    def choose(self, task: TaskView, offer: Offer, now: float) -> str:
        self._last = self._next_member(offer) or self._nearest_drawn(offer)
        return self._last

    def joined(self, agent: AgentView, now: float) -> None:
        self._members.add(agent.id)

    def left(self, agent_id: str, now: float) -> None:
        self._members.discard(agent_id)

    def _next_member(self, offer: Offer) -> str | None:
        """The next member that is offered; None where a draw finds out better: a small offer, or a first choice."""
        if self._last is None or len(offer) <= MAX_SCAN or len(offer) > len(self._members):
            return None
        return next((member for member in self._members.after(self._last, MAX_SCAN) if member in offer), None)

    def _nearest_drawn(self, offer: Offer) -> str:
        ids = [agent.id for agent in offer.draw(self._rng, MAX_SCAN)]
        if len(offer) > len(self._members):
            for agent_id in ids:
                self._members.add(agent_id)
        if self._last is None:
            return self._rng.choice(ids)
        last = self._last
        return min((agent_id for agent_id in ids if agent_id > last), default=None) or min(ids)
