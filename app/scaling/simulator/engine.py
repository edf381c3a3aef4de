"""The events of a simulation, in the order of their times."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from app.scaling.simulator.lens import Autoscaler, Lens, Size
from app.scaling.simulator.replicas import Fleet, Replica
from app.scaling.simulator.tally import Tally
from app.scaling.simulator.world import Task, World, dice, log_normal

COLD_START_CV = 0.2
PICTURE_S = 20.0
"""How often the state is noted for the figure."""
PATIENCE_S = 30 * 86_400.0
"""What has not begun so long after the last arrival never will."""


class Simulation:
    """One run of one autoscaler in one world. `run` once.

    It goes on after the last arrival until every task is done. RuntimeError where none ever would be: the autoscaler
    wants no replica while tasks wait.
    """

    def __init__(self, world: World, autoscaler: Autoscaler) -> None:
        self.world, self.autoscaler = world, autoscaler
        self.fleet, self.lens = Fleet(world.bounds.slots), Lens(world)
        self.tally = Tally(arrived=len(world.tasks))
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = 0
        self._starts = 0

    def run(self) -> Tally:
        """Every task to its end; the counts."""
        for _ in range(self.world.replicas):
            self.fleet.become_ready(self.fleet.launch())
        self._at(self.autoscaler.interval_s, self._tick, None)
        self._at(self.world.count_from_s, self._count_from, None)
        self._at(0.0, self._picture, None)
        for gap in self.world.gaps:
            self._at(gap.start_s, self._gap, None)
        for task in self.world.tasks:
            self._until(task.at_s)
            self.fleet.queue.append(task)
            self._serve()
        self._until(self.world.duration_s)
        self._close()
        self._finish()
        return self.tally

    def _finish(self) -> None:
        """Let what is left run to its end."""
        enough_s = self.world.duration_s + PATIENCE_S
        while self.fleet.queue or self.fleet.running:
            if self._events[0][0] > enough_s:
                raise RuntimeError("tasks wait, and the autoscaler wants no replica")
            self._until(self._events[0][0])

    def _at(self, time_s: float, action: Callable[[Any], None], what: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (time_s, self._order, action, what))

    def _until(self, time_s: float) -> None:
        """Let everything happen that is due by then."""
        events, fleet = self._events, self.fleet
        while events and events[0][0] <= time_s:
            now, _, action, what = heapq.heappop(events)
            fleet.advance(now)
            action(what)
        fleet.advance(time_s)

    def _serve(self) -> None:
        now = self.fleet.at_s
        for task, replica in self.fleet.serve():
            if self.world.count_from_s <= task.at_s:
                self.tally.waits_s.append(now - task.at_s)
            self._at(now + task.service_s, self._done, (task, replica))

    def _done(self, ended: tuple[Task, Replica]) -> None:
        task, replica = ended
        self.tally.finished += 1
        self.lens.ended(task.service_s)
        self.fleet.finish(replica)
        self._serve()

    def _ready(self, replica: Replica) -> None:
        if self.fleet.become_ready(replica):
            self._serve()

    def _tick(self, _none: None) -> None:
        fleet, bounds = self.fleet, self.world.bounds
        now = fleet.at_s
        before = fleet.wanted
        seen = self.lens.look(fleet)
        asked = self.autoscaler.desired(seen, Size(before, fleet.ready), now)
        wanted = max(bounds.min, min(bounds.max, asked))
        if wanted != before and self._counting():
            self.tally.changes += 1
        for _ in range(wanted - before):
            self._launch(now)
        fleet.shrink(max(0, before - wanted))
        self._at(now + self.autoscaler.interval_s, self._tick, None)

    def _launch(self, now: float) -> None:
        replica = self.fleet.launch()
        rng = dice("cold", self.world.seed, self._starts)
        self._starts += 1
        self._at(now + log_normal(rng, self.world.bounds.cold_start_s, COLD_START_CV), self._ready, replica)

    def _counting(self) -> bool:
        return self.world.count_from_s <= self.fleet.at_s < self.world.duration_s

    def _count_from(self, _: None) -> None:
        self.tally.uncounted_s = self.fleet.replica_s

    def _gap(self, _: None) -> None:
        self.lens.keep(self.fleet)

    def _picture(self, _: None) -> None:
        if self.fleet.at_s <= self.world.duration_s:
            self.tally.times_s.append(self.fleet.at_s)
            self.tally.replicas.append(self.fleet.alive)
            self.tally.queued.append(len(self.fleet.queue))
            self._at(self.fleet.at_s + PICTURE_S, self._picture, None)

    def _close(self) -> None:
        self.tally.counted_s = self.world.duration_s - self.world.count_from_s
        self.tally.replica_s = self.fleet.replica_s - self.tally.uncounted_s
