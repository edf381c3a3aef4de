"""The only SQL that moves tasks. Each verb is one statement over a whole batch and writes the events of its moves.

Every function takes a connection of the hot pool. Those that end or return an attempt change a row only while it is
`running` under the fence they name; a late or doubled call changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.core.db import HotConnection
from app.tasks import moves_sql as moves
from app.tasks import queue_sql as sql


@dataclass(slots=True)
class NewTask:
    """A task to insert. `payload` is JSON text; `deadline_s` counts from when the task may first run."""

    id: UUID
    tenant: str
    submitted_by: str
    pool: str
    type: str
    payload: str
    priority: int
    max_attempts: int
    pinned_agent_id: UUID | None = None
    run_at: datetime | None = None
    deadline_s: float | None = None
    complexity: float = 0.5
    concurrency_key: str | None = None
    thread_id: str | None = None
    synthetic: bool = False
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    traceparent: str | None = None


@dataclass(slots=True)
class Ready:
    """A task that could start when it was read. `agent_id` had it last; `rejoin`: that one may still work on it."""

    id: UUID
    tenant: str
    pool: str
    type: str
    attempt: int
    max_attempts: int
    fence: int
    pinned_agent_id: UUID | None
    agent_id: UUID | None
    rejoin: bool
    complexity: float
    thread_id: str | None
    synthetic: bool
    traceparent: str | None
    priority: int
    waited_s: float


@dataclass(slots=True)
class Started:
    """A task that is running now, under this fence. `payload` is JSON text."""

    fence: int
    attempt: int
    payload: str


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One model's usage in one attempt; `quantities` is JSON text of everything else that was reported."""

    model: str
    input_tokens: int
    output_tokens: int
    quantities: str = "{}"


@dataclass(slots=True)
class Settled:
    """How an attempt ended and where its task goes.

    `status` is succeeded, failed or queued. `delay_s` (queued only) is the time until it may be claimed again.
    `counted` False gives the attempt number back. `rejoin`: the agent may still be working on it. `event_data` and
    `result` are JSON text.
    """

    id: UUID
    fence: int
    status: str
    outcome: str
    event_type: str
    event_data: str
    result: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    delay_s: float | None = None
    counted: bool = True
    rejoin: bool = False
    usage: tuple[UsageRow, ...] = field(default=())


async def insert(connection: HotConnection, tasks: Sequence[NewTask]) -> set[UUID]:
    """Insert tasks and their first events; the ids that were new (others met an idempotency key in use)."""
    rows = await connection.fetch(sql.INSERT, *_columns(tasks, sql.INSERT_FIELDS))
    return {row["id"] for row in rows}


async def withdraw(connection: HotConnection, task_ids: Collection[UUID]) -> None:
    """Take tasks back that this very transaction inserted."""
    await connection.execute(sql.WITHDRAW, list(task_ids))


async def ready(
    connection: HotConnection, limits: Sequence[tuple[str, int, bool]], index: int = 0, count: int = 1
) -> list[Ready]:
    """Claimable tasks of each pool in the queue's order, by (pool, how many at most, own only). Nothing is locked:
    `start` looks again. One's own are those whose id's last byte modulo `count` is `index`."""
    rows = await connection.fetch(
        sql.READY,
        [item[0] for item in limits],
        [item[1] for item in limits],
        [item[2] for item in limits],
        index,
        count,
    )
    return [Ready(*row) for row in rows]


async def ready_past(connection: HotConnection, pool: str, types: Sequence[str], limit: int) -> list[Ready]:
    """The same of one pool, but for these task types; none that stands behind 20,000 others."""
    return [Ready(*row) for row in await connection.fetch(sql.READY_PAST, pool, types, limit)]


async def ready_pinned(connection: HotConnection, agents: Sequence[UUID], limits: Sequence[int]) -> list[Ready]:
    """The same for tasks that only one of `agents` may run."""
    return [Ready(*row) for row in await connection.fetch(sql.READY_PINNED, agents, limits)]


async def pinned_to(connection: HotConnection) -> list[UUID]:
    """Agents for which claimable tasks wait that no other agent may run."""
    return [row["pinned_agent_id"] for row in await connection.fetch(sql.PINNED_TO)]


