"""Making the tasks of one schedule, in one transaction with its row locked: task, run and next tick commit together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import orjson
from prometheus_client import Counter, Histogram

from app.auth.callers import Caller
from app.core.db import HotConnection
from app.core.errors import Invalid, Problem
from app.core.failpoints import reach
from app.core.http import validated
from app.schedules import overlap, ticks
from app.schedules import statements as sql
from app.schedules.overlap import Plan, Planned
from app.schedules.records import ScheduleRecord
from app.schedules.ticks import Due
from app.schedules.wire import ScheduledTaskIn
from app.settings import ScheduleSettings
from app.tasks.submission import Accepted, Submission

RUNS = Counter("yard_schedule_runs", "Ticks of schedules, by what came of them.", ["outcome"])
LATE = Histogram("yard_schedule_late_seconds", "How long after its time a tick's task was made.")

MISSED = "Missed: it was not looked at in time, nor were the ticks up to the next run in this list."
TRIGGERED = "Triggered by hand."
CANCELLED = "A later tick of its schedule was due."

type Committed = Callable[[], None]


class KeyEnded(Problem):
    status, code, title = 403, "key_ended", "The key has ended"


class Submit(Protocol):
    """Inserts tasks in the caller's transaction; call what is returned besides after its commit. Raises Problems for
    what cannot be accepted; a task whose idempotency key is in use is left out."""

    async def __call__(
        self, connection: HotConnection, caller: Caller, submissions: Sequence[Submission], keys: Sequence[str | None]
    ) -> tuple[list[Accepted], Committed]: ...


type Cancel = Callable[[str, Sequence[UUID], str], Awaitable[object]]
"""Cancels tasks of a tenant that are not final, in a transaction of its own: (tenant, ids, reason)."""


@dataclass(slots=True)
class Fired:
    """What one transaction made. Call `committed` after its commit; `more`: there is more to be made at once."""

    more: bool = False
    outcomes: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    callbacks: list[Committed] = field(default_factory=list)
    task_ids: list[UUID] = field(default_factory=list)

    def committed(self) -> None:
        """Tell those who may do something with it, and count."""
        for call in self.callbacks:
            call()
        for outcome in self.outcomes:
            RUNS.labels(outcome).inc()
        for late_s in self.late_s:
            LATE.observe(late_s)


def submission_of(schedule: ScheduleRecord) -> Submission:
    """What a tick submits; raises Invalid where the rules have changed since it was stored."""
    body = validated(ScheduledTaskIn, orjson.loads(schedule.task))
    if body is None:
        raise Invalid("The task fits the service's rules no more; define the schedule anew.")
    return body.submission()


def caller_of(schedule: ScheduleRecord) -> Caller:
    """Who submits it: whoever defined the schedule last."""
    return Caller(schedule.created_by, schedule.tenant, frozenset({"tasks:write"}))


class Firing:
    """Fires schedules. Holds nothing between calls."""

    def __init__(self, submit: Submit, cancel: Cancel, settings: ScheduleSettings) -> None:
        self._submit, self._cancel, self._settings = submit, cancel, settings

    async def fire(self, connection: HotConnection, schedule: ScheduleRecord, now: datetime) -> Fired:
        """Make what is due. The schedule's row is locked by the connection's transaction."""
        fired = Fired()
        due = Due([], None, schedule.next_at, more=False)
        if schedule.next_at is not None and schedule.next_at <= now:
            due = ticks.due(schedule.timing, schedule.next_at, now, schedule.policy, self._settings.batch)
        past, backfill_from, backfill_until = await self._past(connection, schedule)
        fired.more = due.more or backfill_from is not None
        if due.missed_from is not None:
            await self._record(connection, schedule, [Planned(due.missed_from, "skipped", MISSED)], {}, fired)
        plan, open_ids = await self._plan(connection, schedule, due.ticks, past)
        ended = await self._ended(connection, schedule) if plan.ticks else None
        if plan.cancel and ended is None:
            # Before the new task, in a transaction of its own: cut short between the two, the next pass makes the task.
            await self._cancel(schedule.tenant, open_ids, CANCELLED)
        await self._carry_out(connection, schedule, plan.ticks, fired, ended)
        reach("schedules.made")
        place = (due.next_at, backfill_from, backfill_until)
        if place != (schedule.next_at, schedule.backfill_from, schedule.backfill_until):
            await connection.execute(sql.MOVE, schedule.id, *place)
            await connection.execute(sql.TRIM, schedule.id, self._settings.keep_runs)
        fired.late_s = [(now - tick).total_seconds() for tick in due.ticks]
        return fired

    async def trigger(
        self, connection: HotConnection, caller: Caller, schedule: ScheduleRecord, now: datetime
    ) -> Fired:
        """Make one task now, whatever is open, submitted by `caller`; raises Refused."""
        fired = Fired()
        tasks = await self._submit_ticks(connection, caller, schedule, [now], fired)
        await self._record(connection, schedule, [Planned(now, "submitted", TRIGGERED)], tasks, fired)
        return fired

    async def _past(
        self, connection: HotConnection, schedule: ScheduleRecord
    ) -> tuple[list[datetime], datetime | None, datetime | None]:
        """Ticks of a backfill that were not made before, and what is left of it: from, until (None: nothing)."""
        start, until, limit = schedule.backfill_from, schedule.backfill_until, self._settings.batch
        if start is None or until is None:
            return [], None, None
        found = ticks.ticks_within(schedule.timing, start, until, limit)
        done = {row["tick_at"] for row in await connection.fetch(sql.MADE, schedule.id, found)}
        ahead = schedule.next_at  # from there on ticks come by themselves
        fresh = [tick for tick in found if tick not in done and (ahead is None or tick < ahead)]
        return (fresh, found[-1], until) if len(found) == limit else (fresh, None, None)

    async def _plan(
        self, connection: HotConnection, schedule: ScheduleRecord, due: Sequence[datetime], past: Sequence[datetime]
    ) -> tuple[Plan, list[UUID]]:
        """What becomes of each tick, and the open tasks of the schedule (not looked for where they may overlap)."""
        waiting = [row["tick_at"] for row in await connection.fetch(sql.WAITING, schedule.id)]
        open_ids: list[UUID] = []
        if schedule.overlap != "allow" and (due or past or waiting):
            open_ids = [row["id"] for row in await connection.fetch(sql.OPEN, schedule.id)]
        most = self._settings.max_waiting
        found = overlap.plan(
            schedule.overlap, due, past=past, waiting=waiting, is_open=bool(open_ids), max_waiting=most
        )
        return found, open_ids

    async def _ended(self, connection: HotConnection, schedule: ScheduleRecord) -> Refused | None:
        """Why the schedule's key may submit no more; None while it may."""
        if await connection.fetchval(sql.KEY_LIVES, schedule.created_by):
            return None
        return Refused(KeyEnded("The key that defined the schedule was revoked or has expired; define it anew."))

    async def _carry_out(
        self,
        connection: HotConnection,
        schedule: ScheduleRecord,
        planned: Sequence[Planned],
        fired: Fired,
        ended: Refused | None,
    ) -> None:
        made = [item.tick_at for item in planned if item.verdict == "submitted"]
        try:
            if ended is not None:
                raise ended
            tasks = await self._submit_ticks(connection, caller_of(schedule), schedule, made, fired)
        except Refused as refused:
            await self._record(connection, schedule, planned, {}, fired, failed=str(refused))
        else:
            await self._record(connection, schedule, planned, tasks, fired)

    async def _submit_ticks(
        self,
        connection: HotConnection,
        caller: Caller,
        schedule: ScheduleRecord,
        made: Sequence[datetime],
        fired: Fired,
    ) -> dict[datetime, UUID]:
        """The task of each tick, made now or before; raises Refused where none can be, having written nothing."""
        if not made:
            return {}
        keys = [schedule.key(tick) for tick in made]
        try:
            async with connection.transaction():
                item = submission_of(schedule)
                _, committed = await self._submit(connection, caller, [item] * len(made), keys)
        except Problem as problem:
            if problem.status >= 500:
                raise  # a fault of ours that passes: the next pass tries again
            raise Refused(problem) from problem
        fired.callbacks.append(committed)
        rows = await connection.fetch(sql.TASKS_OF_KEYS, schedule.tenant, keys)
        found = {row["idempotency_key"]: row["id"] for row in rows}
        fired.task_ids += [found[key] for key in keys]
        return {tick: found[key] for tick, key in zip(made, keys, strict=True)}

    async def _record(
        self,
        connection: HotConnection,
        schedule: ScheduleRecord,
        planned: Sequence[Planned],
        tasks: Mapping[datetime, UUID],
        fired: Fired,
        *,
        failed: str | None = None,
    ) -> None:
        """Write the runs. `failed`: why no task could be made of those that were to have one."""
        if not planned:
            return
        fails = [failed is not None and item.verdict == "submitted" for item in planned]
        outcomes = ["failed" if fail else item.verdict for item, fail in zip(planned, fails, strict=True)]
        reasons = [failed if fail else item.reason for item, fail in zip(planned, fails, strict=True)]
        at = [item.tick_at for item in planned]
        await connection.execute(sql.RECORD, schedule.id, at, outcomes, reasons, [tasks.get(tick) for tick in at])
        fired.outcomes += outcomes


class Refused(Exception):
    """No task can be made of the schedule as things are; its text says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}"[:500])
        self.problem = problem
