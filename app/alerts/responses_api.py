"""`/v1/emergency-mode`, `/v1/alert-actions` and `/v1/alert-reports`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from app.alerts import responses_wire as wire
from app.alerts.action_queries import Account
from app.alerts.interventions import Interventions
from app.alerts.rule import ActionName
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.limits.restraints import Restraint
from app.registry.wire import NAME

FIELDS = {"min_priority", "max_share", "max_running", "require_approval"}

ActionId = Annotated[UUID, Path(examples=["01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10"])]
Text = Annotated[str | None, Query(min_length=1, max_length=100, examples=["critical_error_rate"])]
Fingerprint = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{32}$", description="Of this alert instance.", examples=["5f0c2a537f7e4b1e9d0c1f8d7a0d7f10"]
    ),
]
Pool = Annotated[str | None, Query(pattern=NAME, description="Of this pool only.", examples=["log_analyzer"])]


def emergency_router(people: Interventions, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/emergency-mode", tags=["responses"], route_class=StrictRoute)

    @api.get("", responses=problems(401, 403, 422, 503), summary="Read emergency mode")
    async def read(caller: Caller = edge.require("tasks:read")) -> wire.EmergencyState:
        """What stands, of the installation and of pools, oldest first."""
        return _state(await people.emergency())

    @api.put(
        "",
        responses={**problems(400, 401, 403, 404, 413, 422, 503), 201: {"model": wire.EmergencyState}},
        summary="Switch emergency mode on",
    )
    async def switch_on(
        body: wire.EmergencyIn, response: Response, caller: Caller = edge.require("admin")
    ) -> wire.EmergencyState:
        """For a pool or the installation, in place of what people had switched on there before; what alerts have
        switched on stands beside it. Every manager obeys within moments; what runs goes on."""
        _, replaced = await people.switch_on(
            caller, body.pool, body.model_dump(include=FIELDS), duration_s=body.duration_s, reason=body.reason
        )
        response.status_code = 200 if replaced else 201
        return _state(await people.emergency())

    @api.delete("", responses=problems(401, 403, 422, 503), summary="Lift emergency mode")
    async def lift(pool: Pool = None, caller: Caller = edge.require("admin")) -> wire.EmergencyState:
        """All that stands, or that of one pool, whoever switched it on. An alert that fires on does not switch it on
        again; one that begins to fire anew does. Lifting twice changes nothing."""
        lifted = await people.lift(caller, pool)
        return _state(await people.emergency(), lifted)

    return api


def actions_router(people: Interventions, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/alert-actions", tags=["responses"], route_class=StrictRoute)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List automatic answers to alerts")
    async def list_actions(
        rule: Text = None,
        action: Annotated[ActionName | None, Query(examples=["scale_up"])] = None,
        status: Annotated[wire.Status | None, Query(examples=["running"])] = None,
        fingerprint: Fingerprint = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("admin"),
    ) -> wire.AlertActionPage:
        """Newest first."""
        before = _uuid(resume_after(page_token, "alert-actions")) if page_token else None
        found = await people.accounts(
            before=before, rule=rule, action=action, status=status, fingerprint=fingerprint, limit=page_size + 1
        )
        page = found[:page_size]
        token = encode_page_token("alert-actions", str(page[-1].id)) if len(found) > page_size else None
        return wire.AlertActionPage(items=[_action(item) for item in page], next_page_token=token)

    @api.get("/{action_id}", responses=problems(401, 403, 404, 422, 503), summary="Read an automatic answer")
    async def read(action_id: ActionId, caller: Caller = edge.require("admin")) -> wire.AlertActionOut:
        """What it did, on what, why, and until when."""
        return _action(await people.account(action_id))

    @api.post("/{action_id}/end", responses=problems(401, 403, 404, 409, 422, 503), summary="End an automatic answer")
    async def end(action_id: ActionId, caller: Caller = edge.require("admin")) -> wire.AlertActionOut:
        """Undoes it now; the alert instance that it answers is not answered again."""
        return _action(await people.end(caller, action_id))

    return api


def reports_router(people: Interventions, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/alert-reports", tags=["responses"], route_class=StrictRoute)

    @api.get("/{report_id}", responses=problems(401, 403, 404, 422, 503), summary="Read a report")
    async def read(report_id: ActionId, caller: Caller = edge.require("admin")) -> wire.AlertReportOut:
        """What `performance_investigation` captured: queue, agents, slowest attempts, scaling, the balancer."""
        return wire.AlertReportOut(**await people.report(report_id))

    return api


def _state(standing: Iterable[Restraint], lifted: Iterable[Restraint] = ()) -> wire.EmergencyState:
    items = [wire.EmergencyOut.model_validate(item, from_attributes=True) for item in standing]
    ended = [wire.EmergencyOut.model_validate(item, from_attributes=True) for item in lifted]
    return wire.EmergencyState(on=bool(items), items=items, lifted=ended)


def _action(account: Account) -> wire.AlertActionOut:
    captured = account.action == "performance_investigation" and account.status == "done"
    names = [name for name in wire.AlertActionOut.model_fields if name != "report"]
    report = f"/v1/alert-reports/{account.id}" if captured else None
    return wire.AlertActionOut(**{name: getattr(account, name) for name in names}, report=report)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
