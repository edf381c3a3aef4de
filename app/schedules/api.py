"""`/v1/schedules`: `tasks:read` to see them, `tasks:write` to change them, as for the tasks they make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import orjson
from fastapi import APIRouter, Path, Query

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.schedules import queries, wire
from app.schedules.records import RunRecord, ScheduleRecord
from app.schedules.service import Definition, Schedules, check_timing
from app.schedules.ticks import Timing

LAST_RUNS = 10

Name = Annotated[str, Path(pattern=wire.NAME, examples=[wire.SCHEDULE_EXAMPLE["name"]])]
Count = Annotated[int, Query(ge=1, le=wire.MAX_PREVIEW, examples=[10])]


def router(schedules: Schedules, edge: Edge, clock: Clock) -> APIRouter:
    """The routes of schedules."""
    api = APIRouter(prefix="/v1/schedules", tags=["schedules"], route_class=StrictRoute)
    _add_preview(api, schedules, edge, clock)
    _add_definitions(api, schedules, edge, clock)
    _add_moves(api, schedules, edge)
    return api


def _add_preview(api: APIRouter, schedules: Schedules, edge: Edge, clock: Clock) -> None:
    @api.post("/preview", responses=problems(400, 401, 403, 413, 422, 503), summary="Preview a timing")
    async def preview(body: wire.PreviewIn, caller: Caller = edge.require("tasks:read")) -> wire.PreviewOut:
        """The ticks that a schedule with this timing would have; nothing is stored. 422 `bad_cron`,
        `cron_never_fires` or `bad_timezone` says what is wrong."""
        timing = body.timing(clock.now())
        check_timing(timing)
        return _preview(timing, await schedules.preview(timing, body.count))

    @api.get("/{name}/preview", responses=problems(401, 403, 404, 422, 503), summary="Preview a schedule")
    async def preview_schedule(
        name: Name, count: Count = 10, caller: Caller = edge.require("tasks:read")
    ) -> wire.PreviewOut:
        """Its next ticks from now, paused or not. In the gap of daylight saving a fixed time moves to the gap's end; in
        the fold it comes once. A cron with `*` for its minute or hour follows real time."""
        timing = (await schedules.get(caller, name)).timing
        return _preview(timing, await schedules.preview(timing, count))


def _add_definitions(api: APIRouter, schedules: Schedules, edge: Edge, clock: Clock) -> None:
    @api.put("/{name}", responses=problems(400, 401, 403, 404, 409, 413, 422, 503), summary="Define a schedule")
    async def put(name: Name, body: wire.ScheduleIn, caller: Caller = edge.require("tasks:write")) -> wire.ScheduleOut:
        """Creates it or replaces its definition. One whose timing stays the same keeps its next tick.

        Each tick makes one task, however many managers run. The task is checked now, against the pool's contract, and
        again at each tick: one that cannot be submitted then is a failed run, and the schedule goes on. So it is while
        the key that defined it is revoked or expired (`key_ended`).
        """
        return _out(await schedules.put(caller, name, _definition(body, clock.now())))

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List schedules")
    async def list_schedules(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("tasks:read")
    ) -> wire.SchedulePage:
        """By name."""
        after = resume_after(page_token, "schedules") if page_token else ""
        found = await queries.schedules(schedules.db, caller.tenant, after=after, limit=page_size + 1)
        page = found[:page_size]
        token = encode_page_token("schedules", page[-1].name) if len(found) > page_size else None
        return wire.SchedulePage(items=[_out(item) for item in page], next_page_token=token)

    @api.get("/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a schedule")
    async def read(name: Name, caller: Caller = edge.require("tasks:read")) -> wire.WholeScheduleOut:
        """With its latest ticks."""
        found = await schedules.get(caller, name)
        runs = await queries.runs(schedules.db, found.id, before=None, limit=LAST_RUNS)
        return wire.WholeScheduleOut(**_out(found).model_dump(), last_runs=[_run(run) for run in runs])

    @api.delete("/{name}", status_code=204, responses=problems(401, 403, 404, 422, 503), summary="Remove a schedule")
    async def remove(name: Name, caller: Caller = edge.require("tasks:write")) -> None:
        """With the list of its runs. The tasks that it made go on."""
        await schedules.remove(caller, name)

    @api.get("/{name}/runs", responses=problems(400, 401, 403, 404, 422, 503), summary="List runs")
    async def runs(
        name: Name, page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("tasks:read")
    ) -> wire.RunPage:
        """What became of each tick, the latest first."""
        before = _moment(resume_after(page_token, "runs")) if page_token else None
        found = await schedules.get(caller, name)
        listed = await queries.runs(schedules.db, found.id, before=before, limit=page_size + 1)
        page = listed[:page_size]
        token = encode_page_token("runs", page[-1].tick_at.isoformat()) if len(listed) > page_size else None
        return wire.RunPage(items=[_run(run) for run in page], next_page_token=token)


def _add_moves(api: APIRouter, schedules: Schedules, edge: Edge) -> None:
    @api.post("/{name}/pause", responses=problems(401, 403, 404, 422, 503), summary="Pause a schedule")
    async def pause(name: Name, caller: Caller = edge.require("tasks:write")) -> wire.ScheduleOut:
        """It makes nothing until it is resumed. Tasks that it made go on."""
        return _out(await schedules.pause(caller, name))

    @api.post("/{name}/resume", responses=problems(401, 403, 404, 422, 503), summary="Resume a schedule")
    async def resume(name: Name, caller: Caller = edge.require("tasks:write")) -> wire.ScheduleOut:
        """It goes on with the next tick from now; ticks of the pause are not made (see backfill)."""
        return _out(await schedules.resume(caller, name))

    @api.post(
        "/{name}/trigger",
        status_code=202,
        responses=problems(401, 403, 404, 409, 422, 503),
        summary="Make its task now",
    )
    async def trigger(name: Name, caller: Caller = edge.require("tasks:write")) -> wire.TriggeredOut:
        """Besides its ticks, whatever runs and paused or not. You are who submits it."""
        tick_at, task_id = await schedules.trigger(caller, name)
        return wire.TriggeredOut(task_id=task_id, tick_at=tick_at)

    @api.post(
        "/{name}/backfill",
        status_code=202,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Make past ticks",
    )
    async def backfill(
        name: Name, body: wire.BackfillIn, caller: Caller = edge.require("tasks:write")
    ) -> wire.BackfillOut:
        """The ticks of a past period that made no task yet, oldest first: at once where tasks may overlap, else one
        after the other. 422 `too_many_ticks` for a period with too many, 409 `backfill_running` during another one."""
        found, count = await schedules.backfill(caller, name, body.start, body.until)
        return wire.BackfillOut(name=found.name, ticks=count)


def _definition(body: wire.ScheduleIn, now: datetime) -> Definition:
    return Definition(
        timing=body.timing(now),
        anchored=body.anchor_at is not None,
        task=body.task.model_dump(mode="json", exclude_unset=True),
        submission=body.task.submission(),
        misfire=body.misfire,
        misfire_grace_s=body.misfire_grace_s,
        max_catch_up=body.max_catch_up,
        overlap=body.overlap,
    )


def _out(found: ScheduleRecord) -> wire.ScheduleOut:
    values = {name: getattr(found, name) for name in wire.ScheduleOut.model_fields}
    values["task"] = orjson.loads(found.task)
    if found.interval_s is None:
        values["anchor_at"] = None
    return wire.ScheduleOut(**values)


def _run(run: RunRecord) -> wire.RunOut:
    return wire.RunOut.model_validate(run, from_attributes=True)


def _preview(timing: Timing, ticks: list[datetime]) -> wire.PreviewOut:
    zone = ZoneInfo(timing.timezone)
    return wire.PreviewOut(ticks=ticks, local=[tick.astimezone(zone).isoformat() for tick in ticks])


def _moment(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
