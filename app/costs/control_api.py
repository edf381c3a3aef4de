"""`/v1/cost-controls`: what a tenant or a pool may use in an hour."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Path

from app.auth.api import NAME
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.costs import control_wire as wire
from app.costs.budget_wire import plain
from app.costs.control_service import Control, ControlRecord, Controls

THIS = "cost-controls"

KindPath = Annotated[wire.Kind, Path(description="Whose use: a tenant's or a pool's.", examples=["tenant"])]
NamePath = Annotated[str, Path(pattern=NAME, description="The tenant, or the pool.", examples=["acme"])]


def router(controls: Controls, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/cost-controls", tags=["budgets"], route_class=StrictRoute)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List cost controls")
    async def list_controls(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require("admin")
    ) -> wire.ControlPage:
        """By kind and name."""
        after = resume_after(page_token, THIS) if page_token else None
        found = await controls.page(after, page_size + 1)
        page = found[:page_size]
        token = encode_page_token(THIS, page[-1].control.key) if len(found) > page_size else None
        return wire.ControlPage(items=[_out(item) for item in page], next_page_token=token)

    @api.put("/{kind}/{name}", responses=problems(400, 401, 403, 409, 413, 422, 503), summary="Set a cost control")
    async def put_control(
        kind: KindPath, name: NamePath, body: wire.ControlIn, caller: Caller = edge.require("admin")
    ) -> wire.ControlOut:
        """Replaces the control as a whole, in one step. Whatever starts after `effective_since` keeps to it: what an
        hour (of UTC) has no room for waits for the next one. It is kept by the budgets that the answer names."""
        return _out(await controls.put(_control(kind, name, body), caller))

    @api.get("/{kind}/{name}", responses=problems(401, 403, 404, 422, 503), summary="Read a cost control")
    async def get_control(kind: KindPath, name: NamePath, caller: Caller = edge.require("admin")) -> wire.ControlOut:
        """What is used of it is in its budgets."""
        return _out(await controls.get(kind, name))

    @api.delete("/{kind}/{name}", responses=problems(401, 403, 404, 422, 503), summary="Delete a cost control")
    async def delete_control(kind: KindPath, name: NamePath, caller: Caller = edge.require("admin")) -> wire.ControlOut:
        """The answer is the control as it was."""
        return _out(await controls.delete(kind, name, caller))

    return api


def _control(kind: str, name: str, body: wire.ControlIn) -> Control:
    asked = {"requests": body.requests_per_hour, "tokens": body.tokens_per_hour, "usd": body.usd_per_hour}
    limits = {unit: Decimal(amount) for unit, amount in asked.items() if amount is not None}
    if body.downgrade is None:
        return Control(kind, name, limits, sorted(body.alerts))
    return Control(kind, name, limits, sorted(body.alerts), body.downgrade.percent, body.downgrade.models)


def _out(found: ControlRecord) -> wire.ControlOut:
    control, limits = found.control, found.control.limits
    downgrade = None
    if control.downgrade_at is not None:
        downgrade = wire.DowngradeOut(percent=control.downgrade_at, models=dict(control.models))
    return wire.ControlOut(
        kind=control.kind,
        name=control.name,
        requests_per_hour=int(limits["requests"]) if "requests" in limits else None,
        tokens_per_hour=int(limits["tokens"]) if "tokens" in limits else None,
        usd_per_hour=plain(limits["usd"]) if "usd" in limits else None,
        downgrade=downgrade,
        alerts=list(control.alerts),
        budgets=[budget.name for budget in found.budgets],
        created_by=found.created_by,
        effective_since=found.effective_since,
    )
