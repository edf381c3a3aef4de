"""Writing what happened to attempts, in batches, through outages of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from app.core.batch import Batcher
from app.core.db import Database, HotConnection
from app.core.errors import Problem
from app.core.http import DATABASE_AWAY, is_bad_row
from app.dispatch.telemetry import STALE
from app.events.hub import Hub
from app.tasks import queue
from app.tasks.queue import Freed, Note, Settled

log = structlog.get_logger()

RETRY_CAP_S = 2.0
BATCH_BYTES = 4 * 1024 * 1024


class Settler:
    """`on_delayed()` is called when a task was queued for later, `on_freed` when a sub-task or a keyed one ended.

    `settle` writes an ended attempt and says whether it was still ours; `note` adds an event to a running task.

    While the database is away both wait and try again: what an agent has done is not thrown away. `give_up` ends the
    waiting at shutdown; what is not written then is rescued by another manager.
    """

    def __init__(
        self,
        db: Database,
        hub: Hub,
        *,
        batch: int,
        on_delayed: Callable[[], None] = lambda: None,
        on_freed: Callable[[Freed], None] = lambda _freed: None,
    ) -> None:
        self._db, self._hub, self._on_delayed, self._on_freed = db, hub, on_delayed, on_freed
        self._giving_up = asyncio.Event()
        self._settles: Batcher[Settled, bool] = Batcher(
            self._write_settled,
            limit=batch,
            weigh=lambda item: len(item.result or ""),
            max_weight=BATCH_BYTES,
            isolate=is_bad_row,
        )
        self._notes: Batcher[Note, bool] = Batcher(
            self._write_notes,
            limit=batch,
            weigh=lambda note: len(note.data) + len(note.result or ""),
            max_weight=BATCH_BYTES,
            isolate=is_bad_row,
        )

    async def settle(self, ended: Settled) -> bool:
        """Durable when this returns. False: the attempt was no longer current and nothing was written."""
        return await self._settles.put(ended)

    def note(self, note: Note) -> asyncio.Future[bool]:
        """Durable when the future is done; False as above."""
        return self._notes.put_nowait(note)

    @property
    def notes_waiting(self) -> int:
        return self._notes.waiting

    async def close(self) -> None:
        await self._notes.close()
        await self._settles.close()

    def give_up(self) -> None:
        self._giving_up.set()

    async def _write_settled(self, ended: Sequence[Settled]) -> list[bool]:
        freed = Freed()
        ours = await self.insist(lambda connection: queue.settle(connection, ended, freed), "settle")
        self._hub.changed([task_id for task_id, _ in ours])
        if any(item.delay_s for item in ended):
            self._on_delayed()
        if freed:
            self._on_freed(freed)
        answers = [(item.id, item.fence) in ours for item in ended]
        STALE.inc(answers.count(False))
        return answers

    async def _write_notes(self, notes: Sequence[Note]) -> list[bool]:
        ours = await self.insist(lambda connection: queue.record(connection, notes), "note")
        self._hub.changed({task_id for task_id, _ in ours})
        return [(note.task_id, note.fence) in ours for note in notes]

    async def insist[T](self, write: Callable[[HotConnection], Awaitable[T]], what: str) -> T:
        """What `write` returns, once the database is there. `what` names it in the log."""
        delay_s, logged = 0.05, False
        while True:
            try:
                async with self._db.hot() as connection:
                    return await write(connection)
            except (*DATABASE_AWAY, Problem) as exc:
                if not logged:
                    log.warning("write_waits_for_database", what=what, error=repr(exc))
                logged = True
                if self._giving_up.is_set():
                    raise
            delay_s = min(RETRY_CAP_S, delay_s * 2)
            await asyncio.sleep(delay_s)
