"""Least connections: the agent with the smallest share of its slots in use."""

from __future__ import annotations

import random
from collections.abc import Sequence

from app.dispatch.balancers.base import MAX_SCAN, Offer, TaskView
from app.dispatch.balancers.passive import Passive


class LeastConnections(Passive):
    """Lowest in_flight / slots; among equals the one not chosen for longest.

    This is exact up to MAX_SCAN free agents; of more, the least of a random draw of MAX_SCAN is chosen. Agents never
    chosen come before all others, in random order, so that managers started together do not all begin at the same
    agent. Equal shares are equal floats: division is correctly rounded, 1/3 == 2/6.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._turn = 0
        self._chosen_at: dict[str, int] = {}  # the turn of the last choice, by agent id

    def choose(self, task: TaskView, offer: Offer, now: float) -> str:
        agents = offer.draw(self._rng, MAX_SCAN)
        shares = [agent.in_flight / agent.slots for agent in agents]
        least = min(shares)
        tied = [agent.id for agent, share in zip(agents, shares, strict=True) if share == least]
        chosen = self._longest_waiting(tied)
        self._turn += 1
        self._chosen_at[chosen] = self._turn
        return chosen

    def left(self, agent_id: str, now: float) -> None:
        self._chosen_at.pop(agent_id, None)

    def _longest_waiting(self, ids: Sequence[str]) -> str:
        fresh = [agent_id for agent_id in ids if agent_id not in self._chosen_at]
        return self._rng.choice(fresh) if fresh else min(ids, key=self._chosen_at.__getitem__)
