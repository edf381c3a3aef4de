"""The only SQL that moves tasks. Each verb is one statement over a whole batch and writes the events of its moves.

Every function takes a connection of the hot pool. Those that end or return an attempt change a row only while it is
`running` under the fence they name; a late or doubled call changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from app.core.db import HotConnection
from app.tasks import moves_sql as moves
from app.tasks import queue_sql as sql
from app.tasks import waits_sql as waiting


@dataclass(slots=True)
class NewTask:
    """A task to insert. `payload` and `labels` are JSON text; `deadline_s` counts from when the task may first run.

    `held`: until an approval releases it. `gated`: until its concurrency key has room. From `parent_id` on they tell a
    sub-task, but for `labels`.
    """

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
    held: bool = False
    gated: bool = False
    parent_id: UUID | None = None
    parent_step: str | None = None
    root_id: UUID | None = None
    depth: int = 0
    lineage: bytes | None = None
    labels: str | None = None


@dataclass(slots=True)
class Ready:
    """A task that could start when it was read. `agent_id` had it last; `rejoin`: that one may still work on it.

    `labels` is JSON text (None: there are none; `labels.labels_of` reads it). `root_id` None: it is the first of its
    line. `holds`: budget accounts in which an attempt that was broken off still holds `hold_amounts`.
    """

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
    labels: str | None = None
    root_id: UUID | None = None
    holds: list[UUID] | None = None
    hold_amounts: list[Decimal] | None = None
    over_budget: bool = False


@dataclass(slots=True)
class Started:
    """A task that is running now, under this fence. `payload` and `resume` are JSON text; `stepped`: it has steps.

    `replays`: how often it was queued again after it had failed for good; `attempt` counts from 1 in each. `accounts`:
    those in which it holds money. `models`: which models its agent should use instead of which.
    """

    fence: int
    attempt: int
    payload: str
    stepped: bool = False
    resume: str | None = None
    replays: int = 0
    accounts: Collection[UUID] = ()
    models: Mapping[str, str] = field(default_factory=dict)


class Note(NamedTuple):
    """An event of a running task, with a finished step where there is one. `data` and `result` are JSON text."""

    task_id: UUID
    fence: int
    type: str
    data: str
    step: str | None = None
    result: str | None = None


type Key = tuple[str, str, str]
"""A concurrency key as it counts: pool, tenant and the key itself."""


def concurrency_keys(rows: Iterable[asyncpg.Record]) -> set[Key]:
    """From rows with `pool`, `tenant` and `key` (None: not keyed)."""
    return {(row["pool"], row["tenant"], row["key"]) for row in rows if row["key"] is not None}


@dataclass(slots=True)
class Freed:
    """What moves let others do: parents whose sub-task is final, and keys that may have room, or want it."""

    parents: set[UUID] = field(default_factory=set)
    keys: set[Key] = field(default_factory=set)

    def add(self, rows: Iterable[asyncpg.Record]) -> None:
        """Rows of ended tasks, with `parent_id` (of final ones), `pool`, `tenant` and `key`."""
        ended = list(rows)
        self.parents |= {row["parent_id"] for row in ended if row["parent_id"] is not None}
        self.keys |= concurrency_keys(ended)

    def __bool__(self) -> bool:
        return bool(self.keys or self.parents)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One model's usage in one attempt; `quantities` is JSON text of everything else that was reported.

    `cost_usd` None: nobody knows a price.
    """

    model: str
    input_tokens: int
    output_tokens: int
    quantities: str = "{}"
    cost_usd: Decimal | None = None
    price_version: str | None = None


