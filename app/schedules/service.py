"""Verbs of schedules: define, pause, resume, trigger, backfill, remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils

from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound
from app.core.jsonbody import dump_json
from app.registry.service import PoolNotFound
from app.registry.view import RegistryView
from app.schedules import queries, ticks
from app.schedules import statements as sql
from app.schedules.firing import Firing, Refused
from app.schedules.loop import Now, database_now
from app.schedules.records import ScheduleRecord
from app.schedules.ticks import Timing
from app.settings import ScheduleSettings
from app.tasks.service import ContractViolation, NoPoolForType
from app.tasks.submission import Submission


class ScheduleNotFound(NotFound):
    code, title = "schedule_not_found", "No such schedule"


class TooManySchedules(Conflict):
    code, title = "too_many_schedules", "Too many schedules"


class BackfillRunning(Conflict):
    code, title = "backfill_running", "A backfill is under way"


class BadCron(Invalid):
    code, title = "bad_cron", "Bad cron expression"


class CronNeverFires(Invalid):
    code, title = "cron_never_fires", "The cron never fires"


class BadTimezone(Invalid):
    code, title = "bad_timezone", "No such time zone"


class AtIsPast(Invalid):
    code, title = "at_is_past", "The time is past"


class TooManyTicks(Invalid):
    code, title = "too_many_ticks", "Too many ticks"


class BadPeriod(Invalid):
    code, title = "bad_period", "Bad period"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a schedule is defined as. `timing.anchor_at` counts only where `anchored`."""

    timing: Timing
    anchored: bool
    task: dict[str, Any]
    submission: Submission
    misfire: str
    misfire_grace_s: float
    max_catch_up: int
    overlap: str


def check_timing(timing: Timing) -> None:
    """Raise BadTimezone, BadCron or CronNeverFires, naming the field."""
    try:
        ticks.check(timing)
    except ticks.BadTimezone as exc:
        raise BadTimezone(f"timezone: {exc}.", extra=_at("timezone", exc)) from None
    except ticks.BadCron as exc:
        raise BadCron(f"cron: {exc}.", extra=_at("cron", exc)) from None
    except ticks.CronNeverFires as exc:
        raise CronNeverFires(f"cron: {exc}.", extra=_at("cron", exc)) from None


def _at(path: str, message: object) -> dict[str, object]:
    return {"errors": [{"path": path, "message": str(message)}]}


