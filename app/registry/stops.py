"""Stop switches: which stand, whom they select, and the conditions by which claims look at them.

Whoever makes or lifts one calls these inside a transaction (`dispatch/stopping.py`). A stop that names an agent or a
label is of that agent for everybody; one that names a tenant or a pool is of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import uuid_utils
from sqlalchemy import ColumnElement, or_, select

from app.core.db import HotConnection
from app.core.errors import NotFound
from app.registry.models import Agent, Stop

# What claims join in, of the queued task `t`. The lists are read once a statement and not once a row: 100,000 tasks of
# a stopped tenant are passed over in 15 ms, where asking `stops` for each of them takes 55 ms, and of a pool 76 ms. A
# pool's stop should be asked of the pool alone (POOL_NOT_STOPPED with `p.pool`): then none of its tasks is looked at.
_STANDING = "s.lifted_at IS NULL AND s.agent_id IS NULL AND s.label_key IS NULL"
POOL_NOT_STOPPED = f"""{{pool}} <> ALL (ARRAY(SELECT s.pool FROM stops s
    WHERE {_STANDING} AND s.tenant IS NULL AND s.pool IS NOT NULL))"""  # noqa: S608 - only constants
TENANT_NOT_STOPPED = f"""t.tenant <> ALL (ARRAY(SELECT s.tenant FROM stops s
    WHERE {_STANDING} AND s.pool IS NULL AND s.tenant IS NOT NULL))
  AND (t.tenant, t.pool) NOT IN (SELECT s.tenant, s.pool FROM stops s
    WHERE {_STANDING} AND s.pool IS NOT NULL AND s.tenant IS NOT NULL)"""  # noqa: S608
NOT_STOPPED = f"{POOL_NOT_STOPPED.format(pool='t.pool')} AND {TENANT_NOT_STOPPED}"

# A standing stop `s` that fits the task `t` on the agent with the id {agent}.
FITS = """s.lifted_at IS NULL AND (s.tenant IS NULL OR s.tenant = t.tenant) AND (s.pool IS NULL OR s.pool = t.pool)
  AND (s.agent_id IS NULL OR s.agent_id = {agent})
  AND (s.label_key IS NULL OR EXISTS (SELECT FROM agents a WHERE a.id = {agent}
    AND a.labels ->> s.label_key = s.label_value))"""
# For the few tasks that are about to start, each with its agent.
NO_STOP_FITS = f"(SELECT count(*) FROM stops s WHERE {FITS}) = 0"  # noqa: S608

_COLUMNS = """id, tenant, pool, agent_id, label_key, label_value, reason, created_by, created_by_tenant, created_at,
  lifted_by, lifted_at"""
_INSERT = f"""
INSERT INTO stops (id, tenant, pool, agent_id, label_key, label_value, reason, created_by, created_by_tenant,
  created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp()) RETURNING {_COLUMNS}
"""  # noqa: S608
_LIFT = f"""
UPDATE stops SET lifted_by = $2, lifted_at = clock_timestamp() WHERE id = $1 AND lifted_at IS NULL RETURNING {_COLUMNS}
"""  # noqa: S608
_GET = f"SELECT {_COLUMNS} FROM stops WHERE id = $1 AND ($2::text IS NULL OR tenant = $2)"  # noqa: S608
_PAGE = f"""
SELECT {_COLUMNS} FROM stops WHERE ($1::text IS NULL OR tenant = $1) AND ($2::uuid IS NULL OR id < $2)
  AND ($3::bool IS NULL OR (lifted_at IS NULL) = $3) ORDER BY id DESC LIMIT $4
"""  # noqa: S608
# So that every manager's view reads them again.
_TOUCH = """
WITH touched AS (
  SELECT id FROM agents WHERE status <> 'gone' AND ($1::uuid IS NULL OR id = $1)
    AND ($2::text IS NULL OR labels ->> $2 = $3) AND ($4::text IS NULL OR pool = $4) ORDER BY id FOR UPDATE
)
UPDATE agents a SET updated_at = clock_timestamp() FROM touched WHERE a.id = touched.id
"""
_OF_TASKS = f"""
SELECT {_COLUMNS} FROM stops s WHERE {_STANDING} AND (s.tenant IS NULL OR s.tenant = $1)
  AND (s.pool IS NULL OR s.pool = $2) ORDER BY s.id LIMIT 1