@dataclass(slots=True)
class Settled:
    """How an attempt ended and where its task goes.

    `status` is succeeded, failed, queued or waiting. `delay_s` (queued only) is the time until it may be claimed again.
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


ANY_PRIORITY = -32_768


async def ready(
    connection: HotConnection,
    limits: Sequence[tuple[str, int, bool]],
    index: int = 0,
    count: int = 1,
    least: Mapping[str, int] = MappingProxyType({}),
) -> list[Ready]:
    """Claimable tasks of each pool in the queue's order, by (pool, how many at most, own only). Nothing is locked:
    `start` looks again. One's own are those whose id's last byte modulo `count` is `index`. `least`: by pool, the least
    priority that is claimable."""
    rows = await connection.fetch(
        sql.READY,
        [item[0] for item in limits],
        [item[1] for item in limits],
        [item[2] for item in limits],
        index,
        count,
        [least.get(item[0], ANY_PRIORITY) for item in limits],
    )
    return [Ready(*row) for row in rows]


async def ready_past(
    connection: HotConnection, pool: str, types: Sequence[str], limit: int, least: int = ANY_PRIORITY
) -> list[Ready]:
    """The same of one pool, but for these task types; none that stands behind 20,000 others."""
    return [Ready(*row) for row in await connection.fetch(sql.READY_PAST, pool, types, limit, least)]


async def ready_pinned(
    connection: HotConnection, agents: Sequence[UUID], limits: Sequence[int], least: Sequence[int] | None = None
) -> list[Ready]:
    """The same for tasks that only one of `agents` may run."""
    floors = [ANY_PRIORITY] * len(agents) if least is None else least
    return [Ready(*row) for row in await connection.fetch(sql.READY_PINNED, agents, limits, floors)]


async def pinned_to(connection: HotConnection) -> list[UUID]:
    """Agents for which claimable tasks wait that no other agent may run."""
    return [row["pinned_agent_id"] for row in await connection.fetch(sql.PINNED_TO)]


async def start(
    connection: HotConnection,
    manager_id: UUID,
    placed: Sequence[tuple[UUID, int, UUID]],
    epoch: int = 0,
    holds: Mapping[UUID, Mapping[UUID, Decimal]] | None = None,
    holding: Collection[UUID] = (),
    rooms: Sequence[tuple[UUID, Decimal, Decimal | None]] = (),
) -> dict[UUID, Started]:
    """Make ready tasks running ((task id, fence as read, agent id) triples); those that still were as they were read.

    `holds`: by task, what to reserve in which budget accounts (one object for all that reserve alike is quickest).
    Their locks are the caller's, but for those of `rooms` ((account, amount, bound) triples): these are locked here,
    and unless all have the amount left below their bound (None: there is none) nothing starts. `holding`: tasks of
    which a broken-off attempt still held something when they were read. `epoch`: of the budgets
    as they were read; when they have changed, none starts. A task that was cancelled, taken by another manager or
    expired in the meantime is left out.
    """
    alike = {id(of): of for of in (holds or {}).values()}
    numbers = {key: number for number, key in enumerate(alike, 1)}
    reserved = [(numbers[key], *item) for key, of in alike.items() for item in of.items()]
    rows = await connection.fetch(
        sql.START,
        manager_id,
        [item[0] for item in placed],
        [item[1] for item in placed],
        [item[2] for item in placed],
        [item[0] for item in reserved],
        [item[1] for item in reserved],
        [item[2] for item in reserved],
        epoch,
        [item[0] in holding for item in placed],
        [item[0] for item in rooms],
        [item[1] for item in rooms],
        [item[2] for item in rooms],
        [numbers[id(holds[item[0]])] if holds else 0 for item in placed],
    )
    return {row[0]: Started(*row[1:]) for row in rows}


async def settle(
    connection: HotConnection, ended: Sequence[Settled], freed: Freed | None = None
) -> set[tuple[UUID, int]]:
    """Write ended attempts with usage and events; the (id, fence) pairs that were still ours.

    What that lets others do is added to `freed`.
    """
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
        [row.cost_usd for _, _, row in usage],
        [row.price_version for _, _, row in usage],
    )
    if freed is not None:
        freed.add(rows)
    return {(row["id"], row["fence"]) for row in rows}


async def record(connection: HotConnection, notes: Sequence[Note]) -> set[tuple[UUID, int]]:
    """Append events, and the steps they tell of, to running tasks; the (id, fence) pairs that were still ours.

    Several notes of one task keep their order.
    """
    rows = await connection.fetch(moves.RECORD, *_columns(notes, Note._fields))
    return {(row["id"], row["fence"]) for row in rows}


async def note(connection: HotConnection, task_id: UUID, event_type: str, data: str) -> bool:
    """Add one event (`data` is JSON text) to a task that is not final; whether it was not."""
    return await connection.fetchval(waiting.NOTE, task_id, event_type, data) is not None


async def cancel(
    connection: HotConnection, tenant: str, task_ids: Sequence[UUID], reason: str, code: str = "cancelled"
) -> list[asyncpg.Record]:
    """Cancel those of these tasks that are not final, and all below them. In a transaction.

    Of each that was cancelled: id, `was` (its former status), agent_id, fence, pool, tenant, parent_id and key.
    """
    rows = await connection.fetch(moves.CANCEL, tenant, list(task_ids), reason, code)
    if rows:
        await connection.execute(moves.UNWAIT, [row["id"] for row in rows])
    return rows


async def orphans(connection: HotConnection, limit: int) -> list[asyncpg.Record]:
    """Sub-tasks (id, tenant) that are not final though the task that called them is."""
    return await connection.fetch(moves.ORPHANS, limit)


async def retry(connection: HotConnection, tenant: str, task_ids: Sequence[UUID]) -> list[asyncpg.Record]:
    """Queue those of these tasks that failed again, their attempts counted from zero: id, pool, tenant
    and key of each."""
    return await connection.fetch(moves.RETRY, tenant, list(task_ids))


async def wake_due(connection: HotConnection, limit: int, freed: Freed | None = None) -> list[str]:
    """Make tasks claimable whose time has come; the pools of those. Keyed ones ask for room."""
    rows = await connection.fetch(moves.WAKE_DUE, limit)
    if freed is not None:
        freed.keys |= concurrency_keys(rows)
    return [row["pool"] for row in rows if row["key"] is None]


async def next_wake_s(connection: HotConnection) -> float | None:
    """Seconds until the next task becomes due; None when none is waiting for a time."""
    value = await connection.fetchval(moves.NEXT_WAKE)
    return None if value is None else float(value)


async def expire(connection: HotConnection, limit: int, freed: Freed | None = None) -> list[UUID]:
    """Expire tasks that did not start by their deadline."""
    rows = await connection.fetch(moves.EXPIRE, limit)
    if freed is not None:
        freed.add(rows)
    return [row["id"] for row in rows]


async def rescue(connection: HotConnection, lease_s: float, max_rescues: int, limit: int) -> list[asyncpg.Record]:
    """Return running tasks whose manager is not alive, uncounted; past the limit they fail.

    Of each: id, pool, tenant, status, parent_id, key.
    """
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
