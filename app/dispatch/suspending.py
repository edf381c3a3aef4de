"""Suspending from the dispatcher's side: through outages of the database, and telling who can go on."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import structlog

from app.core.db import HotConnection
from app.dispatch.settler import Settler
from app.events.hub import Hub
from app.registry.view import RegistryView
from app.tasks.queue import Freed
from app.tasks.suspension import Declined, Suspended, Suspending, Suspensions

log = structlog.get_logger()


class Suspender:
    """`on_queued(pools)`: tasks may be claimed; `on_freed(freed)`: others may go on; `on_delayed()`: a wait has a due
    time."""

    def __init__(
        self,
        suspensions: Suspensions,
        settler: Settler,
        hub: Hub,
        view: RegistryView,
        *,
        on_queued: Callable[[set[str]], None],
        on_freed: Callable[[Freed], None],
        on_delayed: Callable[[], None],
    ) -> None:
        self._suspensions, self._settler, self._hub, self._view = suspensions, settler, hub, view
        self._on_queued, self._on_freed, self._on_delayed = on_queued, on_freed, on_delayed

    async def suspend(self, item: Suspending) -> bool:
        """Durable when this returns; False: the attempt was no longer current. Raises Declined."""
        try:
            done = await self._written(item)
        except Declined as exc:
            if exc.code not in ("pool_not_found", "no_pool_for_type"):
                raise
            await self._view.refresh()  # it may have been defined a moment ago, on another manager
            done = await self._written(item)
        if done.ours:
            self._tell(item, done)
        return done.ours

    async def _written(self, item: Suspending) -> Suspended:
        async def write(connection: HotConnection) -> Suspended:
            return await self._suspensions.suspend(connection, item)

        try:
            return await self._settler.insist(write, "suspend")
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as exc:
            log.error("suspend_unstorable", task_id=str(item.task_id), error=repr(exc))
            raise Declined("suspend_unstorable", f"The wish to wait cannot be stored: {type(exc).__name__}.") from None

    def _tell(self, item: Suspending, done: Suspended) -> None:
        self._hub.changed([item.task_id])
        self._suspensions.committed(done)
        if done.freed:
            self._on_freed(done.freed)
        if done.resumed.pools:
            self._on_queued(done.resumed.pools)
        if done.resumed.keys:
            self._on_freed(Freed(keys=done.resumed.keys))
        self._on_delayed()
