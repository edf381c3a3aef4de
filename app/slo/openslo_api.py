"""`/v1/slos/openslo` and `/v1/slos/{name}/openslo`: objectives as OpenSLO v1 documents, in and out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import Conflict, Invalid
from app.core.http import StrictRoute, problems
from app.slo import openslo, openslo_out
from app.slo.api import Name
from app.slo.objective import Objective
from app.slo.openslo import BadOpenSlo
from app.slo.service import Slos, Wanted

YAML = "application/yaml"
_EXAMPLE = """apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout}
spec:
  service: checkout
  indicator:
    metadata: {name: checkout-succeeds}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Yardmaster, spec: {kind: availability, pool: checkout}}}
        total: {metricSource: {type: Yardmaster, spec: {kind: availability, pool: checkout}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
"""
# Of a YAML body a schema speaks of what the text says, and several documents are no JSON value.
_CONTENT: dict[str, Any] = {YAML: {"schema": {"title": "OpenSLO v1 documents"}, "example": _EXAMPLE}}
_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _CONTENT}}
_APPLIED: dict[str, Any] = {"name": "checkout", "outcome": "created", "code": None, "detail": "", "errors": []}
DryRun = Annotated[bool, Query(description="Say what would become of each, and change nothing.", examples=[True])]


class FaultOut(BaseModel):
    """One thing that is wrong, and where."""

    path: str
    message: str


class AppliedOut(BaseModel):
    """What became of one document; a refused one says why, with the `code` that `PUT` would have answered."""

    model_config = ConfigDict(json_schema_extra={"examples": [_APPLIED]})
    name: str
    outcome: Literal["created", "updated", "unchanged", "refused"]
    code: str | None = None
    detail: str = ""
    errors: list[FaultOut] = Field(default_factory=list)


class AppliedPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_APPLIED], "dry_run": False}]})
    items: list[AppliedOut]
    dry_run: bool


def router(slos: Slos, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/slos", tags=["slos"], route_class=StrictRoute)

    @api.post(
        "/openslo",
        responses=problems(400, 401, 403, 413, 422, 503),
        summary="Apply OpenSLO documents",
        openapi_extra=_BODY,
    )
    async def apply(request: Request, dry_run: DryRun = False, caller: Caller = edge.require("admin")) -> AppliedPage:
        """Sets each SLO of the file (YAML or JSON, several documents) as a whole, with the standard burn rules. What
        such a file cannot say (`on_exhausted`, `min_events`) stays as it was. A file with a fault in it is refused
        before any of it is set (`openslo_invalid`); where the service refuses one, the others are set all the same."""
        wanted = openslo.read(_text(await request.body()))
        return AppliedPage(items=[await _applied(slos, caller, each, dry_run) for each in wanted], dry_run=dry_run)

    @api.get(
        "/{name}/openslo",
        response_class=Response,
        responses={**problems(401, 403, 404, 422, 503), 200: {"content": _CONTENT, "description": "The document"}},
        summary="Read an objective as OpenSLO",
    )
    async def read(name: Name, caller: Caller = edge.require("tasks:read")) -> Response:
        """One OpenSLO v1 document in YAML, which `POST /v1/slos/openslo` takes."""
        found = await slos.get(caller, name)
        return Response(openslo_out.write([found.objective]), media_type=YAML)

    return api


async def _applied(slos: Slos, caller: Caller, objective: Objective, dry_run: bool) -> AppliedOut:
    try:
        _, outcome = await slos.put(caller, Wanted(objective), dry_run=dry_run)
    except (Invalid, Conflict) as exc:
        errors = exc.extra.get("errors", [])
        assert isinstance(errors, list)
        return AppliedOut(
            name=objective.name,
            outcome="refused",
            code=exc.code,
            detail=exc.detail,
            errors=[FaultOut(**error) for error in errors],
        )
    return AppliedOut(name=objective.name, outcome=outcome)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BadOpenSlo("The file is not UTF-8 text.", extra={"errors": []}) from None
