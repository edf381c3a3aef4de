"""The dispatch loop's side of the seam: a balancer that fails costs a worse choice, never a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from app.dispatch.balancers.base import AgentView, Balancer, Outcome, TaskView

Reason = Literal["choose_raised", "unknown_agent", "notify_raised"]
OnError = Callable[[Reason, Exception | None], None]


class NotOfferedError(Exception):
    """A balancer named an agent that was not offered. `named` is what it answered, shortened to be logged."""

    def __init__(self, named: object) -> None:
        self.named = repr(named)[:200]
        super().__init__(f"the balancer named {self.named}, which was not offered")


class Guarded(Balancer):
    """Calls `balancer`; none of the methods raises, and `choose` returns only an offered id or None.

    Every failure adds one to `errors` and is passed to `on_error(reason, exception)`, which must not raise.
    On a failed choice the least loaded offered agent is chosen. The balancer gets an immutable copy of the
    offer, so it cannot spoil the caller's.
    """

    def __init__(self, balancer: Balancer, on_error: OnError = lambda _reason, _exception: None) -> None:
        self.balancer = balancer
        self.errors = 0
        self._on_error = on_error

    def choose(self, task: TaskView, agents: Sequence[AgentView], now: float) -> str | None:
        offered = tuple(agents)
        if not offered:
            return None
        try:
            chosen = self.balancer.choose(task, offered, now)
            if chosen is None:
                return None
            return _checked(chosen, offered)
        except NotOfferedError as error:
            self._count("unknown_agent", error)
        except Exception as error:
            self._count("choose_raised", error)
        return least_loaded(offered)

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        self._notify(lambda: self.balancer.started(agent_id, task, now))

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        self._notify(lambda: self.balancer.finished(agent_id, task, outcome, now))

    def joined(self, agent_id: str, now: float) -> None:
        self._notify(lambda: self.balancer.joined(agent_id, now))

    def left(self, agent_id: str, now: float) -> None:
        self._notify(lambda: self.balancer.left(agent_id, now))

    def _notify(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._count("notify_raised", error)

    def _count(self, reason: Reason, error: Exception) -> None:
        self.errors += 1
        self._on_error(reason, error)


def _checked(chosen: object, offered: Sequence[AgentView]) -> str:
    """`chosen` if it is the id of an offered agent, as the offer spells it; raises NotOfferedError."""
    if isinstance(chosen, str):
        for agent in offered:
            if agent.id == chosen:
                return agent.id
    raise NotOfferedError(chosen)


def least_loaded(agents: Sequence[AgentView]) -> str:
    """The id of the agent with the smallest share of its slots in use; among equals the smallest id."""
    return min((agent.in_flight / max(agent.slots, 1), agent.id) for agent in agents)[1]
