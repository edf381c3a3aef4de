"""`/v1/tasks`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.auth.streamkeys import task_channel
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken, BadRequest
from app.core.http import (
    JsonResponse,
    PageToken,
    StrictRoute,
    encode_page_token,
    problems,
    quick,
    resume_after,
    validated,
)
from app.core.jsonbody import dump_bytes
from app.events import queries as event_queries
from app.events.hub import Hub
from app.events.order import Place
from app.events.stream import event_json, streamed, task_stream, wants_page
from app.registry.wire import NAME
from app.tasks import queries, wire
from app.tasks.queries import task_json
from app.tasks.records import TaskRecord
from app.tasks.service import Tasks
from app.tasks.submission import Accepted

MAX_HEADER = 200
TaskId = Annotated[UUID, Path(examples=[wire.TASK_EXAMPLE["id"]])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_HEADER,
        description="The same key and body again: the stored answer, nothing new.",
        examples=["order-4711"],
    ),
]
Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        max_length=MAX_HEADER,
        description="`wait=N`: hold the answer up to N seconds for the result.",
        examples=["wait=10"],
    ),
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=48,
        description="Resume after this event or token.",
        examples=["3", "12-1-345"],
    ),
]
Status = Literal["held", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired"]

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])")

_DURABLE_HEADERS = {
    "Location": {"schema": {"type": "string"}, "description": "The task"},
    "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "`true`: an earlier request made it"},
}
_DONE: dict[int | str, dict[str, Any]] = {
    200: {"model": wire.TaskOut, "description": "With `Prefer: wait`: the task, final within the time"},
    202: {"model": wire.AcceptedOut, "description": "Durable and queued", "headers": _DURABLE_HEADERS},
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": wire.EventPage,
        "description": "A stream with `Accept: text/event-stream` (default), a page with `application/json`",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 3\nevent: task.progress\ndata: {"seq":3,"type":"task.progress",…}\n\n',
            }
        },
    }
}


def router(db: Database, tasks: Tasks, hub: Hub, edge: Edge, clock: Clock, *, max_wait_s: float) -> APIRouter:
    api = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=StrictRoute)

    async def plain_submit(request: Request, value: Any) -> dict[str, Any] | None:
        headers = request.headers
        key, prefer = headers.get("idempotency-key"), headers.get("prefer")
        body = validated(wire.TaskIn, value)
        if body is None or (key is not None and not 0 < len(key) <= MAX_HEADER) or len(prefer or "") > MAX_HEADER:
            return None
        caller = await edge.check(request, "tasks:write")
        return {"body": body, "idempotency_key": key, "prefer": prefer, "caller": caller}

    @api.post(
        "",
        status_code=202,
        response_model=wire.AcceptedOut,
        responses=_DONE | problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        summary="Submit a task",
    )
    @quick(plain_submit)
    async def submit(
        body: wire.TaskIn,
        idempotency_key: IdempotencyKey = None,
        prefer: Prefer = None,
        caller: Caller = edge.require("tasks:write"),
    ) -> Response:
        """202 only after the task is durable. With `Prefer: wait=N` and a result in time: 200 with the whole task."""
        (accepted,) = await tasks.submit(caller, [body.submission()], idempotency_key=idempotency_key)
        headers = {"Location": f"/v1/tasks/{accepted.id}"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        wait_s = min(_wait_s(prefer), max_wait_s)
        if wait_s > 0:
            headers["Preference-Applied"] = f"wait={wait_s:g}"
            task = await tasks.wait(caller, accepted.id, wait_s, clock.monotonic)
            if task.final:
                return JsonResponse(task_json(task), headers=headers)
            accepted = Accepted(task.id, task.pool, task.status)
        return JsonResponse(_accepted(tasks, accepted), status_code=202, headers=headers)

    @api.post(
        "/batch",
        status_code=202,
        response_model=wire.BatchOut,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        summary="Submit many tasks",
    )
    async def submit_batch(
        body: wire.BatchIn,
        idempotency_key: IdempotencyKey = None,
        caller: Caller = edge.require("tasks:write"),
    ) -> Response:
        """All or none; an error names the task by its position."""
        accepted = await tasks.submit(
            caller, [item.submission() for item in body.tasks], idempotency_key=idempotency_key, many=True
        )
        headers = {"Idempotency-Replayed": "true"} if accepted[0].replayed else {}
        return JsonResponse({"tasks": [_accepted(tasks, item) for item in accepted]}, status_code=202, headers=headers)

    @api.get("", response_model=wire.TaskPage, responses=problems(400, 401, 403, 422, 503), summary="List tasks")
    async def list_tasks(
        status: Annotated[Status | None, Query(examples=["failed"])] = None,
        pool: Annotated[str | None, Query(pattern=NAME, examples=["log_analyzer"])] = None,
        parent_id: Annotated[
            UUID | None, Query(description="Sub-tasks of this task.", examples=[wire.TASK_EXAMPLE["id"]])
        ] = None,
        page_size: Annotated[int, Query(ge=1, le=500, examples=[50])] = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> Response:
        """Newest first, without payloads and results."""
        before = _uuid(resume_after(page_token, "tasks")) if page_token else None
        found = await queries.page(
            db, caller.tenant, status=status, pool=pool, before=before, limit=page_size + 1, parent_id=parent_id
        )
        page = found[:page_size]
        token = encode_page_token("tasks", str(page[-1].id)) if len(found) > page_size else None
        items = [
            task_json(task, tasks.notice(task.pool, task.status, task.pinned_agent_id), whole=False) for task in page
        ]
        return JsonResponse({"items": items, "next_page_token": token})

    @api.get(
        "/{task_id}", response_model=wire.TaskOut, responses=problems(401, 403, 404, 422, 503), summary="Read a task"
    )
    async def get_task(task_id: TaskId, caller: Caller = edge.require("tasks:read")) -> Response:
        """Its state, result or error, and what it used."""
        return _whole(tasks, await tasks.get(caller, task_id))

    _add_steps(api, db, tasks, edge)

    @api.post(
        "/{task_id}/cancel",
        response_model=wire.TaskOut,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Cancel a task",
    )
    async def cancel(
        task_id: TaskId, body: wire.CancelIn | None = None, caller: Caller = edge.require("tasks:write")
    ) -> Response:
        """A running executor is told to stop. 409 when the task ended otherwise before."""
        return _whole(tasks, await tasks.cancel(caller, task_id, body.reason if body else ""))

    @api.post(
        "/{task_id}/retry",
        response_model=wire.TaskOut,
        responses=problems(400, 401, 403, 404, 409, 422, 503),
        summary="Retry a failed task",
    )
    async def retry(task_id: TaskId, caller: Caller = edge.require("tasks:write")) -> Response:
        """Queues it again with its attempts counted from zero."""
        return _whole(tasks, await tasks.retry(caller, task_id))

    @api.get(
        "/{task_id}/events",
        response_class=StreamingResponse,
        responses=_EVENTS | problems(400, 401, 403, 404, 422, 503),
        summary="Follow a task",
    )
    async def events(
        task_id: TaskId,
        request: Request,
        last_event_id: LastEventId = None,
        page_size: Annotated[int, Query(ge=1, le=500, examples=[100])] = 100,
        page_token: PageToken = None,
        caller: Caller = edge.require_stream(_channel),
    ) -> Response:
        """SSE: first a `snapshot` of the task, then its events as they commit and the tokens between them, until it is
        final. `Last-Event-ID: 0` replays all of them; where tokens are not kept any more, a `gap` says how many. With
        `Accept: application/json`: a page of the events so far."""
        task = await tasks.get(caller, task_id)
        if wants_page(request.headers):
            return await _event_page(db, task_id, page_size, page_token)
        after, snapshot, runs = Place(task.event_seq), None, True
        if last_event_id is None:
            runs = task.status == "running"
            snapshot = dump_bytes(task_json(task, tasks.notice(task.pool, task.status, task.pinned_agent_id)))
        else:
            after = _event_id(last_event_id)
            if after.seq > task.event_seq:
                raise BadRequest(f"Last-Event-ID {after} is ahead of this stream, which is at {task.event_seq}.")
        frames = task_stream(db, hub, clock, task_id, after=after, snapshot=snapshot, final=task.final, runs=runs)
        return streamed(frames)

    return api


def _add_steps(api: APIRouter, db: Database, tasks: Tasks, edge: Edge) -> None:
    @api.get(
        "/{task_id}/steps",
        response_model=wire.StepList,
        responses=problems(401, 403, 404, 422, 503),
        summary="Read a task's finished steps",
    )
    async def steps(task_id: TaskId, caller: Caller = edge.require("tasks:read")) -> Response:
        """With their results, in order: what the next call of its agent will be handed."""
        await tasks.get(caller, task_id)
        return JsonResponse({"items": await queries.steps_of(db, task_id), "next_page_token": None})


async def _event_page(db: Database, task_id: UUID, page_size: int, page_token: str | None) -> Response:
    this = f"events of {task_id}"
    after = _seq(resume_after(page_token, this)) if page_token else 0
    found = await event_queries.of_task(db, task_id, after, page_size + 1)
    page = found[:page_size]
    token = encode_page_token(this, str(page[-1].seq)) if len(found) > page_size else None
    return JsonResponse({"items": [orjson.Fragment(event_json(item)) for item in page], "next_page_token": token})


def _accepted(tasks: Tasks, accepted: Accepted) -> dict[str, object]:
    return {
        "id": accepted.id,
        "status": accepted.status,
        "pool": accepted.pool,
        "notice": tasks.notice(accepted.pool, accepted.status),
    }


def _whole(tasks: Tasks, task: TaskRecord) -> JsonResponse:
    return JsonResponse(task_json(task, tasks.notice(task.pool, task.status, task.pinned_agent_id)))


def _wait_s(prefer: str | None) -> float:
    match = _WAIT.search(prefer) if prefer else None
    return float(match.group(1)) if match else 0.0


def _channel(request: Request) -> str:
    """What a stream token must be for."""
    task_id = request.path_params["task_id"]
    try:
        return task_channel(UUID(task_id))
    except ValueError:
        return ""  # no task has such an id


def _event_id(text: str) -> Place:
    place = Place.read(text)
    if place is None:
        raise BadRequest("Last-Event-ID is the id of an event or token of this stream, or 0.")
    return place


def _seq(text: str) -> int:
    seq = _number(text)
    if seq is None:
        raise BadPageToken("The page token does not belong to this list.")
    return seq


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token does not belong to this list.") from None
