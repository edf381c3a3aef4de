"""ai_optimized: the cheapest agent, by what it has shown; or a wait, where waiting costs less.

What placing a task of type t on agent i costs, in seconds:

    cost = usual(t, class of i) x slowness(i) x warm-up(i) x (1 + LOAD_COST x share of its slots in use)
         + failure rate x what a failure costs

The parts are learned from finished attempts (see `ai`); the class is the agent's version. A handful of free agents is
compared: those freed last, some of the class that suits the type best ("home"), some of any. If even the cheapest is
no match, the task is left queued for a while that grows with the time a match would save. An agent whose breaker is
open is not considered.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from app.dispatch.balancers.ai import journal
from app.dispatch.balancers.ai.costs import Row
from app.dispatch.balancers.ai.journal import Considered, Journal
from app.dispatch.balancers.ai.knowledge import STALE_S, Knowledge
from app.dispatch.balancers.ai.queueing import Queueing
from app.dispatch.balancers.ai.threads import Threads
from app.dispatch.balancers.base import AgentView, Balancer, Offer, Outcome, TaskView

FREED = 4
"""Agents freed last that are looked at: near saturation these are most of the free ones."""

AT_HOME, ANYWHERE = 4, 4
"""Agents drawn of the home class, and of all."""

SEARCH = 32
"""Agents drawn when all of those were ejected."""

LOAD_COST = 0.15
"""How much slower a full agent is taken to be: little, so that it decides between equals only."""

UNBOUNDED = 10_000
"""An agent with so many slots does not say how much it can take: each task it has is then taken to delay the next by as
much as the task takes itself."""

PATIENCE = 0.1
"""Seconds of waiting for each second that a match would save."""

WORTH = 0.2
"""A match that would save less than this share of the usual cost is not waited for: it may be noise."""

SLOW = 2.5
"""An agent so many times dearer than usual is no match, whatever its class."""

YIELDING = 1000.0
"""Times the patience for which a task leaves an agent to another type that waits for it. Long, as a mismatch takes more
of the agent's time than a match: where all classes are short, tasks on the wrong ones make the shortage last."""

AT_ONCE = 0.05
"""A task that waited less than this share of its usual time was placed at once: nothing queues."""

THREAD_COST = 1.25
"""The agent that served the thread last may be so many times dearer than the cheapest: it knows the conversation."""


