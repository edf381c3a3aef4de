"""The events of a simulation, in the order of their times."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from app.dispatch.balancers.base import AgentView, Balancer, Learner, Outcome, TaskView
from app.dispatch.decide import backoff_s
from app.dispatch.outliers import Limits
from app.dispatch.simulator.managers import Manager, Timer
from app.dispatch.simulator.tally import Tally
from app.dispatch.simulator.waiting import Waiting
from app.dispatch.simulator.working import Attempt, Working
from app.dispatch.simulator.world import FASTEST_FAILURE_S, Arrival, SimAgent, World, dice
from app.dispatch.slots import owned

KEPT_RETRY_S = 0.1
"""A task that a strategy keeps queued is offered again after so long, or when a slot frees."""
SHARING_INTERVAL_S = 1.0
PATIENCE_S = 1800.0
"""So long after the last arrival, or as long as all attempts of one task may take if that is more, what has not ended
is given up as unfinished."""
LEAST_PRESENCE_S = 30.0
"""Agents that were there for less say nothing about how evenly work is spread."""

type Build = Callable[[Random], Balancer]


class _Task:
    __slots__ = ("arrival", "attempts", "last_agent", "ready_s", "view", "waited_s")

    def __init__(self, number: int, arrival: Arrival) -> None:
        self.arrival = arrival
        self.view = TaskView(str(number), arrival.type, arrival.complexity, 0.0, arrival.thread_id)
        self.attempts, self.waited_s, self.ready_s = 0, 0.0, arrival.at_s
        self.last_agent: str | None = None


class Simulation:
    """One run of one strategy in one world. `run` once.

    `build` makes the strategy, once a manager. `timer` (seconds) times the choices; nothing else depends on it.
    `limits` are those of outlier handling.
    """

    def __init__(
        self,
        world: World,
        build: Build,
        *,
        seed: int,
        managers: int = 1,
        timer: Timer = lambda: 0.0,
        limits: Limits | None = None,
    ) -> None:
        self.world, self.seed = world, seed
        self.tally = Tally(arrived=len(world.arrivals))
        self.now = 0.0
        bounds = limits or Limits()
        self.managers = [
            Manager(number, build(dice("strategy", seed, number)), bounds, timer) for number in range(managers)
        ]
        self._skills = dict.fromkeys(world.types, 1.0)  # a pool's, for all of its agents alike
        self._names = [f"m{number}" for number in range(managers)]
        self._dice = dice("engine", seed)
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = 0
        self._deadlines: deque[tuple[float, Attempt]] = deque()
        self._waiting = Waiting()
        self._tasks: dict[int, _Task] = {}
        self.working: dict[str, Working] = {}
        self._offering_again = [False] * managers
        self._learners = managers > 1 and isinstance(self.managers[0].balancer, Learner)
        self._sharing = False  # one is planned

    def run(self) -> Tally:
        """Every task to its end; the counts."""
        for agent in self.world.agents:
            self._at(agent.joins_s, self._join, agent)
        terms = self.world.terms
        patience_s = max(PATIENCE_S, terms.timeout_s * terms.max_attempts)
        last_s = (self.world.arrivals[-1].at_s if self.world.arrivals else 0.0) + patience_s
        for number, arrival in enumerate(self.world.arrivals):
            self._until(arrival.at_s)
            self._arrive(number, arrival)
        self.tally.backlog = len(self._waiting)
        while self._tasks and (next_s := self._next_s()) <= last_s:
            self._until(next_s)
        return self._close()

    def _at(self, time_s: float, action: Callable[[Any], None], what: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (time_s, self._order, action, what))

    def _next_s(self) -> float:
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].ended:
            deadlines.popleft()
        due = deadlines[0][0] if deadlines else math.inf
        return min(due, self._events[0][0]) if self._events else due

    def _until(self, time_s: float) -> None:
        """Let everything happen that is due by then."""
        events, deadlines = self._events, self._deadlines
        while True:
            while deadlines and deadlines[0][1].ended:
                deadlines.popleft()
            due = deadlines[0][0] if deadlines else math.inf
            if events and events[0][0] <= due:
                if events[0][0] > time_s:
                    break
                self.now, _, action, what = heapq.heappop(events)
                action(what)
            elif due <= time_s:
                self.now, attempt = deadlines.popleft()
                attempt.agent.abandon(attempt, self.now)
                self._plan(attempt.agent)
                self._ended(attempt, ok=False)
            else:
                break
        self.now = time_s

    def _join(self, agent: SimAgent) -> None:
        working = self.working[agent.id] = Working(agent, self.world.contention)
        for manager, name in zip(self.managers, self._names, strict=True):
            slots = owned(agent.id, agent.slots, self._names, name)
            if slots:
                manager.join(AgentView(agent.id, slots, 0, agent.weight, agent.version, self._skills), self.now)
                self._serve(manager)
        for time_s in working.spell_times():
            if time_s > self.now:
                self._at(time_s, self._spell_changed, working)
        if agent.leaves_s < math.inf:
            self._at(agent.leaves_s, self._leave, agent)

    def _leave(self, agent: SimAgent) -> None:
        for manager, name in zip(self.managers, self._names, strict=True):
            if owned(agent.id, agent.slots, self._names, name):
                manager.leave(agent.id, self.now)

    def _spell_changed(self, working: Working) -> None:
        working.spell_changed(self.now)
        self._plan(working)

    def _plan_sharing(self) -> None:
        """Something was learned: the managers exchange it at the next whole interval."""
        if self._learners and not self._sharing:
            self._sharing = True
            self._at((self.now // SHARING_INTERVAL_S + 1.0) * SHARING_INTERVAL_S, self._share, None)

    def _share(self, _: None) -> None:
        """The managers exchange what they learned."""
        self._sharing = False
        summaries = [(manager, manager.summary(self.now)) for manager in self.managers]
        for mine in self.managers:
            mine.merge([told for other, told in summaries if told is not None and other is not mine], self.now)

    def _arrive(self, number: int, arrival: Arrival) -> None:
        task = self._tasks[number] = _Task(number, arrival)
        self._waiting.add(number, task.view)
        self._serve_all()

    def _return(self, number: int) -> None:
        """A task's backoff is over."""
        task = self._tasks[number]
        task.ready_s = self.now
        self._waiting.add(number, task.view, first=True)
        self._serve_all()

    def _serve_all(self) -> None:
        """A task became claimable: any manager may be the first to see it."""
        count = len(self.managers)
        first = int(self._dice.random() * count) if count > 1 else 0
        for turn in range(count):
            if not len(self._waiting):
                return
            self._serve(self.managers[(first + turn) % count])

    def _serve(self, manager: Manager) -> None:
        """One manager claims what it has free slots for."""
        if not len(self._waiting) or not len(manager.free):
            return

        def take(number: int, view: TaskView) -> bool | None:
            return self._place(manager, number, view) if len(manager.free) else None

        kept = self._waiting.serve(take)
        if kept and not self._offering_again[manager.number]:
            self._offering_again[manager.number] = True
            self._at(self.now + KEPT_RETRY_S, self._offer_again, manager)

    def _offer_again(self, manager: Manager) -> None:
        self._offering_again[manager.number] = False
        self._serve(manager)

    def _place(self, manager: Manager, number: int, view: TaskView) -> bool:
        task = self._tasks[number]
        view.waited_s = self.now - task.ready_s
        chosen = manager.choose(view, task.last_agent, self.now)
        if chosen is None:
            return False
        task.waited_s += view.waited_s
        task.attempts += 1
        working = self.working[chosen]
        fails, work_s = self._fate(number, task, working.truth)
        attempt = Attempt(number, working, manager.number, self.now, fails)
        self._deadlines.append((self.now + self.world.terms.timeout_s, attempt))
        if working.start(attempt, work_s, self.now):
            self._plan(working)
        return True

    def _fate(self, number: int, task: _Task, agent: SimAgent) -> tuple[bool, float]:
        """Whether the attempt fails, and the seconds of normal work until it ends."""
        world, arrival = self.world, task.arrival
        kind = (arrival.type, agent.version)
        work_s = arrival.size_s * agent.slower * world.slower.get(kind, 1.0)
        luck = arrival.luck if task.attempts == 1 else dice(self.seed, number, task.attempts).random()
        usual = world.base_failure + world.failing.get(kind, 0.0)
        if luck < usual:
            return True, work_s
        fault = agent.fault
        if fault is not None and self.now >= fault.start_s and luck < usual + (1.0 - usual) * fault.share:
            return True, max(FASTEST_FAILURE_S, fault.after * work_s)
        return False, work_s

    def _plan(self, working: Working) -> None:
        working.plan += 1
        end_s = working.next_end_s()
        if end_s < math.inf:
            self._at(end_s, self._work_done, (working, working.plan))

    def _work_done(self, planned: tuple[Working, int]) -> None:
        working, plan = planned
        if plan != working.plan:
            return
        attempt = working.end_next(self.now)
        self._plan(working)
        self._ended(attempt, ok=not attempt.fails)

    def _ended(self, attempt: Attempt, *, ok: bool) -> None:
        task, manager = self._tasks[attempt.task], self.managers[attempt.manager]
        agent_id = attempt.agent.truth.id
        outcome = Outcome(ok, self.now - attempt.started_s)
        ejected_s = manager.ended(agent_id, task.view, outcome, self.now)
        self._plan_sharing()
        if ejected_s is not None:
            self._at(self.now + ejected_s, self._readmit, (manager, agent_id))
        terms = self.world.terms
        if ok:
            self._finish(attempt.task, task, ok=True)
        elif task.attempts >= terms.max_attempts:
            self._finish(attempt.task, task, ok=False)
        else:
            task.last_agent = agent_id
            spread = dice("backoff", self.seed, attempt.task, task.attempts).random()
            self._at(self.now + backoff_s(terms.retry, task.attempts, spread), self._return, attempt.task)
        self._serve(manager)

    def _readmit(self, ejected: tuple[Manager, str]) -> None:
        manager, agent_id = ejected
        manager.readmit(agent_id, self.now)
        self._serve(manager)

    def _finish(self, number: int, task: _Task, *, ok: bool) -> None:
        del self._tasks[number]
        tally = self.tally
        if ok:
            tally.succeeded += 1
        else:
            tally.failed += 1
        if task.arrival.at_s < self.world.count_from_s:
            return
        self._count(task, ended_well=ok)
        if ok:
            tally.latencies_s.append(self.now - task.arrival.at_s)

    def _count(self, task: _Task, *, ended_well: bool) -> None:
        tally = self.tally
        tally.counted += 1
        tally.counted_successes += ended_well
        tally.attempts += task.attempts
        tally.failures += task.attempts - ended_well
        tally.waits_s.append(task.waited_s)

    def _close(self) -> Tally:
        tally = self.tally
        tally.unfinished = len(self._tasks)
        for task in self._tasks.values():
            if task.arrival.at_s >= self.world.count_from_s:
                self._count(task, ended_well=False)
        for manager in self.managers:
            tally.choices += manager.choices
            tally.deferrals += manager.deferrals
            tally.choice_s += manager.choice_s
            tally.errors += manager.guarded.errors + manager.sharing_errors
        for working in self.working.values():
            agent = working.truth
            present_s = min(agent.leaves_s, self.now) - agent.joins_s
            if present_s >= LEAST_PRESENCE_S or present_s >= self.now:
                tally.busy.append(working.busy_s / (present_s * agent.slots) if present_s else 0.0)
        return tally
