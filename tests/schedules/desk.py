"""Schedules of a manager in this process, the loop driven by hand at hours that a test names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.auth.callers import Caller
from app.core.db import HotConnection
from app.schedules import queries
from app.schedules.firing import Firing
from app.schedules.loop import ScheduleLoop
from app.schedules.records import RunRecord, ScheduleRecord
from app.schedules.service import Definition, Schedules
from app.schedules.ticks import Timing
from app.schedules.wire import ScheduledTaskIn
from app.settings import ScheduleSettings
from app.wiring import Yard

START = datetime(2026, 1, 5, tzinfo=UTC)
CALLER = Caller("key", "default", frozenset({"tasks:write"}))


class Desk:
    """Time is `now`, and moves by `forward`. The pool `echo` is to be defined by the test."""

    def __init__(self, yard: Yard, **options: Any) -> None:
        self.yard, self.db, self.now = yard, yard.db, START
        self.settings = ScheduleSettings(**options)
        self.firing = Firing(yard.tasks.submit_within, yard.tasks.cancel_many, self.settings)
        self.schedules = Schedules(self.db, yard.view, self.firing, self.settings, now=self._time)
        self.loop = ScheduleLoop(self.db, self.firing, self.settings, now=self._time)

    async def key(self, key_id: str = CALLER.id, **values: Any) -> None:
        """Such a key is there; `values` are those of columns, in SQL."""
        names = "".join(f", {name}" for name in values)
        given = "".join(f", {value}" for value in values.values())
        await self.sql(
            "INSERT INTO api_keys (id, tenant, name, digest, scopes" + names + ") "
            "VALUES ($1, 'default', 'test', '', '{tasks:write}'" + given + ")",
            key_id,
        )

    async def _time(self, _: HotConnection) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def put(self, name: str = "s", *, pool: str = "echo", **fields: Any) -> ScheduleRecord:
        """A schedule every minute, unless `fields` say otherwise."""
        when = {key: fields.pop(key) for key in ("cron", "timezone", "interval_s", "at") if key in fields}
        timing = Timing(self.now, **(when or {"interval_s": 60.0}))
        task = {"pool": pool, "payload": name}
        policy = {"misfire": "run_all", "misfire_grace_s": 3600.0, "max_catch_up": 100, "overlap": "allow", **fields}
        item = ScheduledTaskIn.model_validate(task).submission()
        wanted = Definition(timing=timing, anchored=False, task=task, submission=item, **policy)
        return await self.schedules.put(CALLER, name, wanted)

    async def run(self) -> None:
        """Passes until there is nothing more to be done at once."""
        while await self.loop.tick() == 0.0:
            pass

    async def runs(self, name: str = "s") -> list[RunRecord]:
        """Every run, the earliest tick first."""
        found = await self.schedules.get(CALLER, name)
        return (await queries.runs(self.db, found.id, before=None, limit=10_000))[::-1]

    async def outcomes(self, name: str = "s") -> list[str]:
        return [run.outcome for run in await self.runs(name)]

    async def tasks(self) -> list[tuple[UUID, str]]:
        """All tasks, (id, status), in the order they were made."""
        return [(row["id"], row["status"]) for row in await self.sql("SELECT id, status FROM tasks ORDER BY id")]

    async def end(self, *task_ids: UUID | None) -> None:
        """These tasks are over."""
        await self.sql("UPDATE tasks SET status = 'succeeded', finished_at = now() WHERE id = ANY($1)", list(task_ids))

    async def sql(self, statement: str, *args: Any) -> Sequence[Any]:
        async with self.db.hot() as connection:
            return await connection.fetch(statement, *args)
