"""The pool at work: replicas that start, serve and drain, and the queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Literal

from app.scaling.simulator.world import Task

type State = Literal["starting", "ready", "draining", "gone"]


class Replica:
    """One replica, the `number`th that was launched; `running` tasks hold its slots."""

    __slots__ = ("number", "running", "state")

    def __init__(self, number: int) -> None:
        self.number, self.running = number, 0
        self.state: State = "starting"


class Fleet:
    """Replicas and queue at one moment. Tasks run on the replica with the most free slots, in order of arrival.

    `running` counts all tasks that hold a slot, `serving` those of them on replicas that are not leaving.
    `replica_s` is what was paid for by `at_s`: a replica costs from its launch until it is gone.
    """

    __slots__ = ("_by_running", "_launched", "at_s", "draining", "queue", "ready", "replica_s", "running", "serving",
                 "slots", "starting")  # fmt: skip

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.queue: deque[Task] = deque()
        self.starting: dict[int, Replica] = {}
        self._by_running: list[dict[int, Replica]] = [{} for _ in range(slots + 1)]
        self.ready = self.draining = self.running = self.serving = self._launched = 0
        self.at_s = self.replica_s = 0.0

    @property
    def wanted(self) -> int:
        """Replicas that serve or will: what an autoscaler's number is compared with."""
        return len(self.starting) + self.ready

    @property
    def alive(self) -> int:
        """Replicas that cost something."""
        return self.wanted + self.draining

    def advance(self, now: float) -> None:
        """Let time pass; nothing changes in between."""
        self.replica_s += self.alive * (now - self.at_s)
        self.at_s = now

    def launch(self) -> Replica:
        """A new replica, which is `starting`."""
        replica = self.starting[self._launched] = Replica(self._launched)
        self._launched += 1
        return replica

    def become_ready(self, replica: Replica) -> bool:
        """Its cold start is over; False where it was given up meanwhile."""
        if self.starting.pop(replica.number, None) is None:
            return False
        replica.state = "ready"
        self.ready += 1
        self._by_running[0][replica.number] = replica
        return True

    def serve(self) -> Iterator[tuple[Task, Replica]]:
        """Start queued tasks while there is a free slot: (task, where)."""
        while self.queue and (replica := self._least_busy()) is not None:
            self._move(replica, 1)
            self.running += 1
            self.serving += 1
            yield self.queue.popleft(), replica

    def finish(self, replica: Replica) -> None:
        """One of its tasks is done; the last one of a leaving replica ends it."""
        self.running -= 1
        if replica.state == "ready":
            self.serving -= 1
            self._move(replica, -1)
            return
        replica.running -= 1
        if replica.running == 0:
            self._end(replica)

    def shrink(self, count: int) -> None:
        """Let `count` replicas go: those that are not ready yet, then idle ones, then the least busy, of equals the
        oldest. They take nothing new and finish what they run."""
        for _ in range(count):
            if self.starting:
                self.starting.popitem()[1].state = "gone"
            else:
                self._drain(next(level for level in self._by_running if level))

    def _drain(self, level: dict[int, Replica]) -> None:
        replica = level.pop(min(level))
        replica.state = "draining"
        self.ready -= 1
        self.draining += 1
        self.serving -= replica.running
        if replica.running == 0:
            self._end(replica)

    def _end(self, replica: Replica) -> None:
        replica.state = "gone"
        self.draining -= 1

    def _least_busy(self) -> Replica | None:
        for level in self._by_running[:-1]:
            if level:
                return next(iter(level.values()))
        return None

    def _move(self, replica: Replica, by: int) -> None:
        del self._by_running[replica.running][replica.number]
        replica.running += by
        self._by_running[replica.running][replica.number] = replica