class AiOptimized(Balancer):
    """See the module's text. Also a `Learner` and an `Ejector`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._known = Knowledge(random.Random(rng.random()))  # noqa: S311 - a spread, not a secret
        self._queueing = Queueing()
        self._threads = Threads()
        self._journal = Journal()
        self._freed: deque[str] = deque(maxlen=FREED)

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        row = self._known.costs.row(task.type, now)
        considered = self._weigh(row, self._candidates(row, offer), now)
        if not considered:
            considered = self._weigh(row, offer.draw(self._rng, SEARCH), now)
        chosen, why = self._decide(task, row, offer, considered, now)
        record = self._known.records.get(chosen) if chosen is not None else None
        if record is not None and record.breaker.is_open:
            record.breaker.reserve(task.id, now)  # a pass chooses for many tasks before any starts
        self._journal.add(now, task.id, task.type, task.waited_s, chosen, why, row.home_cost, considered)
        return chosen

    def _decide(
        self, task: TaskView, row: Row, offer: Offer, considered: Sequence[Considered], now: float
    ) -> tuple[str | None, str]:
        """The agent, or None to wait, and why."""
        if not considered:
            return None, journal.NONE_FIT
        best = min(considered, key=_cost)
        why = self._worth_waiting(task, row, best, now)
        if why is not None:
            return None, why
        if task.thread_id is not None:
            former = self._served_last(task.thread_id, row, offer, THREAD_COST * best[1], now)
            if former is not None:
                return former, journal.THREAD
        return best[0], journal.CHEAPEST

    def _candidates(self, row: Row, offer: Offer) -> list[AgentView]:
        """A few different free agents."""
        rng = self._rng
        some = {view.id: view for view in offer.draw(rng, ANYWHERE)}
        for view in offer.draw(rng, AT_HOME, row.home):
            some[view.id] = view
        for agent_id in self._freed:
            if agent_id not in some:
                freed = offer.get(agent_id)
                if freed is not None:
                    some[agent_id] = freed
        return list(some.values())

    def _weigh(self, row: Row, views: Sequence[AgentView], now: float) -> list[Considered]:
        """What each of them would cost, without those left alone."""
        known = self._known
        records, cells, penalty = known.records, row.cells, row.penalty
        considered = []
        for view in views:
            record = records.get(view.id)
            load = view.in_flight / (view.slots if view.slots < UNBOUNDED else LOAD_COST)
            if record is None:  # not announced: nothing is known of it
                seconds, slow, warm, failing = row.seconds, 1.0, 1.0, row.failing
            else:
                if record.breaker.is_open and not record.breaker.admits(now):
                    continue
                if now - record.at > STALE_S:
                    known.refresh(record, now)
                cell = cells[record.cls]
                seconds, slow, failing = cell.seconds, record.slowness, cell.failing + record.excess_rate
                warm = 1.0 if record.warm_since is None else record.warmth(now)
            cost = seconds * slow * warm * (1.0 + LOAD_COST * load) + failing * penalty
            considered.append((view.id, cost, seconds, slow, warm, load, failing))
        return considered

    def _worth_waiting(self, task: TaskView, row: Row, best: Considered, now: float) -> str | None:
        """Why the task should rather wait than go to the cheapest agent considered; None if it should go."""
        agent_id, _, seconds, slow, _, _, failing = best
        usual = row.home_cost
        saves = seconds * slow + failing * row.penalty - usual  # neither load nor newness is worth a wait
        if saves <= WORTH * usual:
            return None
        record = self._known.records.get(agent_id)
        away = record is not None and record.cls != row.home
        if not away and saves <= (SLOW - 1.0) * usual:
            return None
        patience = PATIENCE * saves
        if task.waited_s < patience:
            why = journal.WAIT_HOME if away else journal.WAIT_SLOW
        elif (
            record is not None
            and away
            and task.waited_s < YIELDING * patience
            and self._queueing.wanted(record.cls, row.name, now)
        ):
            why = journal.WAIT_WANTED
        else:
            return None
        self._queueing.waits(row.name, row.home, task.waited_s, now)
        return why

    def _served_last(self, thread_id: str, row: Row, offer: Offer, limit: float, now: float) -> str | None:
        """The agent that served the thread last, if it is free, healthy and costs at most `limit`."""
        record = self._threads.last(thread_id)
        if record is None or record.breaker.is_open:
            return None
        view = offer.get(record.id)
        if view is None:
            return None
        weighed = self._weigh(row, (view,), now)
        return record.id if weighed and weighed[0][1] <= limit else None

    def joined(self, agent: AgentView, now: float) -> None:
        record = self._known.records.get(agent.id)
        if record is not None and record.version != agent.version:
            self.left(agent.id, now)
        self._known.join(agent, now)

    def left(self, agent_id: str, now: float) -> None:
        record = self._known.leave(agent_id, now)
        if record is None:
            return
        self._threads.left(record)
        self._journal.forget(agent_id)
        if agent_id in self._freed:
            self._freed = deque((one for one in self._freed if one != agent_id), maxlen=FREED)

    def started(self, agent_id: str, task: TaskView, now: float) -> None:
        record = self._known.records.get(agent_id)
        if record is None:
            return
        if record.breaker.is_open:
            record.breaker.began(task.id, now)
        row = self._known.costs.row(task.type, now)
        if task.waited_s < AT_ONCE * row.seconds:
            self._queueing.at_once(row.name, row.home)
        else:
            self._queueing.waits(row.name, row.home, task.waited_s, now)
        if task.thread_id is not None:
            self._threads.served(task.thread_id, record)

    def finished(self, agent_id: str, task: TaskView, outcome: Outcome, now: float) -> None:
        record = self._known.records.get(agent_id)
        if record is None:
            return
        self._freed.append(agent_id)
        self._known.learn(record, task.id, task.type, outcome, now)

    def summary(self, now: float) -> dict[str, Any]:
        return self._known.summary(now)

    def merge(self, summaries: Sequence[Mapping[str, Any]], now: float) -> None:
        self._known.merge(summaries, now)

    def learned(self, now: float) -> dict[str, Any]:
        return self._known.learned(now)

    def last_choices(self) -> Sequence[Mapping[str, Any]]:
        return self._journal.read()

    def ejected(self, now: float) -> Mapping[str, tuple[float, str]]:
        return self._known.ejected(now)


def _cost(considered: Considered) -> float:
    return considered[1]
