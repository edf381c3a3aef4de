"""The dispatch loop's side of the seam: a balancer that fails costs a worse choice, never a task."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

from app.dispatch.balancers.base import MAX_SCAN, AgentView, Balancer, Offer, Outcome, TaskView

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
    On a failed choice the least loaded of some agents offered is chosen.
    """

    def __init__(self, balancer: Balancer, on_error: OnError = lambda _reason, _exception: None) -> None:
        self.balancer = balancer
        self.errors = 0
        self.last_error: str | None = None
        self._on_error = on_error
        self._rng = random.Random(0)  # noqa: S311 - only for the fallback

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        if not len(offer):
            return None
        try:
            chosen = self.balancer.choose(task, offer, now)
            if chosen is None:
                return None
            agent = offer.get(chosen) if isinstance(chosen, str) else None
            if agent is not None:
                return agent.id
            self.failed("unknown_agent", NotOfferedError(chosen))
        except Exception as error:
            self.failed("choose_raised", error)
        return self._least_loaded(offer)

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        try:
            self.balancer.started(agent_id, task, now)
        except Exception as error:
            self.failed("notify_raised", error)

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        try:
            self.balancer.finished(agent_id, task, outcome, now)
        except Exception as error:
            self.failed("notify_raised", error)

    def joined(self, agent: AgentView, now: float) -> None:
        try:
            self.balancer.joined(agent, now)
        except Exception as error:
            self.failed("notify_raised", error)

    def left(self, agent_id: str, now: float) -> None:
        try:
            self.balancer.left(agent_id, now)
        except Exception as error:
            self.failed("notify_raised", error)

    def failed(self, reason: Reason, error: Exception) -> None:
        """Count and report a failure of the balancer's code."""
        self.errors += 1
        self.last_error = f"{reason}: {type(error).__name__}: {error}"[:500]
        self._on_error(reason, error)

    def _least_loaded(self, offer: Offer) -> str:
        """The id of the drawn agent with the smallest share of its slots in use; among equals the smallest id."""
        drawn = offer.draw(self._rng, MAX_SCAN)
        return min((agent.in_flight / max(agent.slots, 1), agent.id) for agent in drawn)[1]
