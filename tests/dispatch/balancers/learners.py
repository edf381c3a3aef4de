"""An `ai_optimized` balancer over a few agents, taught in one line."""

from __future__ import annotations

import random

from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.base import AgentView, Outcome, TaskView

DONE = Outcome(True, 1.0)
FAILED = Outcome(False, 0.01)


def balancer_of(*views: AgentView, seed: int = 1) -> AiOptimized:
    balancer = AiOptimized(random.Random(seed))
    for view in views:
        balancer.joined(view, 0.0)
    return balancer


def agents(count: int, versions: int = 1, slots: int = 4) -> list[AgentView]:
    return [AgentView(f"a{n}", slots, 0, version=f"v{n % versions}") for n in range(count)]


def teach(
    balancer: AiOptimized, agent_id: str, outcome: Outcome, count: int, *, of: str = "log", now: float = 0.0
) -> None:
    for n in range(count):
        balancer.finished(agent_id, TaskView(f"{agent_id}-{n}", of), outcome, now)


def task(waited_s: float = 0.0, of: str = "log", thread: str | None = None) -> TaskView:
    return TaskView("t", of, waited_s=waited_s, thread_id=thread)
