"""Verbs of probes: define, read, remove, run now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import uuid_utils

from app.auth.callers import PROBES_TENANT, Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, NotFound
from app.core.jsonbody import dump_json
from app.settings import SloSettings
from app.slo import probe_firing, probe_queries, probe_timing
from app.slo import probe_sql as sql
from app.slo.probe_budgets import Daily, ProbeBudgets
from app.slo.probe_firing import Submit
from app.slo.probe_judging import Cancel
from app.slo.probe_loop import Now, database_now
from app.slo.probe_queries import Watched
from app.slo.probe_records import Definition, ProbeRecord, RunRecord, submission
from app.tasks.submission import Submission

REDEFINED = "The probe was defined anew meanwhile."
GONE = ("The probe it was made for is defined anew or gone.", "probe_gone")

type CheckTask = Callable[[Submission], Awaitable[None]]
"""Raises what submitting the task would raise."""


class ProbeNotFound(NotFound):
    code, title = "probe_not_found", "No such probe"


class TooManyProbes(Conflict):
    code, title = "too_many_probes", "Too many probes"


class Probes:
    """The verbs. `on_change` is called when the loop may have something to do sooner than it knows."""

    def __init__(
        self,
        db: Database,
        submit: Submit,
        cancel: Cancel,
        check_task: CheckTask,
        budgets: ProbeBudgets,
        settings: SloSettings,
        *,
        now: Now = database_now,
    ) -> None:
        self.db, self._submit, self._cancel, self._check_task = db, submit, cancel, check_task
        self.budgets, self._settings, self._now = budgets, settings, now
        self.on_change: Callable[[], None] = lambda: None

    async def put(
        self, caller: Caller, name: str, wanted: Definition, daily: Daily | None = None
    ) -> tuple[Watched, bool]:
        """Set a probe as a whole; whether it is new. Raises PoolNotFound, Invalid kinds, TooManyProbes or
        TooManyBudgets.

        One that asks something else from now on is judged by runs from now on. Its budget comes first: nothing runs
        without it.
        """
        await self._check_task(
            submission(name, wanted.pool, wanted.type, wanted.payload, wanted.timeout_s, wanted.labels)
        )
        await self._check_room(name)
        await self.budgets.set(name, daily, caller)
        closed: list[UUID] = []
        async with self.db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(sql.LOCK, name)
            new = row is None and await self._insert(connection, caller, name, wanted)
            if not new:
                row = row or await connection.fetchrow(sql.LOCK, name)  # made a moment ago
                closed = await self._replace(connection, caller, _found(row), wanted)
        await self._end(closed)
        self.on_change()
        return await self.get(name), new

    async def get(self, name: str) -> Watched:
        """One probe; raises ProbeNotFound."""
        found = await probe_queries.one(self.db, name)
        if found is None:
            raise _missing()
        return found

    async def remove(self, caller: Caller, name: str) -> None:
        """Delete it with its runs and its budget; a task of it that is open is cancelled. Raises ProbeNotFound."""
        async with self.db.hot() as connection, connection.transaction():
            probe = _found(await connection.fetchrow(sql.LOCK, name))
            tasks = [row["task_id"] for row in await connection.fetch(sql.OPEN_TASKS, probe.id)]
            await connection.execute(sql.DELETE, probe.id)
        await self._end(tasks)
        await self.budgets.set(name, None, caller)

    async def run(self, name: str) -> RunRecord:
        """Run it now, besides its times, enabled or not. Raises ProbeNotFound or what submitting raises."""
        async with self.db.hot() as connection, connection.transaction():
            probe = _found(await connection.fetchrow(sql.LOCK, name))
            now = await self._now(connection)
            fired = await probe_firing.fire(connection, self._submit, probe, now, by_hand=True)
        fired.committed()
        self.on_change()
        if fired.run is None:
            raise Conflict("It runs at this very moment; try again.")
        return fired.run

    async def _check_room(self, name: str) -> None:
        async with self.db.read() as connection:
            others = int(await connection.fetchval(sql.OTHERS, name))
        if others >= self._settings.max_probes:
            raise TooManyProbes(f"There may be {self._settings.max_probes} probes; delete one first.")

    async def _insert(self, connection: HotConnection, caller: Caller, name: str, wanted: Definition) -> bool:
        next_at = probe_timing.planned_after(name, wanted.every_s, await self._now(connection))
        probe_id = UUID(bytes=uuid_utils.uuid7().bytes)
        return await connection.fetchrow(sql.INSERT, probe_id, name, *_values(wanted), next_at, caller.id) is not None

    async def _replace(
        self, connection: HotConnection, caller: Caller, was: ProbeRecord, wanted: Definition
    ) -> list[UUID]:
        """The tasks of runs that nobody waits for any more."""
        next_at = was.next_at
        if was.every_s != wanted.every_s or (wanted.enabled and not was.enabled):
            next_at = probe_timing.planned_after(was.name, wanted.every_s, await self._now(connection))
        anew = _asks(was) != _asks_anew(wanted)
        await connection.execute(sql.REPLACE, was.id, *_values(wanted), next_at, caller.id, anew)
        rows = await connection.fetch(sql.CLOSE, was.id, REDEFINED) if anew else []
        return [row["task_id"] for row in rows if row["task_id"] is not None]

    async def _end(self, tasks: list[UUID]) -> None:
        if tasks:
            await self._cancel(PROBES_TENANT, tasks, *GONE)


def _values(wanted: Definition) -> tuple[object, ...]:
    return (
        wanted.pool,
        wanted.type,
        dump_json(wanted.payload),
        wanted.every_s,
        wanted.timeout_s,
        dump_json(wanted.declared),
        wanted.fail_after,
        wanted.of_last,
        dump_json(wanted.labels),
        wanted.enabled,
    )


def _asks(was: ProbeRecord) -> tuple[object, ...]:
    """What a run's outcome is an answer to."""
    return was.pool, was.type, was.payload, was.timeout_s, was.checks


def _asks_anew(wanted: Definition) -> tuple[object, ...]:
    return wanted.pool, wanted.type, dump_json(wanted.payload), wanted.timeout_s, dump_json(wanted.declared)


def _found(row: Any) -> ProbeRecord:
    if row is None:
        raise _missing()
    return probe_queries.record(row)


def _missing() -> ProbeNotFound:
    return ProbeNotFound("There is no probe with this name.")
