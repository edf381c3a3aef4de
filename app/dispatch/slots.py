"""Slots have one owner: which of an agent's slots are this manager's, and how many of them are in use.

Every manager computes `owned` from the same two facts, the agent's slots and the set of live managers, so
nothing is negotiated. Each gets slots // M; the remainder goes, one slot each, to the managers that rank
first for that agent by rendezvous hashing (blake2b of agent and manager), which spreads remainders evenly
over many agents.

Bound on movement: when one manager joins or leaves, only slots of that manager move. It gains (or gives up)
exactly what it owns in the larger set, floor(S/M) or ceil(S/M) of an agent's S slots where M counts it, and
no slot moves between two managers that stay. No even split can move fewer than floor(S/M). Reason: on a join
the base either stays, then the remainder shrinks and one more contender ranks, so that nobody new enters the
first ranks; or it falls by at least one, which no remainder slot exceeds. A leave is a join read backwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.dispatch.balancers.base import AgentView
from app.dispatch.balancers.offer import FreeAgents


def owned(agent_id: str, slots: int, managers: Sequence[str], me: str) -> int:
    """How many of the agent's slots manager `me` owns; 0 if it is not among `managers`, in any order.

    Over all managers the shares sum to `slots` and differ by at most one.
    """
    live = set(managers)
    if me not in live:
        return 0
    base, remainder = divmod(slots, len(live))
    if remainder == 0:
        return base
    mine = _rank(agent_id, me)
    ahead = sum(_rank(agent_id, other) < mine for other in live)
    return base + (ahead < remainder)


def _rank(agent_id: str, manager_id: str) -> tuple[bytes, str]:
    """The manager's place in the agent's order; the id decides where two hashes are equal."""
    digest = hashlib.blake2b(f"{len(agent_id)}:{agent_id}{manager_id}".encode(), digest_size=8).digest()
    return digest, manager_id


class NoFreeSlotError(RuntimeError):
    """`take` of an agent in which this manager has no free slot: the caller did not look first."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        super().__init__(f"no free slot in agent {agent_id}")


@dataclass(frozen=True, slots=True)
class AgentSlots:
    """What the table needs to know of an agent. `eligible` False (failed, draining, pausing) offers none of its slots.
    `weight`, `version` and `skills` are passed on to the balancer."""

    pool: str
    slots: int
    eligible: bool = True
    weight: float = 5.0
    version: str = ""
    skills: Mapping[str, float] = field(default_factory=dict)

    def same_kind(self, other: AgentSlots) -> bool:
        """Whether a balancer would see no difference but the number of slots."""
        return (self.weight, self.version, self.skills) == (other.weight, other.version, other.skills)


NO_AGENTS = FreeAgents()


