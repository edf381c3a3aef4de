"""The concurrent parts of one async handler: `asyncio.gather` and task groups around its steps."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from yardmaster.journal import Journal
from yardmaster.limits import Limits

TURNS = 8
"""Turns of the loop in which the siblings of a new step may ask for theirs."""

_owner: ContextVar["Siblings | None"] = ContextVar("owner", default=None)


class Siblings:
    """Which steps are in progress, and who waits for that to change. Lives in the loop."""

    def __init__(self, journal: Journal, limits: Limits) -> None:
        self._journal = journal
        self._limits = limits
        self._running: dict[str, asyncio.Task[None] | None] = {}
        self._changed = asyncio.Event()

    def own(self) -> None:
        """The current task, and all it starts, are parts of this handler."""
        _owner.set(self)

    def notify(self) -> None:
        """Something was asked for, began or ended: whoever waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """A step is in progress."""
        self._running[name] = asyncio.current_task()
        self.notify()
        try:
            yield
        finally:
            del self._running[name]
            self.notify()

    async def idle(self) -> None:
        """Wait until no step is in progress."""
        while self._running:
            await self._changed.wait()

    async def finish(self) -> None:
        """Before a wait unwinds the handler: let the steps in progress end, and their errors reach the handler."""
        if self._running:
            await self.idle()
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def let_start(self, name: str) -> None:
        """Before the new step `name`: let siblings ask for the stored ones first.

        A few turns of the loop; up to `siblings_s` when the handler has other tasks under way, which may be
        busy with something that isn't a step. PermanentError "steps_mismatch" when stored ones stay missing.
        """
        for _ in range(TURNS):
            if self._may_start():
                return
            await asyncio.sleep(0)
        if self._concurrent():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.siblings_s):
                    while not self._may_start():
                        await self._changed.wait()
        self._journal.check_open()
        if not self._running:
            self._journal.check_match(name)

    def cancel(self) -> None:
        """End the steps that outlived their handler."""
        for task in self._running.values():
            if task is not None:
                task.cancel()

    def _may_start(self) -> bool:
        self._journal.check_open()
        return self._journal.complete or bool(self._running)

    def _concurrent(self) -> bool:
        current = asyncio.current_task()
        return any(task is not current and task.get_context().get(_owner) is self for task in asyncio.all_tasks())
