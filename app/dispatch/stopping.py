"""Stop switches at work: running attempts are revoked, their agents told, and it is noted who did not answer.

Making a stop revokes what runs in the same transaction. An attempt that was starting at that very moment is not seen
by it, nor an agent that registers later with the label: so each pass looks again for attempts that fit a standing
stop. The manager that made an attempt asks its agent; where that manager is dead, any other does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from app.auth.callers import Caller
from app.auth.service import Forbidden
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid
from app.core.wake import notify
from app.dispatch.attempt import Attempts
from app.dispatch.executors.base import Executor
from app.registry import stops
from app.registry.service import TOPIC as REGISTRY_TOPIC
from app.registry.service import AgentNotFound, PoolNotFound
from app.registry.stops import FITS, Selector, StopRecord
from app.tasks import revocation

log = structlog.get_logger()

TOPIC = "stop"
CODE = "stopped"
BATCH = 1000
ASKED_AT_ONCE = 32
BEGINNING_S = 1.0
"""An attempt whose start was just committed may be about to begin here: its agent is asked after that."""
TAKEN_OVER_S = 30.0
"""What its manager has not asked for so long, another asks, though that one lives."""

STOPPED = Counter("yard_stopped_attempts", "Attempts revoked by stops, by what their agents said.", ["answer"])

_STANDING = f"""
SELECT DISTINCT ON (t.id) s.id AS stop_id, s.reason, s.created_by, t.id, t.fence
FROM stops s JOIN tasks t ON t.status = 'running' AND {FITS.format(agent="t.agent_id")}
ORDER BY t.id, s.created_at LIMIT $1
"""  # noqa: S608 - only constants
_NOTED = """
INSERT INTO stopped_attempts (stop_id, task_id, fence, agent_id, manager_id, state)
SELECT $1, i.id, i.fence, i.agent_id, i.manager_id, 'asked'
FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[]) AS i(id, fence, agent_id, manager_id)
ON CONFLICT DO NOTHING
"""
# Stops are few, and those lifted long ago have no open questions. `moved_on`: a later attempt runs on the same agent,
# which must not be told to stop.
_OPEN = """
SELECT a.stop_id, a.task_id, a.fence, a.manager_id, g.url,
  extract(epoch FROM clock_timestamp() - a.asked_at)::float8 AS age_s,
  COALESCE(t.status = 'running' AND t.fence > a.fence, false) AS moved_on
FROM stops s JOIN stopped_attempts a ON a.stop_id = s.id AND a.state = 'asked'
  LEFT JOIN agents g ON g.id = a.agent_id LEFT JOIN tasks t ON t.id = a.task_id
WHERE (s.lifted_at IS NULL OR s.lifted_at > clock_timestamp() - interval '10 minutes')
  AND (a.manager_id = $1 OR NOT a.manager_id = ANY($2::uuid[])
    OR a.asked_at < clock_timestamp() - make_interval(secs => $4))