async def start(
    connection: HotConnection, manager_id: UUID, placed: Sequence[tuple[UUID, int, UUID]]
) -> dict[UUID, Started]:
    """Make ready tasks running ((task id, fence as read, agent id) triples); those that still were as they were read.

    A task that was cancelled, taken by another manager or expired in the meantime is left out.
    """
    rows = await connection.fetch(
        sql.START, manager_id, [item[0] for item in placed], [item[1] for item in placed], [item[2] for item in placed]
    )
    return {row[0]: Started(row[1], row[2], row[3]) for row in rows}


async def settle(connection: HotConnection, ended: Sequence[Settled]) -> set[tuple[UUID, int]]:
    """Write ended attempts with usage and events; the (id, fence) pairs that were still ours."""
    usage = [(item, ordinal, row) for item in ended for ordinal, row in enumerate(item.usage)]
    rows = await connection.fetch(
        moves.SETTLE,
        *_columns(ended, moves.SETTLE_FIELDS),
        [item.id for item, _, _ in usage],
        [item.fence for item, _, _ in usage],
        [ordinal for _, ordinal, _ in usage],
        [row.model for _, _, row in usage],
        [row.input_tokens for _, _, row in usage],
        [row.output_tokens for _, _, row in usage],
        [row.quantities for _, _, row in usage],
    )
    return {(row["id"], row["fence"]) for row in rows}


async def record(connection: HotConnection, notes: Sequence[tuple[UUID, int, str, str]]) -> set[tuple[UUID, int]]:
    """Append events ((task id, fence, type, JSON data)) to running tasks; the pairs that were still ours.

    Several notes of one task keep their order.
    """
    rows = await connection.fetch(
        moves.RECORD,
        [note[0] for note in notes],
        [note[1] for note in notes],
        [note[2] for note in notes],
        [note[3] for note in notes],
    )
    return {(row["id"], row["fence"]) for row in rows}


async def cancel(connection: HotConnection, tenant: str, task_id: UUID, reason: str) -> asyncpg.Record | None:
    """Cancel a task that is not final: its id, former status, agent and fence; None when there is nothing to cancel."""
    return await connection.fetchrow(moves.CANCEL, tenant, task_id, reason)


async def retry(connection: HotConnection, tenant: str, task_id: UUID) -> asyncpg.Record | None:
    """Queue a failed task again with its attempts reset; None when it has not failed."""
    return await connection.fetchrow(moves.RETRY, tenant, task_id)


async def wake_due(connection: HotConnection, limit: int) -> list[str]:
    """Make tasks claimable whose time has come; the pools of those."""
    return [row["pool"] for row in await connection.fetch(moves.WAKE_DUE, limit)]


async def next_wake_s(connection: HotConnection) -> float | None:
    """Seconds until the next task becomes due; None when none is waiting for a time."""
    value = await connection.fetchval(moves.NEXT_WAKE)
    return None if value is None else float(value)


async def expire(connection: HotConnection, limit: int) -> list[UUID]:
    """Expire tasks that did not start by their deadline."""
    return [row["id"] for row in await connection.fetch(moves.EXPIRE, limit)]


async def rescue(connection: HotConnection, lease_s: float, max_rescues: int, limit: int) -> list[asyncpg.Record]:
    """Return running tasks whose manager is not alive (id, pool, status), uncounted; past the limit they fail."""
    return await connection.fetch(moves.RESCUE, lease_s, max_rescues, limit)


async def not_ours(connection: HotConnection, held: Sequence[tuple[UUID, int]]) -> list[tuple[UUID, int, str]]:
    """Of (id, fence) pairs that we believe to be running: those that are not any more, with the task's status."""
    rows = await connection.fetch(moves.NOT_OURS, [pair[0] for pair in held], [pair[1] for pair in held])
    return [(row["id"], row["fence"], row["status"]) for row in rows]


async def counts(connection: HotConnection, pools: Collection[str]) -> dict[str, int]:
    """Queued tasks of each of these pools."""
    return {row["pool"]: row["n"] for row in await connection.fetch(sql.COUNTS, list(pools))}


async def depth(connection: HotConnection, pool: str, cap: int) -> int:
    """Queued tasks of a pool, counted up to `cap`."""
    return int(await connection.fetchval(sql.DEPTH, pool, cap))


def _columns(items: Sequence[Any], fields: Sequence[str]) -> list[list[Any]]:
    return [[getattr(item, name) for item in items] for name in fields]
