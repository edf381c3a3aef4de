"""Drives `app.tasks.queue` in tests: makes tasks, claims them, reads the tables whole."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID, uuid4

from app.core.db import Database
from app.tasks import queue
from app.tasks.queue import NewTask, Settled

MANAGER, AGENT = UUID(int=0xA), UUID(int=0xB)
_numbers = itertools.count(1)


def task(pool: str = "p", tenant: str = "t", **fields: Any) -> NewTask:
    """A task with a fresh id; ids rise in the order of the calls, as those of the service do."""
    values: dict[str, Any] = {
        "id": UUID(int=next(_numbers)),
        "submitted_by": "key",
        "type": "work",
        "payload": "{}",
        "priority": 0,
        "max_attempts": 3,
    }
    return NewTask(pool=pool, tenant=tenant, **{**values, **fields})


def tasks(count: int, pool: str = "p", tenant: str = "t", **fields: Any) -> list[NewTask]:
    return [task(pool, tenant, **fields) for _ in range(count)]


async def insert(db: Database, *new: NewTask) -> set[UUID]:
    async with db.hot() as connection:
        return await queue.insert(connection, new)


async def claim(
    db: Database, count: int, pool: str = "p", manager: UUID = MANAGER, agent: UUID = AGENT
) -> list[queue.Ready]:
    """Claim up to `count` tasks in the queue's order and make them running."""
    async with db.hot() as connection:
        found = await queue.ready(connection, [(pool, count, False)])
        started = await queue.start(connection, manager, [(item.id, item.fence, agent) for item in found])
    return [item for item in found if item.id in started]


async def running(db: Database) -> UUID:
    """A task that runs: its id."""
    await insert(db, task())
    return (await claim(db, 1))[0].id


async def settle(db: Database, *ended: Settled) -> set[tuple[UUID, int]]:
    async with db.hot() as connection:
        return await queue.settle(connection, ended)


def succeeded(task_id: UUID, fence: int, **fields: Any) -> Settled:
    return Settled(task_id, fence, "succeeded", "succeeded", "task.succeeded", "{}", result='"done"', **fields)


def failed(task_id: UUID, fence: int, **fields: Any) -> Settled:
    return Settled(
        task_id, fence, "failed", "failed", "task.failed", "{}", error_code="bad", error_message="it broke", **fields
    )


def returned(task_id: UUID, fence: int, **fields: Any) -> Settled:
    return Settled(task_id, fence, "queued", "refused", "task.returned", "{}", **{"counted": False, **fields})


def retried(task_id: UUID, fence: int, **fields: Any) -> Settled:
    return Settled(task_id, fence, "queued", "failed", "task.retrying", "{}", error_code="bad", **fields)


async def row(db: Database, task_id: UUID) -> dict[str, Any]:
    async with db.hot() as connection:
        found = await connection.fetchrow("SELECT * FROM tasks WHERE id = $1", task_id)
    assert found is not None
    return dict(found)


async def table(db: Database, name: str, task_id: UUID | None = None) -> list[dict[str, Any]]:
    """All rows of attempts, events or usage (of one task), in key order."""
    order = {"attempts": "fence", "events": "seq", "usage": "fence, ordinal", "tasks": "id"}[name]
    where, args = ("", []) if task_id is None else ("WHERE task_id = $1", [task_id])
    async with db.hot() as connection:
        found = await connection.fetch(f"SELECT * FROM {name} {where} ORDER BY {order}", *args)
    return [dict(item) for item in found]


async def everything(db: Database) -> list[list[dict[str, Any]]]:
    """Every row a move of a task may touch."""
    return [await table(db, name) for name in ("tasks", "attempts", "events", "usage")]


async def event_types(db: Database, task_id: UUID) -> list[str]:
    """The types of a task's events; asserts that they are numbered 1..n."""
    events = await table(db, "events", task_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [event["type"] for event in events]


async def manager_lives(db: Database, manager: UUID = MANAGER, *, silent_s: float = 0.0) -> None:
    """Write a manager's row whose heartbeat is `silent_s` old."""
    async with db.hot() as connection:
        await connection.execute(
            """INSERT INTO managers (id, host, pid, heartbeat_at) VALUES ($1, 'h', 1, now() - make_interval(secs => $2))
            ON CONFLICT (id) DO UPDATE SET heartbeat_at = EXCLUDED.heartbeat_at""",
            manager,
            silent_s,
        )


def new_manager() -> UUID:
    return uuid4()
