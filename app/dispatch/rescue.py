"""Putting right what crashes leave behind: tasks of dead managers, and our own memory against the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog

from app.core.clock import Clock
from app.core.db import Database
from app.dispatch import decide
from app.dispatch.attempt import Attempts
from app.dispatch.decide import Tried
from app.dispatch.loop import DispatchLoop
from app.dispatch.membership import Membership
from app.dispatch.settler import Settler
from app.dispatch.telemetry import RESCUED
from app.events.hub import Hub
from app.registry.service import Registry
from app.registry.view import RegistryView
from app.settings import DispatchSettings
from app.tasks import queue
from app.tasks.queue import Freed

log = structlog.get_logger()

BATCH = 1000
ORPHAN_AFTER_S = 5.0
HEARS_WITHIN_S = 60.0
RETIRE_AFTER = timedelta(seconds=5)

_OURS = """
SELECT id, fence, attempt, max_attempts FROM tasks
WHERE status = 'running' AND manager_id = $1 AND attempt_started_at < clock_timestamp() - make_interval(secs => $2)
"""
_DRAINED = """
SELECT id FROM agents a WHERE id = ANY($1)
  AND (heartbeat_at IS NULL OR heartbeat_at < clock_timestamp() - make_interval(secs => $2)
    OR updated_at < clock_timestamp() - make_interval(secs => 2 * $2))
  AND NOT EXISTS (SELECT FROM tasks t WHERE t.status = 'running' AND t.agent_id = a.id)
"""


class RescueLoop:
    """Every manager runs it; each step looks at the tables and is right when done twice."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        membership: Membership,
        dispatch: DispatchLoop,
        attempts: Attempts,
        settler: Settler,
        hub: Hub,
        registry: Registry,
        view: RegistryView,
        settings: DispatchSettings,
        on_freed: Callable[[Freed], None] = lambda _freed: None,
    ) -> None:
        self._db, self._clock, self._membership, self._dispatch = db, clock, membership, dispatch
        self._on_freed = on_freed
        self._attempts, self._settler, self._hub = attempts, settler, hub
        self._registry, self._view, self._settings = registry, view, settings

    async def tick(self) -> float | None:
        more = await self._rescue() if self._membership.may_rescue else False
        self._drop_lost()
        await self._drop_revoked()
        await self._return_orphans()
        await self._retire_drained()
        return 0.0 if more else None

    def cancelled(self, payload: str) -> None:
        """A hint: this task (and fence) was cancelled; stop it if we run it."""
        task_id, _, fence = payload.partition(":")
        held = self._attempts.held.get(UUID(task_id)) if task_id else None
        if held is not None and str(held.fence) == fence:
            held.revoke("cancelled")

    async def _rescue(self) -> bool:
        """Tasks whose manager is not alive go back to the queue."""
        async with self._db.hot() as connection:
            rows = await queue.rescue(connection, self._settings.lease_s, self._settings.max_rescues, BATCH)
        if rows:
            log.warning("tasks_rescued", count=len(rows))
            RESCUED.inc(len(rows))
            self._hub.changed([row["id"] for row in rows])
            self._dispatch.queued({row["pool"] for row in rows}, pinned=True)
            freed = Freed()
            freed.add(row for row in rows if row["status"] == "failed")
            if freed:
                self._on_freed(freed)
        return len(rows) == BATCH

    def _drop_lost(self) -> None:
        """Attempts on agents that went silent: waiting out the run timeout would help nobody."""
        for held in list(self._attempts.held.values()):
            agent = self._view.agents.get(held.agent.id)
            if agent is not None and agent.status == "failed":
                held.revoke("lost")

    async def _drop_revoked(self) -> None:
        """What we run but the table says otherwise: cancelled, or rescued from us while we were silent."""
        held = [(item.task.id, item.fence) for item in self._attempts.held.values()]
        if not held:
            return
        async with self._db.hot() as connection:
            lost = await queue.not_ours(connection, held)
        for task_id, fence, status in lost:
            item = self._attempts.held.get(task_id)
            if item is not None and item.fence == fence:
                item.revoke("cancelled" if status in ("cancelled", "deleted") else "superseded")

    async def _return_orphans(self) -> None:
        """What the table says we run but we do not: a claim whose commit was not confirmed to us."""
        before = set(self._attempts.held)
        async with self._db.hot() as connection:
            rows = await connection.fetch(_OURS, self._membership.me, ORPHAN_AFTER_S)
        for row in rows:
            if row["id"] not in before and row["id"] not in self._attempts.held:
                log.warning("orphan_returned", task_id=str(row["id"]))
                tried = Tried(row["id"], row["fence"], row["attempt"], row["max_attempts"])
                settled = decide.returned(
                    tried, "lost", "claim_unconfirmed", "The claim was not confirmed.", rejoin=True
                )
                await self._settler.settle(settled)
                self._dispatch.everywhere()

    async def _retire_drained(self) -> None:
        """Agents that were drained and run nothing any more are gone.

        One that still sends heartbeats has yet to hear of it: it is told, finishes, and removes itself. Were it gone
        before, it would take that for a lost registration and register again.
        """
        settled_before = self._clock.now() - RETIRE_AFTER
        drained = [
            agent.id
            for agent in self._view.agents.values()
            if agent.status == "draining" and agent.updated_at < settled_before
        ]
        if not drained:
            return
        async with self._db.hot() as connection:
            idle = [row["id"] for row in await connection.fetch(_DRAINED, drained, HEARS_WITHIN_S)]
        for agent_id in await self._registry.set_status(idle, "gone", "drained", only_from=("draining",)):
            log.info("agent_gone", agent_id=str(agent_id), reason="drained")
