"""Weighted round robin: turns in proportion to the operator's weight, evenly interleaved.

Up to MAX_SCAN free agents this is *smooth* weighted round robin, the algorithm of nginx's upstream module: every
offered agent gains credit by its weight, the richest is chosen and pays what all gained together; weights {5, 1, 1}
give a a b a c a a instead of five in a row. Two things differ, for a pool that changes while it runs:

- Credit is kept in turns (weight / total weight) rather than in weight. While the offer stays the same this is the
  same sequence; when a weight changes or an agent becomes full, nobody is left with a debt in the old currency, which
  would starve it for as long as the old total was large.
- A newcomer starts with the mean credit of those present. Only differences decide, so it neither floods nor starves
  whatever the credit of those who left in the meantime.

With more free agents, where that would cost a look at each, it is *deficit* round robin (Shreedhar and Varghese,
1995): a walk round the ring of members on which each visit to an offered agent earns it weight / 10 of a turn, and it
is chosen once it has a whole one. In k rounds an agent of weight w gets k · w / 10 turns to within one, a choice takes
10 / (mean weight) visits on average, and an agent that is full when visited earns nothing. Should MAX_SCAN visits
choose none (few of the members are free), a draw of MAX_SCAN decides at random in proportion to weight.

Each of the two shares out its own choices in proportion, so a pool that moves between them stays in proportion.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from app.dispatch.balancers.base import MAX_SCAN, AgentView, Offer, TaskView
from app.dispatch.balancers.passive import Passive
from app.dispatch.balancers.ring import Ring

TIE = 1e-9
"""Sums of shares such as 1/7 are off by some 1e-16 each; what differs by less than this is a tie."""

TOP_WEIGHT = 10.0
"""The greatest weight: an agent of this weight takes a turn at every visit."""


class WeightedRoundRobin(Passive):
    """See the module's text. Weights must be positive; those of an offer that sum to zero raise an exception."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._smooth = SmoothTurns()
        self._deficit = DeficitTurns(rng)

    def choose(self, task: TaskView, offer: Offer, now: float) -> str:
        if len(offer) <= MAX_SCAN:
            return self._smooth.next(offer.draw(self._rng, MAX_SCAN))
        return self._deficit.next(offer)

    def joined(self, agent: AgentView, now: float) -> None:
        self._deficit.add(agent.id)

    def left(self, agent_id: str, now: float) -> None:
        self._smooth.discard(agent_id)
        self._deficit.discard(agent_id)


class SmoothTurns:
    """Credit in turns by agent id, for the agents offered since they joined; ties go to the smaller id."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}
        self._sum = 0.0  # of all credit: a choice adds one turn and takes one, so only membership changes it

    def next(self, agents: Sequence[AgentView]) -> str:
        """The id of the one of `agents` whose turn it is. Reads all of them."""
        total = sum(agent.weight for agent in agents)
        for agent in agents:
            if agent.id not in self._credit:
                self._admit(agent.id)
            self._credit[agent.id] += agent.weight / total
        chosen = self._richest(agents)
        self._credit[chosen] -= 1.0
        return chosen

    def discard(self, agent_id: str) -> None:
        self._sum -= self._credit.pop(agent_id, 0.0)
        if not self._credit:
            self._sum = 0.0

    def _admit(self, agent_id: str) -> None:
        mean = self._sum / len(self._credit) if self._credit else 0.0
        self._credit[agent_id] = mean
        self._sum += mean

    def _richest(self, agents: Sequence[AgentView]) -> str:
        top = max(self._credit[agent.id] for agent in agents) - TIE
        return min(agent.id for agent in agents if self._credit[agent.id] >= top)


class DeficitTurns:
    """What each member has earned of its next turn, 0..1, and where the walk stands.

    A member starts with a random part of a turn, so that agents of one weight do not take their turns in one round.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._members = Ring()
        self._earned: dict[str, float] = {}
        self._place = ""

    def add(self, agent_id: str) -> None:
        if agent_id not in self._earned:
            self._members.add(agent_id)
            self._earned[agent_id] = self._rng.random()

    def discard(self, agent_id: str) -> None:
        if self._earned.pop(agent_id, None) is not None:
            self._members.discard(agent_id)

    def next(self, offer: Offer) -> str:
        """The id of the one whose turn it is. Reads at most MAX_SCAN members, and a draw of MAX_SCAN where that is in
        vain."""
        if len(offer) > len(self._earned):
            for agent in offer.draw(self._rng, MAX_SCAN):
                self.add(agent.id)
        return self._walk(offer) or self._drawn(offer)

    def _walk(self, offer: Offer) -> str | None:
        for member in self._members.after(self._place, MAX_SCAN):
            self._place = member
            agent = offer.get(member)
            if agent is None:
                continue
            earned = self._earned[member] + agent.weight / TOP_WEIGHT
            if earned >= 1.0:
                self._earned[member] = min(earned - 1.0, 1.0)
                return member
            self._earned[member] = earned
        return None

    def _drawn(self, offer: Offer) -> str:
        agents = offer.draw(self._rng, MAX_SCAN)
        return self._rng.choices(agents, [agent.weight for agent in agents])[0].id