class SlotTable:
    """One manager's slots: what it owns in each agent, minus its attempts in flight there.

    Used from one event loop, without awaits inside. Free slots are kept up to date per agent and per pool as
    things change: `free_in` and `offer` are O(1), and only agents whose facts changed are computed anew.
    Attempts in flight are counted apart from membership: they may exceed what is owned after a change, and those
    on an agent that was removed are still given back, or found again if it returns.
    """

    def __init__(self) -> None:
        self._agents: dict[str, AgentSlots] = {}
        self._views: dict[str, AgentView] = {}  # what a balancer sees; `slots` there are those owned
        self._managers: tuple[str, ...] = ()
        self._me: str | None = None  # None while this manager owns nothing
        self._in_flight: dict[str, int] = {}  # never holds a zero
        self._free: dict[str, FreeAgents] = {}  # by pool
        self._free_in: dict[str, int] = {}  # free slots by pool: those of its `_free`
        self._counted: dict[str, int] = {}  # what of an agent is counted in `_free_in`; never a zero

    def put(self, agent_id: str, facts: AgentSlots) -> None:
        """Add an agent, or replace what is known of it."""
        if self._agents.get(agent_id) != facts:
            self.remove(agent_id)
            self._agents[agent_id] = facts
            self._views[agent_id] = AgentView(agent_id, 0, 0, facts.weight, facts.version, facts.skills)
            self._own(agent_id)

    def remove(self, agent_id: str) -> None:
        """Forget an agent; nothing happens for an unknown one."""
        facts = self._agents.pop(agent_id, None)
        if facts is not None:
            self._set_free(facts.pool, self._views.pop(agent_id), 0)

    def set_managers(self, live: Sequence[str], me: str, *, active: bool) -> None:
        """Replace the live managers. Until `active` (a newcomer waits one lease) this one owns no slot.

        Costs one hash per manager and agent when something changed, a comparison when nothing did.
        """
        managers, who = tuple(sorted(set(live))), me if active else None
        if (managers, who) == (self._managers, self._me):
            return
        self._managers, self._me = managers, who
        for agent_id in self._agents:
            self._own(agent_id)

    def set_eligible(self, agent_id: str, eligible: bool) -> None:
        """Offer an agent's slots or not; nothing happens for an unknown agent."""
        facts = self._agents.get(agent_id)
        if facts is not None and facts.eligible != eligible:
            self._agents[agent_id] = replace(facts, eligible=eligible)
            self._refresh(agent_id)

    @property
    def active(self) -> bool:
        """Whether this manager uses its share."""
        return self._me is not None

    def take(self, agent_id: str) -> None:
        """An attempt starts on the agent. Raises NoFreeSlotError, changing nothing, where `free` is 0."""
        if self.free(agent_id) == 0:
            raise NoFreeSlotError(agent_id)
        self._in_flight[agent_id] = self.in_flight(agent_id) + 1
        self._refresh(agent_id)

    def give_back(self, agent_id: str) -> None:
        """An attempt on the agent ended. Nothing happens where none was in flight."""
        left = self.in_flight(agent_id) - 1
        if left > 0:
            self._in_flight[agent_id] = left
        else:
            self._in_flight.pop(agent_id, None)
        if agent_id in self._agents:
            self._refresh(agent_id)

    def facts(self, agent_id: str) -> AgentSlots | None:
        """What was put for the agent; None for an unknown one."""
        return self._agents.get(agent_id)

    def view(self, agent_id: str) -> AgentView | None:
        """What a balancer is told of the agent; None for an unknown one. Kept up to date in place."""
        return self._views.get(agent_id)

    def owned(self, agent_id: str) -> int:
        """Slots this manager owns in the agent, in use or not; 0 for an unknown agent."""
        view = self._views.get(agent_id)
        return 0 if view is None else view.slots

    def in_flight(self, agent_id: str) -> int:
        """Attempts of this manager on the agent, removed or not."""
        return self._in_flight.get(agent_id, 0)

    def free(self, agent_id: str) -> int:
        """Attempts that could start on the agent now; 0 for an unknown or ineligible one."""
        return self._counted.get(agent_id, 0)

    def free_in(self, pool: str) -> int:
        """Attempts that could start in the pool now: the sum of `free` over its agents."""
        return self._free_in.get(pool, 0)

    def offer(self, pool: str) -> FreeAgents:
        """The pool's agents in which `free` is above 0, kept up to date in place."""
        return self._free.get(pool, NO_AGENTS)

    def _own(self, agent_id: str) -> None:
        slots = self._agents[agent_id].slots
        mine = 0 if self._me is None else owned(agent_id, slots, self._managers, self._me)
        self._views[agent_id].slots = mine
        self._refresh(agent_id)

    def _refresh(self, agent_id: str) -> None:
        facts, view = self._agents[agent_id], self._views[agent_id]
        view.in_flight = self._in_flight.get(agent_id, 0)
        spare = view.slots - view.in_flight
        self._set_free(facts.pool, view, spare if facts.eligible and spare > 0 else 0)

    def _set_free(self, pool: str, view: AgentView, count: int) -> None:
        before = self._counted.get(view.id, 0)
        if count == before:
            return
        free = self._free.get(pool)
        if free is None:
            free = self._free[pool] = FreeAgents()
        left = self._free_in[pool] = self._free_in.get(pool, 0) + count - before
        if not count:
            del self._counted[view.id]
            free.discard(view.id)
        else:
            self._counted[view.id] = count
            if not before:
                free.add(view)
        if not left:  # so that a pool that is gone leaves nothing behind
            del self._free[pool], self._free_in[pool]
