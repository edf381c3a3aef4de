"""What is true in a simulation, and what only outcomes tell a strategy: agents, tasks, faults. Plain values."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.registry.records import RetryPolicy

FASTEST_FAILURE_S = 0.05


@dataclass(frozen=True, slots=True)
class Spell:
    """From `start_s` to `end_s` the agent works `slower` times slower; math.inf: it stands still."""

    start_s: float
    end_s: float
    slower: float


@dataclass(frozen=True, slots=True)
class Fault:
    """From `start_s` on the agent fails a `share` (0..1) of its attempts, each after the share `after` of the time it
    would have taken, at least FASTEST_FAILURE_S."""

    start_s: float
    share: float
    after: float = 1.0


@dataclass(frozen=True, slots=True)
class SimAgent:
    """One agent. `slower` 2.0: all it does takes twice as long. It is there from `joins_s` until `leaves_s`, from when
    it gets nothing more and finishes what it has."""

    id: str
    slots: int
    weight: float = 5.0
    version: str = ""
    slower: float = 1.0
    joins_s: float = 0.0
    leaves_s: float = math.inf
    spells: tuple[Spell, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One task. `size_s`: seconds on an agent of normal speed that suits it. `luck` in [0, 1) decides whether its first
    attempt fails where some do."""

    at_s: float
    type: str
    size_s: float
    complexity: float
    luck: float
    thread_id: str | None = None


@dataclass(frozen=True, slots=True)
class PoolTerms:
    """What the pool's definition says of attempts; the defaults are the product's."""

    timeout_s: float = 300.0
    max_attempts: int = 3
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class World:
    """A pool and what comes to it. `slower` and `failing` are by (task type, agent version), 1.0 and 0.0 where nothing
    is said; `failing` and `base_failure` are the shares of attempts that fail through no fault of the agent's own
    beyond its kind. `contention` 1.0: a full agent works at half the speed of an empty one. Tasks that arrive before
    `count_from_s` run but are not counted; strategies need a while to learn.
    """

    agents: tuple[SimAgent, ...]
    arrivals: tuple[Arrival, ...]
    duration_s: float
    count_from_s: float = 0.0
    slower: Mapping[tuple[str, str], float] = field(default_factory=dict)
    failing: Mapping[tuple[str, str], float] = field(default_factory=dict)
    base_failure: float = 0.0
    contention: float = 0.0
    terms: PoolTerms = field(default_factory=PoolTerms)

    @property
    def types(self) -> tuple[str, ...]:
        """The task types that arrive, in order."""
        return tuple(sorted({arrival.type for arrival in self.arrivals}))


def dice(*names: object) -> random.Random:
    """Random numbers of their own for one purpose: the same for the same names."""
    return random.Random("/".join(map(str, names)))  # noqa: S311 - a simulation, not a secret
