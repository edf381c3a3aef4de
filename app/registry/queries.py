"""Reads of pools and agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Double, Select, bindparam, func, select, text
from sqlalchemy.engine import Row

from app.core.db import Database
from app.registry.models import Agent, Pool
from app.registry.records import AgentRecord, PoolRecord
from app.registry.stops import stops_agent

_POOL_FIELDS = tuple(PoolRecord.__dataclass_fields__)
_AGENT_FIELDS = tuple(field.name for field in fields(AgentRecord) if field.init and field.name != "stopped")
_AGENTS: Select[Any] = select(Agent.__table__, stops_agent().label("stopped"))


def pool_record(row: Row[Any]) -> PoolRecord:
    return PoolRecord(**{name: row._mapping[name] for name in _POOL_FIELDS})


def agent_record(row: Row[Any]) -> AgentRecord:
    """`stopped` is known where it was read with the row."""
    stopped = bool(row._mapping.get("stopped", False))
    return AgentRecord(**{name: row._mapping[name] for name in _AGENT_FIELDS}, stopped=stopped)


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
        row = (await connection.execute(_AGENTS.where(Agent.id == agent_id))).one_or_none()
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
    query = _AGENTS.order_by(Agent.id).limit(limit)
    query = query.where(Agent.status == status) if status else query.where(Agent.status != "gone")
    if pool is not None:
        query = query.where(Agent.pool == pool)
    if after is not None:
        query = query.where(Agent.id > after)
    async with db.begin() as connection:
        return [agent_record(row) for row in await connection.execute(query)]


async def changed_since(
    db: Database, since: datetime | None, known: Mapping[UUID, AgentRecord]
) -> tuple[list[PoolRecord], list[AgentRecord], datetime]:
    """Pools and agents changed since `since` (None: all that are not gone), and the database's time of this read.

    A row whose transaction was slow to commit carries an earlier time, so the caller overlaps its reads; agents that
    are in `known` with that very time are left out of all but a full read.
    """
    pool_query: Select[Any] = select(Pool.__table__)
    agent_query = _AGENTS
    if since is not None:
        pool_query = pool_query.where(Pool.updated_at > since)
        agent_query = agent_query.where(Agent.updated_at > since)
    else:
        agent_query = agent_query.where(Agent.status != "gone")
    async with db.begin() as connection:
        now = (await connection.execute(select(func.now()))).scalar_one()
        found_pools = [pool_record(row) for row in await connection.execute(pool_query)]
        found = (await connection.execute(agent_query)).all()
    if since is not None:
        found = [row for row in found if row.id not in known or known[row.id].updated_at != row.updated_at]
    return found_pools, [agent_record(row) for row in found], now


# An agent is quiet when neither an answer nor a heartbeat came lately; a new one is asked whatever it sends. One that
# did not answer is asked again after a pause: a new one almost at once, a failed one (it failed at `updated_at`) after
# as long as it had been failed at its last probe, so the pauses double, up to eight times the usual.
_DUE = """
status <> 'gone'
AND (status = 'starting' OR (last_seen_at < now() - make_interval(secs => :quiet)
  AND coalesce(heartbeat_at, registered_at) < now() - make_interval(secs => :beat)))
AND (probed_at IS NULL OR probed_at <= now() - CASE status
  WHEN 'starting' THEN make_interval(secs => least(1, :quiet / 4))
  WHEN 'failed' THEN least(greatest(probed_at - updated_at, make_interval(secs => :quiet)),
    make_interval(secs => :quiet * 8))
  ELSE make_interval(secs => :quiet / 4) END)
"""
# Those that may yet be given tasks come before the failed: however many are dead, the living do not wait for them.
_FIRST = "status = 'failed', probed_at NULLS FIRST, id"


async def to_probe(db: Database, quiet_s: float, beat_s: float, limit: int) -> list[AgentRecord]:
    """Whom the health loop asks now: agents not seen for `quiet_s` and without a heartbeat for `beat_s`.

    The working and the new come first, then the failed; in each group those whose last probe is longest ago.
    """
    due = text(_DUE).bindparams(bindparam("quiet", quiet_s, type_=Double), bindparam("beat", beat_s, type_=Double))
    query = select(Agent.__table__).where(due).order_by(text(_FIRST)).limit(limit)
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
