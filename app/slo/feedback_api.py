"""`/v1/tasks/{task_id}/feedback`: what people and judges say about a task's result."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.slo import feedback_wire as wire
from app.slo.feedback import FIRST_VERSION, PERSON, FeedbackRecord, Feedbacks, Said
from app.tasks.api import TaskId


def router(feedback: Feedbacks, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/tasks", tags=["slos"], route_class=StrictRoute)

    @api.post(
        "/{task_id}/feedback",
        status_code=201,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Judge a task",
    )
    async def add(
        task_id: TaskId, body: wire.TaskFeedbackIn, response: Response, caller: Caller = edge.require("tasks:write")
    ) -> wire.TaskFeedbackOut:
        """About a task that has ended. Objectives of accuracy count it, as long as they have not settled."""
        said = Said(
            body.source,
            body.evaluator or PERSON,
            body.version or FIRST_VERSION,
            body.score,
            body.label,
            body.comment,
        )
        made = await feedback.add(caller, task_id, said)
        response.headers["Location"] = f"/v1/tasks/{task_id}/feedback"
        return _out(made)

    @api.get("/{task_id}/feedback", responses=problems(400, 401, 403, 404, 422, 503), summary="List a task's feedback")
    async def list_feedback(
        task_id: TaskId,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> wire.TaskFeedbackPage:
        """The newest first."""
        before = _uuid(resume_after(page_token, "feedback")) if page_token else None
        found = await feedback.page(caller, task_id, before, page_size + 1)
        page = found[:page_size]
        token = encode_page_token("feedback", str(page[-1].id)) if len(found) > page_size else None
        return wire.TaskFeedbackPage(items=[_out(item) for item in page], next_page_token=token)

    return api


def _out(item: FeedbackRecord) -> wire.TaskFeedbackOut:
    return wire.TaskFeedbackOut(
        id=item.id,
        task_id=item.task_id,
        source=item.source,
        evaluator=item.evaluator,
        version=item.version,
        score=None if item.score is None else float(item.score),
        label=item.label,
        comment=item.comment,
        said_by=item.said_by,
        at=item.at,
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None
