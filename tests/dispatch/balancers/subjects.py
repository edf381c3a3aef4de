"""Every balancer the contract is checked on: the installed ones, and the worst one there can be, guarded."""

from __future__ import annotations

import gc
import random
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from app.dispatch.balancers.base import AgentView, Balancer, Offer, Outcome, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.balancers.registry import build, installed

GUARDED_BAD = "guarded_bad"
SUBJECTS = [*sorted(installed().factories), GUARDED_BAD]
MAY_WAIT = {"ai_optimized", GUARDED_BAD}
"""Those that keep a task queued although agents are free."""


class Bad:
    """Raises, names strangers, answers nonsense, spoils the offer and fails on every notification."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def choose(self, task: TaskView, offer: Offer, now: float) -> Any:
        return self._rng.choice([self._raises, self._stranger, self._nonsense, self._spoils, self._waits])(offer)

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        raise RuntimeError("started")

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        raise KeyError(agent_id)

    def joined(self, agent: AgentView, now: float) -> None:
        raise ValueError("joined")

    def left(self, agent_id: str, now: float) -> None:
        raise AssertionError("left")

    def _raises(self, offer: Offer) -> str:
        raise ZeroDivisionError

    def _stranger(self, offer: Offer) -> str:
        return "nobody"

    def _nonsense(self, offer: Offer) -> object:
        return self._rng.choice([7, [], next(iter(offer)), b"a0", float("nan")])

    def _spoils(self, offer: Any) -> str:
        offer.clear()
        return "unreached: an offer has no such method"

    def _waits(self, offer: Offer) -> None:
        return None


def subject(name: str, seed: int = 7) -> Balancer:
    rng = random.Random(seed)
    return Guarded(Bad(rng)) if name == GUARDED_BAD else build(name, rng)


def reachable_strings(root: object) -> set[str]:
    """Every string an object holds, however deep; code and modules are not what an object holds."""
    found, seen, stack = set[str](), set[int](), [root]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(item))
        if isinstance(item, str):
            found.add(item)
        if isinstance(item, dict):
            stack.extend(item)  # the collector leaves out keys that are text
        stack.extend(gc.get_referents(item))
    return found
