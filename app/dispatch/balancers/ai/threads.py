"""Which agent served a conversation last, for a bounded number of conversations."""

from __future__ import annotations

from app.dispatch.balancers.ai.record import Record

MAX_THREADS = 10_000
"""Conversations remembered; the one unused for longest is forgotten first."""


class Threads:
    """Thread id -> record of the agent, in order of last use."""

    __slots__ = ("_served",)

    def __init__(self) -> None:
        self._served: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._served)

    def last(self, thread_id: str) -> Record | None:
        return self._served.get(thread_id)

    def served(self, thread_id: str, record: Record) -> None:
        """The agent works on the thread now."""
        self._forget(thread_id)
        if len(self._served) >= MAX_THREADS:
            self._forget(next(iter(self._served)))
        self._served[thread_id] = record
        if record.threads is None:
            record.threads = set()
        record.threads.add(thread_id)

    def left(self, record: Record) -> None:
        """The agent is gone: its conversations may go on anywhere."""
        for thread_id in record.threads or ():
            del self._served[thread_id]
        record.threads = None

    def _forget(self, thread_id: str) -> None:
        before = self._served.pop(thread_id, None)
        if before is not None and before.threads is not None:
            before.threads.discard(thread_id)