"""  # noqa: S608
_KNOWN_POOL = "SELECT EXISTS (SELECT FROM pools WHERE name = $1)"
_KNOWN_AGENT = (
    "SELECT EXISTS (SELECT FROM agents WHERE id = $1 AND status <> 'gone' AND ($2::text IS NULL OR pool = $2))"
)


class StopNotFound(NotFound):
    code, title = "stop_not_found", "No such stop"


@dataclass(frozen=True, slots=True)
class Selector:
    """What a stop is of: all that is named must fit, and something is."""

    tenant: str | None = None
    pool: str | None = None
    agent_id: UUID | None = None
    label_key: str | None = None
    label_value: str | None = None

    @property
    def of_agents(self) -> bool:
        """Whether it selects agents, not tasks."""
        return self.agent_id is not None or self.label_key is not None

    def __str__(self) -> str:
        parts = [
            f"tenant {self.tenant}" if self.tenant is not None else "",
            f"pool {self.pool}" if self.pool is not None else "",
            f"agent {self.agent_id}" if self.agent_id is not None else "",
            f"agents with {self.label_key}={self.label_value}" if self.label_key is not None else "",
        ]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class StopRecord:
    """One stop switch."""

    id: UUID
    tenant: str | None
    pool: str | None
    agent_id: UUID | None
    label_key: str | None
    label_value: str | None
    reason: str
    created_by: str
    created_by_tenant: str
    created_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None

    @property
    def selector(self) -> Selector:
        return Selector(self.tenant, self.pool, self.agent_id, self.label_key, self.label_value)

    @property
    def standing(self) -> bool:
        return self.lifted_at is None


def stops_agent() -> ColumnElement[bool]:
    """A column for reads of agents: whether a standing stop selects the agent for everybody."""
    fits = (
        Stop.lifted_at.is_(None)
        & Stop.tenant.is_(None)
        & (Stop.agent_id.is_not(None) | Stop.label_key.is_not(None))
        & or_(Stop.pool.is_(None), Stop.pool == Agent.pool)
        & or_(Stop.agent_id.is_(None), Stop.agent_id == Agent.id)
        & or_(Stop.label_key.is_(None), Agent.labels.op("->>")(Stop.label_key) == Stop.label_value)
    )
    return select(Stop.id).where(fits).correlate(Agent).exists()


async def unknown(connection: HotConnection, selector: Selector) -> str | None:
    """`pool` or `agent_id` when what it names is not there: such a stop would stop nothing, unnoticed."""
    if selector.pool is not None and not await connection.fetchval(_KNOWN_POOL, selector.pool):
        return "pool"
    if selector.agent_id is not None:
        known = await connection.fetchval(_KNOWN_AGENT, selector.agent_id, selector.pool)
        return None if known else "agent_id"
    return None


async def insert(connection: HotConnection, selector: Selector, reason: str, by: str, by_tenant: str) -> StopRecord:
    """A standing stop."""
    new = UUID(bytes=uuid_utils.uuid7().bytes)
    values = (selector.tenant, selector.pool, selector.agent_id, selector.label_key, selector.label_value)
    row = await connection.fetchrow(_INSERT, new, *values, reason, by, by_tenant)
    assert row is not None
    return StopRecord(*row)


async def lift(connection: HotConnection, stop_id: UUID, by: str) -> StopRecord | None:
    """The stop, lifted now; None when it stands no more."""
    row = await connection.fetchrow(_LIFT, stop_id, by)
    return None if row is None else StopRecord(*row)


async def touch_agents(connection: HotConnection, selector: Selector) -> None:
    """Have the views read again the agents that it selects."""
    if selector.of_agents:
        await connection.execute(_TOUCH, selector.agent_id, selector.label_key, selector.label_value, selector.pool)


async def get(connection: HotConnection, stop_id: UUID, tenant: str | None) -> StopRecord:
    """One stop, of this tenant's tasks only (None: any); raises StopNotFound."""
    row = await connection.fetchrow(_GET, stop_id, tenant)
    if row is None:
        raise StopNotFound("There is no stop with this id.")
    return StopRecord(*row)


async def standing_of(connection: HotConnection, tenant: str, pool: str) -> StopRecord | None:
    """The oldest stop that keeps all tasks of a tenant in a pool from starting; None: none does."""
    row = await connection.fetchrow(_OF_TASKS, tenant, pool)
    return None if row is None else StopRecord(*row)


async def page(
    connection: HotConnection, tenant: str | None, before: UUID | None, standing: bool | None, limit: int
) -> Sequence[StopRecord]:
    """Newest first; `standing` None: lifted ones too."""
    return [StopRecord(*row) for row in await connection.fetch(_PAGE, tenant, before, standing, limit)]
