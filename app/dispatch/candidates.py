"""What this manager could start next, read ahead of the slots that become free.

A pool that is drained fast would spend its time waiting for reads of the queue: what was read too much last time is
kept for a moment instead. Nothing here is locked or ours; `queue.start` looks at every task again. A hint that
something came into a pool's queue drops what is kept for it, so that nothing is overtaken by more than one read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.tasks.queue import Ready

KEPT_S = 0.1
"""Longest time that a task read ahead is kept."""
AHEAD = 4
"""A pool whose last read was used up within KEPT_S is read this many times its free slots."""
MAX_SHARES = 4
"""With more managers than this, two may look at the same tasks first."""
SHARED_FROM = 8
"""Fewer tasks than this are not shared out: two managers seldom meet over so few."""
LEFT_S = 0.05
"""What was left to another manager for so long, and still waits, is anyone's: that one may have no free slot."""


@dataclass(slots=True)
class _Kept:
    tasks: list[Ready] = field(default_factory=list)
    read_at: float = float("-inf")
    more: bool = True  # the read came back full


@dataclass(frozen=True, slots=True)
class Share:
    """Which of `count` managers this one is, 0-based: of a long queue each takes its own share, so that two managers
    do not run after the same tasks."""

    index: int = 0
    count: int = 1

    def limit(self, count: int) -> int:
        """How many to read so that the own share of them is `count`."""
        return count if count < SHARED_FROM else count * min(self.count, MAX_SHARES)

    def owns(self, task: Ready) -> bool:
        """As `queue.ready` decides it: by the last byte of the id, which is random."""
        return (task.id.int & 0xFF) % self.count == self.index


@dataclass(frozen=True, slots=True)
class Read:
    """What to read of a pool: up to `limit` tasks, only of the own share or of all."""

    limit: int
    own: bool = False


class Candidates:
    """Tasks by pool, in the order in which they should start."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._reading: set[str] = set()
        self._left: dict[str, dict[UUID, float]] = {}  # when a task was first left to another manager, by pool
        self._looked_at: dict[str, float] = {}  # when a long queue was last looked at as a whole, by pool

    def drop(self, pools: Iterable[str]) -> None:
        """Something came into these pools' queues: what is kept, or being read right now, is out of date."""
        for pool in pools:
            self._kept.pop(pool, None)
            self._looked_at.pop(pool, None)
            self._reading.discard(pool)

    def to_read(self, wanted: Mapping[str, int], share: Share, now: float) -> dict[str, Read]:
        """What to read, by pool: nothing where enough is kept.

        Of a queue that was long a moment ago only the own share is read: what others take would be read for nothing.
        """
        reads = {}
        for pool, count in wanted.items():
            kept = self._kept.get(pool)
            fresh = kept is not None and now - kept.read_at < KEPT_S
            if kept is not None and fresh and (len(kept.tasks) >= count or not kept.more):
                continue
            limit = count * AHEAD if fresh else count
            own = share.count > 1 and now - self._looked_at.get(pool, float("-inf")) < LEFT_S
            reads[pool] = Read(limit, own=True) if own else Read(share.limit(limit))
        self._reading = set(reads)
        return reads

    def put(self, reads: Mapping[str, Read], found: Iterable[Ready], share: Share, now: float) -> None:
        """What these reads found; `now` from before they began."""
        by_pool: dict[str, list[Ready]] = {pool: [] for pool in reads}
        for task in found:
            by_pool[task.pool].append(task)
        for pool, tasks in by_pool.items():
            kept = self._found(pool, reads[pool], tasks, share, now)
            if pool in self._reading:  # else a hint came meanwhile, and it is for this pass only
                kept.read_at = now
            else:
                kept.more = True
            self._kept[pool] = kept

    def _found(self, pool: str, read: Read, tasks: list[Ready], share: Share, now: float) -> _Kept:
        full = len(tasks) >= read.limit
        if read.own:
            if not full:
                self._looked_at.pop(pool, None)
            return _Kept(tasks)
        if share.count > 1 and full and len(tasks) >= SHARED_FROM:
            self._looked_at[pool] = now
        else:
            self._looked_at.pop(pool, None)
        return _Kept(self._shared_out(pool, tasks, full, share, now), more=full)

    def _shared_out(self, pool: str, tasks: list[Ready], full: bool, share: Share, now: float) -> list[Ready]:
        """Of a long queue the own share, in the queue's order; of a short one all, in each priority the own first."""
        before = self._left.pop(pool, {})
        if share.count <= 1 or len(tasks) < SHARED_FROM:
            return tasks
        left = {task.id: before.get(task.id, now) for task in tasks if not share.owns(task)}
        self._left[pool] = left
        theirs = {task_id for task_id, since in left.items() if now - since < LEFT_S}
        if full:
            return [task for task in tasks if task.id not in theirs]
        return sorted(tasks, key=lambda task: (-task.priority, task.id in theirs))

    def take(self, pool: str, count: int) -> list[Ready]:
        """The next `count` tasks of the pool; they are not kept any longer."""
        kept = self._kept.get(pool)
        if kept is None:
            return []
        taken, kept.tasks = kept.tasks[:count], kept.tasks[count:]
        return taken

    def give_back(self, pool: str, tasks: Sequence[Ready]) -> None:
        """Keep again what was taken and is still to be started."""
        kept = self._kept.get(pool)
        if kept is not None and tasks:
            kept.tasks[:0] = tasks

    def may_have(self, pool: str) -> bool:
        """Whether the pool's queue may hold more than was taken."""
        kept = self._kept.get(pool)
        return kept is None or bool(kept.tasks) or kept.more
