"""`/v1/stops`, `/v1/tasks/bulk/…` and `/v1/tasks/{id}/explain`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken
from app.core.http import PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.dispatch import control_wire as wire
from app.dispatch.explain import Estimate, Explanation
from app.dispatch.explain_facts import TaskFacts
from app.dispatch.explainer import Explainer
from app.dispatch.stop_report import Report, report
from app.dispatch.stopping import Stopping
from app.registry import stops
from app.registry.stops import StopRecord
from app.tasks.api import TaskId
from app.tasks.bulk import Bulk, Outcome

StopId = Annotated[UUID, Path(examples=["01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10"])]


def stops_router(db: Database, stopping: Stopping, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/stops", tags=["stops"], route_class=StrictRoute)

    async def whole(stop: StopRecord) -> wire.StopOut:
        async with db.read() as connection:
            return wire.StopOut(**_summary(stop).model_dump(), report=_report(await report(connection, stop)))

    @api.post(
        "", status_code=201, responses=problems(400, 401, 403, 404, 413, 422, 503), summary="Stop tasks or agents"
    )
    async def make(body: wire.StopIn, caller: Caller = edge.require("pools:admin")) -> wire.StopOut:
        """Running attempts that fit are taken from their agents, whose late results are refused; nothing that fits
        starts until the stop is lifted. Without the scope `admin` one stops one's own tenant only, anywhere or in a
        pool."""
        return await whole(await stopping.stop(caller, body.selector(), body.reason))

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List stops")
    async def list_stops(
        standing: Annotated[
            bool | None, Query(description="Only those that stand, or do not.", examples=[True])
        ] = None,
        page_size: Annotated[int, Query(ge=1, le=500, examples=[50])] = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("pools:admin"),
    ) -> wire.StopPage:
        """Newest first; without the scope `admin` those of one's own tenant."""
        before = _uuid(resume_after(page_token, "stops")) if page_token else None
        async with db.read() as connection:
            found = await stops.page(connection, _tenant(caller), before, standing, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("stops", str(page[-1].id)) if len(found) > page_size else None
        return wire.StopPage(items=[_summary(item) for item in page], next_page_token=token)

    @api.get("/{stop_id}", responses=problems(401, 403, 404, 422, 503), summary="Read a stop and its report")
    async def read(stop_id: StopId, caller: Caller = edge.require("pools:admin")) -> wire.StopOut:
        """Who stopped, who did not answer, what was spent, and what is held."""
        async with db.read() as connection:
            stop = await stops.get(connection, stop_id, _tenant(caller))
        return await whole(stop)

    @api.post("/{stop_id}/lift", responses=problems(401, 403, 404, 409, 422, 503), summary="Lift a stop")
    async def lift(stop_id: StopId, caller: Caller = edge.require("pools:admin")) -> wire.StopOut:
        """What it held may start again, in its old order. Lifting twice changes nothing."""
        return await whole(await stopping.lift(caller, stop_id))

    return api


def bulk_router(bulk: Bulk, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/tasks/bulk", tags=["tasks"], route_class=StrictRoute)

    @api.post("/cancel", responses=problems(400, 401, 403, 413, 422, 503), summary="Cancel many tasks")
    async def cancel(body: wire.BulkCancelIn, caller: Caller = edge.require("tasks:write")) -> wire.BulkOut:
        """Counts only, unless `dry_run` is false. Then in batches, oldest first, each whole or not at all."""
        outcome = await bulk.cancel(
            caller.tenant, body.filter.filter(), body.reason, dry_run=body.dry_run, limit=body.limit
        )
        return _moved(outcome)

    @api.post("/retry", responses=problems(400, 401, 403, 413, 422, 503), summary="Retry many failed tasks")
    async def retry(body: wire.BulkRetryIn, caller: Caller = edge.require("tasks:write")) -> wire.BulkOut:
        """The same for failed tasks, which are queued again with their attempts counted from zero."""
        outcome = await bulk.retry(caller.tenant, body.filter.filter(), dry_run=body.dry_run, limit=body.limit)
        return _moved(outcome)

    return api


def explain_router(explainer: Explainer, clock: Clock, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=StrictRoute)

    @api.get("/{task_id}/explain", responses=problems(401, 403, 404, 422, 503), summary="Explain a task")
    async def explained(task_id: TaskId, caller: Caller = edge.require("tasks:read")) -> wire.ExplanationOut:
        """What happened so far, each thing that keeps it from going on now, its place in the queue, and when it may
        start."""
        task, explanation = await explainer.explain(caller.tenant, task_id)
        return _explained(task, explanation, clock.now())

    return api


def _tenant(caller: Caller) -> str | None:
    return None if caller.may("admin") else caller.tenant


def _summary(stop: StopRecord) -> wire.StopSummary:
    label = None
    if stop.label_key is not None:
        label = wire.LabelIn(key=stop.label_key, value=stop.label_value or "")
    names = [name for name in wire.StopSummary.model_fields if name != "label"]
    return wire.StopSummary(**{name: getattr(stop, name) for name in names}, label=label)


def _report(found: Report) -> wire.StopReport:
    return wire.StopReport(
        asked=found.asked,
        stopped=found.stopped,
        no_answer=found.no_answer,
        attempts=[wire.StoppedAttemptOut.model_validate(item, from_attributes=True) for item in found.attempts],
        spent=wire.SpentOut(
            input_tokens=found.input_tokens, output_tokens=found.output_tokens, cost_usd=found.cost_usd
        ),
        held=found.held,
        held_more=found.held_more,
    )


def _moved(outcome: Outcome) -> wire.BulkOut:
    return wire.BulkOut.model_validate(outcome, from_attributes=True)


def _explained(task: TaskFacts, found: Explanation, now: datetime) -> wire.ExplanationOut:
    return wire.ExplanationOut(
        task_id=task.id,
        status=task.status,
        pool=task.pool,
        summary=found.summary,
        timeline=[wire.MomentOut.model_validate(item, from_attributes=True) for item in found.timeline],
        blockers=[
            wire.BlockerOut(code=item.code, message=item.message, until=item.until, ids=list(item.ids), by=item.by)
            for item in found.blockers
        ],
        position=None if found.ahead is None else wire.PositionOut(ahead=found.ahead, more=found.ahead_more),
        estimate=None if found.estimate is None else _estimated(found.estimate, now),
    )


def _estimated(found: Estimate, now: datetime) -> wire.EstimateOut:
    starts_at = None if found.starts_in_s is None else now + timedelta(seconds=min(found.starts_in_s, 1e9))
    return wire.EstimateOut(starts_in_s=found.starts_in_s, starts_at=starts_at, basis=found.basis)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
