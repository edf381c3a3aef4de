"""`/v1/approvals`."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from app.approvals import queries, wire
from app.approvals.service import UNSET, Approvals
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.db import Database
from app.core.errors import BadPageToken
from app.core.http import JsonResponse, PageToken, StrictRoute, encode_page_token, problems, resume_after

POOL_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$"

ApprovalId = Annotated[UUID, Path(examples=[wire.APPROVAL_EXAMPLE["id"]])]
Status = Literal["pending", "approved", "edited", "rejected", "expired", "superseded"]


def router(db: Database, approvals: Approvals, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/approvals", tags=["approvals"], route_class=StrictRoute)
    reader = edge.require_any("tasks:read", "approvals:decide")

    @api.get(
        "", response_model=wire.ApprovalPage, responses=problems(400, 401, 403, 422, 503), summary="List approvals"
    )
    async def list_approvals(
        status: Annotated[Status | None, Query(examples=["pending"])] = None,
        pool: Annotated[str | None, Query(pattern=POOL_NAME, examples=["incident_responder"])] = None,
        task_id: Annotated[UUID | None, Query(examples=[wire.APPROVAL_EXAMPLE["task_id"]])] = None,
        page_size: Annotated[int, Query(ge=1, le=500, examples=[50])] = 50,
        page_token: PageToken = None,
        caller: Caller = reader,
    ) -> Response:
        """Newest first, without arguments and votes."""
        before = _uuid(resume_after(page_token, "approvals")) if page_token else None
        found = await queries.page(
            db, caller.tenant, status=status, pool=pool, task_id=task_id, before=before, limit=page_size + 1
        )
        page = found[:page_size]
        token = encode_page_token("approvals", str(page[-1].id)) if len(found) > page_size else None
        items = [wire.approval_json(record, whole=False) for record in page]
        return JsonResponse({"items": items, "next_page_token": token})

    @api.get(
        "/{approval_id}",
        response_model=wire.ApprovalOut,
        responses=problems(401, 403, 404, 422, 503),
        summary="Read an approval",
    )
    async def get_approval(approval_id: ApprovalId, caller: Caller = reader) -> Response:
        """Exactly what is asked, who may decide, and what was said so far."""
        return JsonResponse(wire.approval_json(await approvals.get(caller, approval_id)))

    @api.post(
        "/{approval_id}/approve",
        response_model=wire.ApprovalOut,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Approve",
    )
    async def approve(
        approval_id: ApprovalId, body: wire.ApproveIn, request: Request, caller: Caller = edge.require_any()
    ) -> Response:
        """Needs the approval's own scope and group. 409 `payload_changed` where `payload_hash` is not that of what is
        asked now, 409 `approval_decided` when it ended before, 403 `self_approval` for the task's submitter."""
        record = await approvals.decide(
            caller,
            approval_id,
            approve=True,
            payload_hash=body.payload_hash,
            args=body.args if "args" in body.model_fields_set else UNSET,
            reason=body.reason,
            source=_source(request),
        )
        return JsonResponse(wire.approval_json(record))

    @api.post(
        "/{approval_id}/reject",
        response_model=wire.ApprovalOut,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Reject",
    )
    async def reject(
        approval_id: ApprovalId,
        request: Request,
        body: wire.RejectIn | None = None,
        caller: Caller = edge.require_any(),
    ) -> Response:
        """One rejection ends it, whatever the quorum; the agent is told the reason."""
        said = body or wire.RejectIn()
        record = await approvals.decide(
            caller,
            approval_id,
            approve=False,
            payload_hash=said.payload_hash,
            reason=said.reason,
            source=_source(request),
        )
        return JsonResponse(wire.approval_json(record))

    return api


def _source(request: Request) -> str:
    return f"api:{request.client.host}" if request.client else "api"


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token does not belong to this list.") from None
