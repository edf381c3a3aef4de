"""One simulated manager: its own slots, its own instance of the strategy, and the outliers it keeps tasks from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.dispatch.balancers.base import AgentView, Balancer, Ejector, Learner, Offer, Outcome, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.balancers.offer import FreeAgents, Without
from app.dispatch.outliers import Limits, Outliers

type Timer = Callable[[], float]


class Manager:
    """Owns `AgentView.slots` slots in each agent that joined. `free` is what it offers: agents with a free slot that
    are there and not ejected. `timer` is read around every choice; `choice_s` and `choices` sum up."""

    def __init__(self, number: int, balancer: Balancer, limits: Limits, timer: Timer) -> None:
        self.number = number
        self.balancer = balancer
        self.guarded = Guarded(balancer)
        self.free = FreeAgents()
        self.choices, self.deferrals, self.choice_s = 0, 0, 0.0
        self.sharing_errors = 0
        self._timer = timer
        self._views: dict[str, AgentView] = {}
        self._outliers = None if isinstance(balancer, Ejector) else Outliers(limits)
        self._ejected_until: dict[str, float] = {}

    def join(self, agent: AgentView, now: float) -> None:
        """The agent came; `agent` is this manager's own view of it."""
        self._views[agent.id] = agent
        self.guarded.joined(agent, now)
        self.free.add(agent)

    def leave(self, agent_id: str, now: float) -> None:
        """The agent gets nothing more; attempts there end as usual."""
        self.free.discard(agent_id)
        del self._views[agent_id]
        self._ejected_until.pop(agent_id, None)
        self.guarded.left(agent_id, now)
        if self._outliers is not None:
            self._outliers.left(agent_id)

    def choose(self, task: TaskView, elsewhere_than: str | None, now: float) -> str | None:
        """The agent for the task, its slot taken; None to keep it queued. Something must be free. A task that failed
        on an agent goes to another where there is one."""
        offer: Offer = self.free
        if elsewhere_than is not None and len(self.free) > 1 and elsewhere_than in self.free:
            offer = Without(self.free, elsewhere_than)
        began = self._timer()
        chosen = self.guarded.choose(task, offer, now)
        self.choice_s += self._timer() - began
        self.choices += 1
        if chosen is None:
            self.deferrals += 1
            return None
        self._take(chosen)
        self.guarded.started(chosen, task, now)
        return chosen

    def ended(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> float | None:
        """An attempt ended and its slot is free; the seconds for which its agent is ejected for it, if it is."""
        view = self._views.get(agent_id)
        if view is not None:
            view.in_flight -= 1
            self._offer_again(view, now)
        self.guarded.finished(agent_id, task, outcome, now)
        if self._outliers is None or view is None:
            return None
        ejection = self._outliers.finished(agent_id, outcome, len(self._views), now)
        if ejection is None:
            return None
        self._ejected_until[agent_id] = max(now + ejection.seconds, self._ejected_until.get(agent_id, 0.0))
        self.free.discard(agent_id)
        return ejection.seconds

    def readmit(self, agent_id: str, now: float) -> None:
        """The time of an ejection may be over."""
        view = self._views.get(agent_id)
        if view is not None:
            self._offer_again(view, now)

    def summary(self, now: float) -> dict[str, Any] | None:
        """What its strategy learned, for the others; None where it does not share, or fails to."""
        if isinstance(self.balancer, Learner):
            try:
                return self.balancer.summary(now)
            except Exception:  # any strategy's code; the dispatch loop goes on as well
                self.sharing_errors += 1
        return None

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        """Take over what the others learned."""
        if isinstance(self.balancer, Learner):
            try:
                self.balancer.merge(summaries, now)
            except Exception:
                self.sharing_errors += 1

    def _take(self, agent_id: str) -> None:
        view = self._views[agent_id]
        view.in_flight += 1
        if view.in_flight >= view.slots:
            self.free.discard(agent_id)

    def _offer_again(self, view: AgentView, now: float) -> None:
        if view.in_flight < view.slots and self._ejected_until.get(view.id, 0.0) <= now:
            self.free.add(view)
