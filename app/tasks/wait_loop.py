"""What waits is looked at: the clock, sub-tasks, room under keys. One pass is right when doubled or cut short.

Hints (`freed`) say what to look at now; every few seconds a pass looks at everything, so that a lost hint costs no
more than that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database
from app.core.failpoints import reach
from app.events.hub import Hub
from app.settings import DurableSettings
from app.tasks import admission, waits, waits_sql
from app.tasks.queue import Freed, Key
from app.tasks.waits import Resumed

BATCH = 500
FULL_S = 5.0
FORGET_S = 60.0


class WaitLoop:
    """Every manager runs it. `on_queued(pools)` is called when tasks may be claimed, `cancel_orphans(limit)` cancels
    sub-tasks whose caller has ended."""

    def __init__(
        self,
        db: Database,
        hub: Hub,
        clock: Clock,
        settings: DurableSettings,
        on_queued: Callable[[set[str]], None],
        cancel_orphans: Callable[[int], Awaitable[bool]],
    ) -> None:
        self._db, self._hub, self._clock, self._settings = db, hub, clock, settings
        self._on_queued, self._cancel_orphans = on_queued, cancel_orphans
        self._parents: set[UUID] = set()
        self._keys: set[Key] = set()
        self._full_at = self._forget_at = 0.0
        self.wake: Callable[[], None] = lambda: None

    def freed(self, freed: Freed) -> None:
        """Sub-tasks of these parents ended, or a key may have room."""
        self._parents |= freed.parents
        self._keys |= freed.keys
        self.wake()

    async def tick(self) -> float | None:
        now = self._clock.monotonic()
        full = now >= self._full_at
        parents, self._parents = self._parents, set()
        keys, self._keys = self._keys, set()
        try:
            more, next_s = await self._pass(parents, keys, full=full)
        except BaseException:
            self._parents |= parents
            self._keys |= keys
            raise
        if full and not more:
            self._full_at = now + FULL_S
        if more:
            return 0.0
        interval_s = self._settings.sweep_interval_s
        return interval_s if next_s is None else min(interval_s, max(0.001, next_s))

    async def _pass(self, parents: set[UUID], keys: set[Key], *, full: bool) -> tuple[bool, float | None]:
        more = False
        async with self._db.hot() as connection:
            resumed, some = await waits.resume_due(connection, BATCH)
            more |= some and bool(resumed)
            if full or parents:
                answered, some = await waits.resume_answered(
                    connection,
                    None if full else parents,
                    BATCH,
                    self._settings.max_steps_bytes,
                    self._settings.max_step_bytes,
                )
                resumed += answered
                self._hub.changed(await waits.note_progress(connection, parents - set(answered.ids)))
                more |= some and bool(answered)
            reach("waits.resumed")
            keys |= resumed.keys
            if keys or full:
                resumed.pools |= (await admission.admit(connection, None if full else keys)).keys()
            next_s = await waits.next_due_s(connection)
        self._tell(resumed)
        if full:
            more |= await self._cancel_orphans(BATCH)
            await self._forget()
        return more, next_s

    def _tell(self, resumed: Resumed) -> None:
        self._hub.changed(resumed.ids)
        if resumed.pools:
            self._on_queued(resumed.pools)

    async def _forget(self) -> None:
        if self._clock.monotonic() < self._forget_at:
            return
        self._forget_at = self._clock.monotonic() + FORGET_S
        async with self._db.begin() as connection:
            await connection.exec_driver_sql(waits_sql.FORGET_SIGNALS)
