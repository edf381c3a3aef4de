"""Reads of pools and agents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.engine import Row

from app.core.db import Database
from app.registry.models import Agent, Pool
from app.registry.records import AgentRecord, PoolRecord

_POOL_FIELDS = tuple(PoolRecord.__dataclass_fields__)
_AGENT_FIELDS = tuple(AgentRecord.__dataclass_fields__)


def pool_record(row: Row[Any]) -> PoolRecord:
    return PoolRecord(**{name: row._mapping[name] for name in _POOL_FIELDS})


def agent_record(row: Row[Any]) -> AgentRecord:
    return AgentRecord(**{name: row._mapping[name] for name in _AGENT_FIELDS})


async def pools(db: Database, *, after: str | None = None, limit: int | None = None) -> list[PoolRecord]:
    """Pools by name."""
    query = select(Pool.__table__).order_by(Pool.name).limit(limit)
    if after is not None:
        query = query.where(Pool.name > after)
    async with db.begin() as connection:
        return [pool_record(row) for row in await connection.execute(query)]


async def pool(db: Database, name: str) -> PoolRecord | None:
    async with db.begin() as connection:
        row = (await connection.execute(select(Pool.__table__).where(Pool.name == name))).one_or_none()
    return None if row is None else pool_record(row)


async def agent(db: Database, agent_id: UUID) -> AgentRecord | None:
    async with db.begin() as connection:
        row = (await connection.execute(select(Agent.__table__).where(Agent.id == agent_id))).one_or_none()
    return None if row is None else agent_record(row)


async def agents(
    db: Database,
    *,
    pool: str | None = None,
    status: str | None = None,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[AgentRecord]:
    """Agents by id; without a status filter those that are gone are left out."""
    query: Select[Any] = select(Agent.__table__).order_by(Agent.id).limit(limit)
    query = query.where(Agent.status == status) if status else query.where(Agent.status != "gone")
    if pool is not None:
        query = query.where(Agent.pool == pool)
    if after is not None:
        query = query.where(Agent.id > after)
    async with db.begin() as connection:
        return [agent_record(row) for row in await connection.execute(query)]


async def changed_since(db: Database, since: datetime | None) -> tuple[list[PoolRecord], list[AgentRecord], datetime]:
    """Pools and agents changed since `since` (None: all that are not gone), and the database's time of this read.

    A row whose transaction was slow to commit carries an earlier time, so the caller overlaps its reads.
    """
    pool_query: Select[Any] = select(Pool.__table__)
    agent_query: Select[Any] = select(Agent.__table__)
    if since is not None:
        pool_query = pool_query.where(Pool.updated_at > since)
        agent_query = agent_query.where(Agent.updated_at > since)
    else:
        agent_query = agent_query.where(Agent.status != "gone")
    async with db.begin() as connection:
        now = (await connection.execute(select(func.now()))).scalar_one()
        found_pools = [pool_record(row) for row in await connection.execute(pool_query)]
        found_agents = [agent_record(row) for row in await connection.execute(agent_query)]
    return found_pools, found_agents, now


async def to_probe(db: Database, quiet_s: float, beat_s: float, limit: int) -> list[AgentRecord]:
    """Whom the health loop asks: agents not seen for `quiet_s` and without a heartbeat for `beat_s`; the new first."""
    query = (
        select(Agent.__table__)
        .where(Agent.status.in_(("starting", "idle", "busy", "failed", "draining", "maintenance")))
        .where(
            (Agent.status == "starting")
            | (Agent.last_seen_at < func.now() - timedelta(seconds=quiet_s))
            & (func.coalesce(Agent.heartbeat_at, Agent.registered_at) < func.now() - timedelta(seconds=beat_s))
        )
        .order_by(Agent.status != "starting", Agent.last_seen_at)
        .limit(limit)
    )
    async with db.begin() as connection:
        return [agent_record(row) for row in await connection.execute(query)]


async def agent_counts(db: Database) -> Mapping[str, dict[str, int]]:
    """Per pool: how many agents have each status."""
    query = (
        select(Agent.pool, Agent.status, func.count()).where(Agent.status != "gone").group_by(Agent.pool, Agent.status)
    )
    counts: dict[str, dict[str, int]] = {}
    async with db.begin() as connection:
        for name, status, number in await connection.execute(query):
            counts.setdefault(name, {})[status] = number
    return counts
