"""A decision on its way through the rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.scaling.decision import Demand, History
from app.scaling.policy import ScalePolicy

ROUNDING = 1e-9
"""So little more than a whole replica is rounding and needs no further one."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be judged: measured numbers that are fresh, finite and possible."""

    policy: ScalePolicy
    demand: Demand
    history: History
    now: float

    @property
    def work(self) -> int:
        """Tasks that want a slot or hold one."""
        return self.demand.queued + self.demand.running

    @property
    def running_replicas(self) -> int:
        """So few replicas hold all that runs: with fewer, something that runs would have to go."""
        return self.replicas_for(self.demand.running)

    @property
    def kept_replicas(self) -> int:
        """As many as what runs needs, and one where anything waits."""
        return max(self.running_replicas, 1 if self.work else 0)

    @property
    def kept_words(self) -> str:
        if self.demand.running == 0:
            return "queued work needs a replica"
        return f"{self.demand.running} running keep their slots"

    def replicas_for(self, slots: float) -> int:
        return math.ceil(slots / self.demand.slots - ROUNDING)


@dataclass(frozen=True, slots=True)
class Draft:
    """`replicas` so far; `code`: the rule that spoke last; `load`: what the load needs, in words; `but`: what the last
    rule says to that."""

    replicas: int
    code: str
    load: str = ""
    but: str = ""
    workings: Mapping[str, float] = field(default_factory=dict)

    def to(self, replicas: int, code: str, but: str) -> Draft:
        """What a rule makes of it; the same draft where it changes nothing."""
        return self if replicas == self.replicas else replace(self, replicas=replicas, code=code, but=but)

    def saying(self, code: str, but: str) -> Draft:
        """The same number for another reason."""
        return replace(self, code=code, but=but)

    def noting(self, **workings: float) -> Draft:
        return replace(self, workings={**self.workings, **workings})
