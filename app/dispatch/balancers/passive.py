"""The right answer to every call a strategy does not learn from: nothing."""

from __future__ import annotations

from app.dispatch.balancers.base import AgentView, Balancer, Outcome, TaskView


class Passive(Balancer):
    """A balancer that learns nothing. A strategy adds `choose` and overrides the calls it learns from."""

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        return None

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        return None

    def joined(self, agent: AgentView, now: float) -> None:
        return None

    def left(self, agent_id: str, now: float) -> None:
        return None
