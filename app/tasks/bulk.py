"""Cancelling and retrying many tasks by a filter: counted first, then done in batches, each a transaction of its own.

A batch that fails leaves the earlier ones done: the call can be repeated, for what is done fits the filter no more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.core.db import Database
from app.core.errors import Invalid
from app.tasks.service import Tasks

type Action = Literal["cancel", "retry"]

BATCH = 200
MATCH_CAP = 100_000
"""Matching tasks are counted so far."""

MOVABLE: dict[Action, tuple[str, ...]] = {"cancel": ("held", "queued", "running", "waiting"), "retry": ("failed",)}


class EmptyFilter(Invalid):
    """A filter that names nothing would be of every task."""

    code, title = "empty_filter", "The filter names nothing"


@dataclass(frozen=True, slots=True)
class Filter:
    """What all must hold; None: any. `ids` are looked at with the rest."""

    status: str | None = None
    pool: str | None = None
    type: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    error_code: str | None = None
    concurrency_key: str | None = None
    thread_id: str | None = None
    ids: tuple[UUID, ...] | None = None

    @property
    def empty(self) -> bool:
        return all(getattr(self, name) is None for name in self.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`matched` counts up to `MATCH_CAP`; `more`: some that match are left, or were not counted."""

    matched: int
    done: int
    dry_run: bool
    more: bool


_CONDITIONS = {
    "pool": "pool = {}",
    "type": "type = {}",
    "created_before": "created_at < {}",
    "created_after": "created_at >= {}",
    "error_code": "error_code = {}",
    "concurrency_key": "concurrency_key = {}",
    "thread_id": "thread_id = {}",
    "ids": "id = ANY({})",
}


def where(action: Action, tenant: str, wanted: Filter) -> tuple[str, list[Any]]:
    """The condition, and the values of $1..$n. Only tasks that the action can move."""
    statuses = [status for status in MOVABLE[action] if wanted.status in (None, status)]
    values: list[Any] = [tenant, statuses]
    parts = ["tenant = $1", "status = ANY($2)"]
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            values.append(list(value) if name == "ids" else value)
            parts.append(condition.format(f"${len(values)}"))
    return " AND ".join(parts), values


class Bulk:
    """The verbs of a tenant's caller."""

    def __init__(self, db: Database, tasks: Tasks) -> None:
        self._db, self._tasks = db, tasks

    async def cancel(self, tenant: str, wanted: Filter, reason: str, *, dry_run: bool, limit: int) -> Outcome:
        """Cancel up to `limit` tasks that fit and are not final, with their sub-tasks; raises EmptyFilter."""

        async def move(ids: Sequence[UUID]) -> list[UUID]:
            return await self._tasks.cancel_many(tenant, ids, reason)

        return await self._run("cancel", tenant, wanted, move, dry_run=dry_run, limit=limit)

    async def retry(self, tenant: str, wanted: Filter, *, dry_run: bool, limit: int) -> Outcome:
        """Queue up to `limit` failed tasks that fit again; raises EmptyFilter."""

        async def move(ids: Sequence[UUID]) -> list[UUID]:
            return await self._tasks.retry_many(tenant, ids)

        return await self._run("retry", tenant, wanted, move, dry_run=dry_run, limit=limit)

    async def _run(
        self,
        action: Action,
        tenant: str,
        wanted: Filter,
        move: Callable[[Sequence[UUID]], Awaitable[list[UUID]]],
        *,
        dry_run: bool,
        limit: int,
    ) -> Outcome:
        if wanted.empty:
            raise EmptyFilter("Name at least one thing that the tasks have in common.")
        condition, values = where(action, tenant, wanted)
        matched = await self._count(condition, values)
        if dry_run:
            return Outcome(matched, 0, True, matched >= MATCH_CAP)
        done, looked_at, last = 0, 0, UUID(int=0)
        while looked_at < limit:
            ids = await self._next(condition, values, last, min(BATCH, limit - looked_at))
            if not ids:
                break
            # Sub-tasks come along with their parents: only what was asked for is counted.
            done += len(set(await move(ids)) & set(ids))
            looked_at, last = looked_at + len(ids), ids[-1]
        left = await self._next(condition, values, last, 1) if looked_at >= limit else []
        return Outcome(matched, done, False, bool(left))

    async def _count(self, condition: str, values: list[Any]) -> int:
        query = f"SELECT count(*) FROM (SELECT FROM tasks WHERE {condition} LIMIT {MATCH_CAP}) q"  # noqa: S608
        async with self._db.read() as connection:
            return int(await connection.fetchval(query, *values))

    async def _next(self, condition: str, values: list[Any], after: UUID, count: int) -> list[UUID]:
        """The next ids in order, so that callers come before what they called."""
        mark = f"${len(values) + 1}"
        query = f"SELECT id FROM tasks WHERE {condition} AND id > {mark} ORDER BY id LIMIT {count}"  # noqa: S608
        async with self._db.read() as connection:
            return [row["id"] for row in await connection.fetch(query, *values, after)]
