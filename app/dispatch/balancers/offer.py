"""Free agents in a form from which a few can be drawn at the same cost however many there are."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from app.dispatch.balancers.base import AgentView


class _Bag:
    """A set with a place for each member, so that one can be drawn by its place."""

    __slots__ = ("agents", "places")

    def __init__(self) -> None:
        self.agents: list[AgentView] = []
        self.places: dict[str, int] = {}

    def add(self, agent: AgentView) -> None:
        place = self.places.setdefault(agent.id, len(self.agents))
        if place == len(self.agents):
            self.agents.append(agent)
        else:
            self.agents[place] = agent

    def discard(self, agent_id: str) -> None:
        place = self.places.pop(agent_id, None)
        if place is None:
            return
        last = self.agents.pop()
        if last.id != agent_id:
            self.agents[place] = last
            self.places[last.id] = place


class FreeAgents:
    """The agents of one pool that could take a task now, all and by version; an `Offer` of all of them.

    `add` of one that is there replaces it; `discard` of one that is not does nothing.
    """

    __slots__ = ("_all", "_by_version")

    def __init__(self, agents: Iterable[AgentView] = ()) -> None:
        self._all = _Bag()
        self._by_version: dict[str, _Bag] = {}
        for agent in agents:
            self.add(agent)

    def add(self, agent: AgentView) -> None:
        known = self.get(agent.id)
        if known is not None and known.version != agent.version:
            self.discard(agent.id)
        self._all.add(agent)
        bag = self._by_version.get(agent.version)
        if bag is None:
            bag = self._by_version[agent.version] = _Bag()
        bag.add(agent)

    def discard(self, agent_id: str) -> None:
        known = self.get(agent_id)
        if known is None:
            return
        self._all.discard(agent_id)
        bag = self._by_version[known.version]
        bag.discard(agent_id)
        if not bag.agents:
            del self._by_version[known.version]

    def __len__(self) -> int:
        return len(self._all.agents)

    def __contains__(self, agent_id: object) -> bool:
        return agent_id in self._all.places

    def __iter__(self) -> Iterator[AgentView]:
        return iter(self._all.agents)

    def get(self, agent_id: str) -> AgentView | None:
        place = self._all.places.get(agent_id)
        return None if place is None else self._all.agents[place]

    def draw(self, rng: random.Random, count: int, version: str | None = None) -> Sequence[AgentView]:
        bag = self._all if version is None else self._by_version.get(version)
        if bag is None:
            return ()
        agents, n = bag.agents, len(bag.agents)
        if n <= count:
            return agents.copy()
        if 2 * count > n:
            return rng.sample(agents, count)
        places: set[int] = set()
        drawn: list[AgentView] = []
        while len(drawn) < count:
            place = int(rng.random() * n)
            if place not in places:
                places.add(place)
                drawn.append(agents[place])
        return drawn


class Without:
    """An offer without one of its agents: the one a task should not go back to. It must offer another."""

    __slots__ = ("_excluded", "_offer")

    def __init__(self, offer: FreeAgents, excluded: str) -> None:
        self._offer, self._excluded = offer, excluded

    def __len__(self) -> int:
        return len(self._offer) - (self._excluded in self._offer)

    def __contains__(self, agent_id: object) -> bool:
        return agent_id != self._excluded and agent_id in self._offer

    def __iter__(self) -> Iterator[AgentView]:
        return (agent for agent in self._offer if agent.id != self._excluded)

    def get(self, agent_id: str) -> AgentView | None:
        return None if agent_id == self._excluded else self._offer.get(agent_id)

    def draw(self, rng: random.Random, count: int, version: str | None = None) -> Sequence[AgentView]:
        drawn = [agent for agent in self._offer.draw(rng, count + 1, version) if agent.id != self._excluded]
        return drawn[:count]
