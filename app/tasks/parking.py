"""Tasks for which a budget has no money: set aside, refused for good, held for people, and let try again.

Whoever calls judged them under the locks of the accounts (`dispatch/gate.py`); a task that has moved since it was read
is left alone. An account is named by its id: `parked_by` of a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import asyncpg

from app.core.db import HotConnection
from app.tasks import parking_sql as sql


@dataclass(frozen=True, slots=True)
class Parked:
    """A task to set aside until a time at most. `need`: of the account; `data`: its event's (JSON text)."""

    id: UUID
    fence: int
    account: UUID
    until: datetime
    need: Decimal
    data: str


async def park(connection: HotConnection, tasks: Sequence[Parked]) -> list[asyncpg.Record]:
    """Set tasks aside: id, pool, tenant and concurrency key of those that were."""
    return await connection.fetch(
        sql.PARK,
        [item.id for item in tasks],
        [item.fence for item in tasks],
        [item.account for item in tasks],
        [item.until for item in tasks],
        [item.data for item in tasks],
        [item.need for item in tasks],
    )


async def park_all(
    connection: HotConnection,
    pool: str,
    tenant: str | None,
    task_type: str,
    account: UUID,
    until: datetime,
    limit: int,
    need: Decimal,
) -> list[asyncpg.Record]:
    """The same for the first `limit` queued tasks of one type, without an event."""
    return await connection.fetch(sql.PARK_ALL, pool, tenant, task_type, account, until, limit, need)


async def hold(connection: HotConnection, tasks: Sequence[tuple[UUID, int, UUID]]) -> list[asyncpg.Record]:
    """Make queued tasks ((id, fence, account)) `held`: id, tenant, pool, payload, submitted_by and key of each."""
    return await connection.fetch(sql.HOLD, *_columns(tasks))


async def take_back(connection: HotConnection, task_ids: Collection[UUID], until: datetime) -> None:
    """Let tasks that this transaction held wait until a time instead."""
    await connection.execute(sql.TAKE_BACK, list(task_ids), until)


async def refuse(connection: HotConnection, tasks: Sequence[tuple[UUID, int, str]]) -> list[asyncpg.Record]:
    """Fail queued tasks ((id, fence, message)) for lack of money: id, pool, tenant, parent_id and key of each."""
    return await connection.fetch(sql.REFUSE, *_columns(tasks))


async def parked_by(connection: HotConnection) -> list[UUID]:
    """Accounts for which tasks wait."""
    return [row["parked_by"] for row in await connection.fetch(sql.PARKED_BY)]


@dataclass(frozen=True, slots=True)
class Room:
    """What an account has left, None: no bound; and how many tasks at most to let try."""

    left: Decimal | None
    most: int


async def unpark(connection: HotConnection, rooms: Mapping[UUID, Room]) -> Counter[UUID]:
    """Let tasks be due now that want no more than their account has left: how many of each."""
    values = rooms.values()
    rows = await connection.fetch(
        sql.UNPARK, list(rooms), [room.left for room in values], [room.most for room in values]
    )
    return Counter(row["parked_by"] for row in rows)


def _columns(items: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [[item[place] for item in items] for place in range(3)]
