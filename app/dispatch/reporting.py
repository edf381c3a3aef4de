"""What an agent says while it runs one attempt: stored, passed on, counted."""

from __future__ import annotations

import asyncio
from uuid import UUID

from app.core.jsonbody import dump_json
from app.dispatch.settler import Settler
from app.events.hub import Hub
from app.events.numbering import Numbering
from app.tasks.queue import Note, UsageRow

MAX_NOTES_WAITING = 5_000


class Report:
    """The sink of one attempt. `spent` is the usage told so far: it counts even when the attempt is broken off."""

    def __init__(self, settler: Settler, hub: Hub, task_id: UUID, fence: int) -> None:
        self._settler, self._hub, self._task_id, self._fence = settler, hub, task_id, fence
        self._numbering = Numbering(fence)
        self._notes: list[asyncio.Future[bool]] = []
        self.spent: list[UsageRow] = []

    def progress(self, data: dict[str, object]) -> None:
        """Store a progress event. When far more arrive than can be written, the newest are dropped."""
        if self._settler.notes_waiting < MAX_NOTES_WAITING:
            self._note("task.progress", data)

    def step(self, name: str, result: str) -> None:
        """Store a finished step; never dropped."""
        self._note("task.step", {"name": name}, name, result)

    def token(self, data: dict[str, object]) -> None:
        """Pass a token on to those who watch."""
        n, note = self._numbering.token()
        self._hub.token(self._task_id, self._fence, n, note, data)

    def usage(self, row: UsageRow) -> None:
        self.spent.append(row)

    @property
    def told(self) -> dict[str, int]:
        """After how many tokens the attempt ends, for the event that ends it."""
        return self._numbering.ending()

    def ending(self, data: str) -> str:
        """The same, in that event's data (a JSON object as text)."""
        told = dump_json(self.told)
        return told if data == "{}" else f"{data[:-1]},{told[1:]}"

    async def written(self) -> None:
        """Wait until all that was said before is stored: what ends the attempt depends on it."""
        if self._notes:
            await asyncio.gather(*self._notes, return_exceptions=True)
            for note in self._notes:
                note.result()  # a step that cannot be stored must not be passed over
            self._notes.clear()

    def _note(
        self, event_type: str, data: dict[str, object], step: str | None = None, result: str | None = None
    ) -> None:
        self._notes = [note for note in self._notes if not note.done() or note.exception() is not None]
        told = dump_json({**data, **self._numbering.note()})
        self._notes.append(self._settler.note(Note(self._task_id, self._fence, event_type, told, step, result)))