class Schedules:
    """The verbs. `on_change` is called when the loop may have something to do sooner than it knows."""

    def __init__(
        self, db: Database, view: RegistryView, firing: Firing, settings: ScheduleSettings, *, now: Now = database_now
    ) -> None:
        self.db, self._view, self._firing, self._settings, self._now = db, view, firing, settings, now
        self.on_change: Callable[[], None] = lambda: None

    async def put(self, caller: Caller, name: str, wanted: Definition) -> ScheduleRecord:
        """Create or replace. With its timing unchanged, a schedule keeps its anchor and its next tick. Raises Invalid
        kinds, PoolNotFound or TooManySchedules."""
        check_timing(wanted.timing)
        await self._check_task(wanted.submission)
        async with self.db.hot() as connection, connection.transaction():
            now = await self._now(connection)
            row = await connection.fetchrow(sql.LOCK, caller.tenant, name)
            made = await self._insert(connection, caller, name, wanted, now) if row is None else None
            if made is None:
                row = row or await connection.fetchrow(sql.LOCK, caller.tenant, name)  # made a moment ago
                made = await self._replace(connection, caller, _found(row), wanted, now)
        self.on_change()
        return made

    async def get(self, caller: Caller, name: str) -> ScheduleRecord:
        """A schedule of the caller's tenant; raises ScheduleNotFound."""
        found = await queries.schedule(self.db, caller.tenant, name)
        if found is None:
            raise _missing()
        return found

    async def remove(self, caller: Caller, name: str) -> None:
        """Delete it with its runs. Tasks that it made go on."""
        async with self.db.hot() as connection:
            if not await connection.fetchval(sql.DELETE, caller.tenant, name):
                raise _missing()

    async def pause(self, caller: Caller, name: str) -> ScheduleRecord:
        """Make nothing, ticks that wait and backfills included, until it is resumed."""
        async with self.db.hot() as connection, connection.transaction():
            was = _found(await connection.fetchrow(sql.LOCK, caller.tenant, name))
            return _found(await connection.fetchrow(sql.PAUSE, was.id, True, was.next_at))

    async def resume(self, caller: Caller, name: str) -> ScheduleRecord:
        """Go on with the next tick from now. Ticks of the pause are not made (see backfill); those that waited are."""
        async with self.db.hot() as connection, connection.transaction():
            was = _found(await connection.fetchrow(sql.LOCK, caller.tenant, name))
            next_at = was.next_at
            if was.paused:
                next_at = ticks.next_after(was.timing, await self._now(connection))
            record = _found(await connection.fetchrow(sql.PAUSE, was.id, False, next_at))
        self.on_change()
        return record

    async def trigger(self, caller: Caller, name: str) -> tuple[datetime, UUID]:
        """Make a task now, submitted by the caller, besides the ticks and whatever runs: its tick and id. Raises what
        submitting it raises."""
        async with self.db.hot() as connection, connection.transaction():
            schedule = _found(await connection.fetchrow(sql.LOCK, caller.tenant, name))
            now = await self._now(connection)
            try:
                fired = await self._firing.trigger(connection, caller, schedule, now)
            except Refused as refused:
                raise refused.problem from None
        fired.committed()
        return now, fired.task_ids[0]

    async def backfill(self, caller: Caller, name: str, start: datetime, end: datetime) -> tuple[ScheduleRecord, int]:
        """Have the ticks of a past period made that made no task yet, both ends included; the record, and how many
        ticks there are. Raises BadPeriod, TooManyTicks or BackfillRunning."""
        async with self.db.hot() as connection, connection.transaction():
            was = _found(await connection.fetchrow(sql.LOCK, caller.tenant, name))
            if start > end or end > await self._now(connection):
                raise BadPeriod("`from` must not be after `until`, and `until` not in the future.")
            if was.backfill_from is not None:
                raise BackfillRunning("A backfill of this schedule is under way; wait until it is done.")
            most = self._settings.max_backfill
            found = ticks.ticks_within(was.timing, start - ticks.MICROSECOND, end, most + 1)
            if len(found) > most:
                raise TooManyTicks(f"There are more than {most} ticks in this period; ask for a shorter one.")
            if found:
                row = await connection.fetchrow(sql.BACKFILL, was.id, start - ticks.MICROSECOND, end)
                was = _found(row)
        self.on_change()
        return was, len(found)

    async def preview(self, timing: Timing, count: int) -> list[datetime]:
        """The next ticks from now."""
        async with self.db.read() as connection:
            now = await self._now(connection)
        return ticks.ticks_within(timing, now, datetime.max.replace(tzinfo=now.tzinfo), count)

    async def _insert(
        self, connection: HotConnection, caller: Caller, name: str, wanted: Definition, now: datetime
    ) -> ScheduleRecord | None:
        if int(await connection.fetchval(sql.COUNT, caller.tenant)) >= self._settings.max_per_tenant:
            raise TooManySchedules(f"A tenant may have {self._settings.max_per_tenant} schedules; delete one first.")
        timing = _anchored(wanted, None, now)
        next_at = _first_tick(timing, now)
        schedule_id = UUID(bytes=uuid_utils.uuid7().bytes)
        row = await connection.fetchrow(
            sql.INSERT, schedule_id, caller.tenant, name, *_timing(timing), *_task(wanted), caller.id, next_at
        )
        return None if row is None else ScheduleRecord(*row)

    async def _replace(
        self, connection: HotConnection, caller: Caller, was: ScheduleRecord, wanted: Definition, now: datetime
    ) -> ScheduleRecord:
        timing = _anchored(wanted, was.timing, now)
        next_at = was.next_at if timing == was.timing else _first_tick(timing, now)
        row = await connection.fetchrow(sql.REPLACE, was.id, *_timing(timing), *_task(wanted), caller.id, next_at)
        return _found(row)

    async def _check_task(self, item: Submission) -> None:
        """Raise what submitting the task now would raise. It is looked at again at each tick: pools change."""
        pool = self._view.pools.get(item.pool) if item.pool else self._view.pool_for_type(item.type or "")
        if pool is None:
            await self._view.refresh()  # it may have been defined a moment ago, on another manager
            pool = self._view.pools.get(item.pool) if item.pool else self._view.pool_for_type(item.type or "")
        if pool is None and item.pool:
            raise PoolNotFound(f"There is no pool {item.pool!r}.", extra=_at("task.pool", "no such pool"))
        if pool is None:
            raise NoPoolForType(
                f"No pool has the skill {item.type!r}.", extra=_at("task.type", "no pool has this skill")
            )
        errors = pool.input_contract.errors(item.payload)
        if errors:
            listed = [{**error, "path": "task.payload" + error["path"]} for error in errors]
            first = listed[0]
            raise ContractViolation(f"{first['path']}: {first['message']}", extra={"errors": listed, "pool": pool.name})


def _anchored(wanted: Definition, was: Timing | None, now: datetime) -> Timing:
    """The timing with its anchor: the one asked for, the one it had if the interval is the same, or now."""
    if wanted.anchored:
        return wanted.timing
    kept = was is not None and was.interval_s == wanted.timing.interval_s
    return replace(wanted.timing, anchor_at=was.anchor_at if kept and was is not None else now)


def _first_tick(timing: Timing, now: datetime) -> datetime | None:
    if timing.at is not None and timing.at <= now:
        raise AtIsPast("`at` is past: there would never be a tick.", extra=_at("at", "is past"))
    return ticks.next_after(timing, now)


def _timing(timing: Timing) -> tuple[object, ...]:
    return timing.cron, timing.timezone, timing.interval_s, timing.anchor_at, timing.at


def _task(wanted: Definition) -> tuple[object, ...]:
    return dump_json(wanted.task), wanted.misfire, wanted.misfire_grace_s, wanted.max_catch_up, wanted.overlap


def _found(row: Any) -> ScheduleRecord:
    if row is None:
        raise _missing()
    return ScheduleRecord(*row)


def _missing() -> ScheduleNotFound:
    return ScheduleNotFound("There is no schedule with this name.")