LIMIT $3
"""
_ANSWERED = """
UPDATE stopped_attempts SET state = $4, answered_at = clock_timestamp()
WHERE stop_id = $1 AND task_id = $2 AND fence = $3 AND state = 'asked'
"""


class SelectorInvalid(Invalid):
    code, title = "stop_selector_invalid", "This cannot be stopped together"


class StopNotYours(Conflict):
    """A stop of your tenant that an admin of another one made."""

    code, title = "stop_not_yours", "The stop is not yours to lift"


@dataclass(frozen=True, slots=True)
class Asking:
    """An attempt that was revoked, and whose agent has not been heard yet."""

    stop_id: UUID
    task_id: UUID
    fence: int
    manager_id: UUID | None
    url: str | None
    age_s: float
    moved_on: bool


class Stopping:
    """The verbs, and the loop's `tick`. `live` are the ids of the managers alive, `on_moved(ids)` tells those who watch
    tasks, `queued_topic` wakes the claims of every manager."""

    def __init__(
        self,
        db: Database,
        attempts: Attempts,
        executor: Executor,
        me: UUID,
        *,
        live: Callable[[], Collection[str]],
        on_moved: Callable[[Collection[UUID]], None],
        queued_topic: str,
    ) -> None:
        self._db, self._attempts, self._executor, self._me = db, attempts, executor, me
        self._live, self._on_moved, self._queued_topic = live, on_moved, queued_topic

    async def stop(self, caller: Caller, selector: Selector, reason: str) -> StopRecord:
        """Make a stop: from its commit on nothing that fits starts, and what ran is revoked.

        Raises Forbidden, SelectorInvalid, PoolNotFound or AgentNotFound.
        """
        _check(caller, selector)
        async with self._db.hot() as connection, connection.transaction():
            missing = await stops.unknown(connection, selector)
            if missing == "pool":
                raise PoolNotFound(f"There is no pool {selector.pool!r}.")
            if missing is not None:
                raise AgentNotFound(f"There is no agent {selector.agent_id} there.")
            stop = await stops.insert(connection, selector, reason, caller.id, caller.tenant)
            await self._touch(connection, selector)
            moved = await self._revoke(connection)
            await notify(connection, TOPIC, str(stop.id))
        log.warning("stop_made", stop_id=str(stop.id), selector=str(selector), by=caller.id, revoked=len(moved))
        self._on_moved(moved)
        return stop

    async def lift(self, caller: Caller, stop_id: UUID) -> StopRecord:
        """Let what it held start again; lifting twice changes nothing. Raises StopNotFound or StopNotYours."""
        admin = caller.may("admin")
        async with self._db.hot() as connection, connection.transaction():
            stop = await stops.get(connection, stop_id, None if admin else caller.tenant)
            if not admin and stop.created_by_tenant != caller.tenant:
                raise StopNotYours("Whoever runs this service made it, and lifts it.")
            lifted = await stops.lift(connection, stop_id, caller.id)
            if lifted is None:
                return stop
            await self._touch(connection, stop.selector)
            await notify(connection, self._queued_topic, "")
        log.warning("stop_lifted", stop_id=str(stop_id), selector=str(stop.selector), by=caller.id)
        return lifted

    async def tick(self) -> float | None:
        """Revoke what runs in spite of a stop, and ask the agents that have not been asked."""
        async with self._db.hot() as connection, connection.transaction():
            moved = await self._revoke(connection)
        if moved:
            self._on_moved(moved)
        async with self._db.read() as connection:
            live = [UUID(manager) for manager in self._live()]
            rows = await connection.fetch(_OPEN, self._me, live, BATCH, TAKEN_OVER_S)
        gate = asyncio.Semaphore(ASKED_AT_ONCE)
        waiting = await asyncio.gather(*(self._ask(Asking(*row), gate) for row in rows))
        if len(moved) == BATCH or len(rows) == BATCH:
            return 0.0
        return BEGINNING_S / 4 if any(waiting) else None

    async def _revoke(self, connection: HotConnection) -> list[UUID]:
        """The tasks that were taken from their agents."""
        found = sorted(await connection.fetch(_STANDING, BATCH), key=itemgetter("stop_id"))
        moved: list[UUID] = []
        for stop_id, rows in groupby(found, key=itemgetter("stop_id")):
            moved += await self._revoke_for(connection, stop_id, list(rows))
        return moved

    @staticmethod
    async def _revoke_for(connection: HotConnection, stop_id: UUID, rows: Sequence[asyncpg.Record]) -> list[UUID]:
        message = f"Stopped by {rows[0]['created_by']}: {rows[0]['reason']}"
        pairs = [(row["id"], row["fence"]) for row in rows]
        done = await revocation.revoke(connection, pairs, CODE, message, stop_id)
        columns = [[row[name] for row in done] for name in ("id", "fence", "agent_id", "manager_id")]
        await connection.execute(_NOTED, stop_id, *columns)
        return columns[0]

    async def _ask(self, asking: Asking, gate: asyncio.Semaphore) -> bool:
        """Stop our own attempt, tell its agent, and note the answer. Whether it must be looked at again soon."""
        held = self._attempts.held.get(asking.task_id)
        ours = held is not None and held.fence == asking.fence
        if held is not None and ours:
            held.revoke(CODE)
        elif asking.manager_id == self._me and asking.age_s < BEGINNING_S:
            return True
        answered = False
        if asking.url is not None and not asking.moved_on:
            async with gate:
                answered = await self._executor.stop(asking.url, asking.task_id)
        state = "stopped" if answered else "no_answer"
        async with self._db.hot() as connection:
            await connection.execute(_ANSWERED, asking.stop_id, asking.task_id, asking.fence, state)
        STOPPED.labels(state).inc()
        if not answered:
            log.warning("stop_not_answered", task_id=str(asking.task_id), url=asking.url)
        return False

    @staticmethod
    async def _touch(connection: HotConnection, selector: Selector) -> None:
        if selector.of_agents:
            await stops.touch_agents(connection, selector)
            await notify(connection, REGISTRY_TOPIC)


def _check(caller: Caller, selector: Selector) -> None:
    """A tenant's operator stops that tenant's tasks, anywhere or in a pool; agents and pools serve all tenants, so
    stopping those for everybody is the admin's."""
    if not caller.may("admin") and selector.tenant != caller.tenant:
        raise Forbidden(
            "To stop other tenants, all of them, or agents, needs the scope `admin`; name your own tenant.",
            extra={"needs": "admin"},
        )
    if selector.tenant is not None and selector.of_agents:
        raise SelectorInvalid(
            "A stop of agents is for all tenants: name agents (and a pool), or a tenant (and a pool).",
            extra={"errors": [{"path": "tenant", "message": "not together with agent_id or label"}]},
        )
