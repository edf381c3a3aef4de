"""`POST /v1/events`: send the event that a task waits for."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.http import JsonResponse, StrictRoute, problems
from app.tasks.signals import Signals

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key and event again, while it is kept: the first one's answer, nothing new.",
        examples=["payment-4711"],
    ),
]
EVENT_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.:/-]{0,199}$"


class SignalIn(BaseModel):
    """An event. `task_id`: for that task only; else for every task of the tenant that waits for the name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "payment.received", "data": {"order": 4711, "amount_eur": 12.5}}]},
    )
    name: Annotated[str, Field(pattern=EVENT_NAME)]
    data: Any = Field(None, description="Any JSON; a waiting task's `match` must be contained in it.")
    task_id: UUID | None = None


class SignalOut(BaseModel):
    """Stored. `matched`: tasks that go on with it now; it is kept a day for tasks that begin to wait later."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10", "matched": 1}]}
    )
    id: UUID
    matched: int


def router(signals: Signals, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/events", tags=["events"], route_class=StrictRoute)

    @api.post(
        "",
        status_code=202,
        response_model=SignalOut,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Send an event",
    )
    async def send(
        body: SignalIn, idempotency_key: IdempotencyKey = None, caller: Caller = edge.require("tasks:write")
    ) -> Response:
        """Each task that waits for this name, and whose `match` fits, goes on with it. A task takes an event once, the
        oldest that fits first, if it was sent after the task was submitted."""
        sent = await signals.send(caller, body.name, body.data, body.task_id, idempotency_key)
        headers = {"Idempotency-Replayed": "true"} if sent.replayed else {}
        return JsonResponse({"id": sent.id, "matched": sent.matched}, status_code=202, headers=headers)

    return api
