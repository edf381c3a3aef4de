"""`GET /v1/events`, the tenant's feed, and `GET /v1/stream-token`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.auth import streamkeys
from app.auth.callers import Caller
from app.auth.edge import Edge
from app.auth.streamkeys import StreamKeys
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken, BadRequest
from app.core.http import JsonResponse, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.events.hub import Hub
from app.events.stream import streamed, wants_page
from app.registry.wire import NAME
from app.tasks import feed
from app.tasks.feed import Cursor, Filters
from app.tasks.feed_stream import feed_stream
from app.tasks.service import TaskNotFound

THIS = "events"
_TASK = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"
_CURSOR = f"81234.3.{_TASK}"
_EVENT: dict[str, Any] = {
    "id": _CURSOR,
    "task_id": _TASK,
    "seq": 3,
    "type": "task.progress",
    "at": "2026-11-20T20:25:00Z",
    "pool": "log_analyzer",
    "thread_id": None,
    "data": {"percent": 40, "message": "parsed"},
}

TypePrefix = Annotated[
    str | None,
    Query(alias="type", max_length=100, description="Only types that start so.", examples=["task.", "approval."]),
]
Pool = Annotated[str | None, Query(pattern=NAME, examples=["log_analyzer"])]
TaskFilter = Annotated[UUID | None, Query(examples=[_TASK])]
Thread = Annotated[str | None, Query(min_length=1, max_length=200, examples=["conversation-17"])]
From = Annotated[
    Literal["now", "beginning"] | None,
    Query(
        alias="from",
        description="Where to begin without a cursor; a stream begins now, a page at the beginning.",
        examples=["beginning"],
    ),
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=80, description="Resume after this event.", examples=[_CURSOR])
]
PageSize = Annotated[int, Query(ge=1, le=500, examples=[100])]
Channel = Annotated[
    str,
    Query(
        pattern=r"^(events|task:[0-9a-fA-F-]{36})$",
        description="`events` (the feed), or `task:` and a task's id.",
        examples=["events", f"task:{_TASK}"],
    ),
]


class FeedEventOut(BaseModel):
    """An event of some task, or of a budget (`task_id` is its account's id then). `id` is its place in the feed, for
    `Last-Event-ID`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})
    id: str
    task_id: UUID
    seq: int
    type: str
    at: datetime
    pool: str
    thread_id: str | None
    data: Any


class FeedPage(BaseModel):
    """In the feed's order. A page may be short, or empty, though more follows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [_EVENT], "next_page_token": encode_page_token(THIS, _CURSOR), "more": False}]
        }
    )
    items: list[FeedEventOut]
    next_page_token: str = Field(description="Where to go on, always: poll again with it for what happens later.")
    more: bool = Field(description="Whether there may be more already; false: the page has caught up.")


class StreamTokenOut(BaseModel):
    """Put `token` into the address of the stream: `?token=…`. Until `expires_at` it opens it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"token": "WyJkZWZhdWx0Ii…", "expires_at": "2026-11-20T20:30:00Z"}]}
    )
    token: str
    expires_at: datetime


_FEED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": FeedPage,
        "description": "A stream with `Accept: text/event-stream` (default), a page with `application/json`",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": f'id: {_CURSOR}\nevent: task.progress\ndata: {{"id":"{_CURSOR}",…}}\n\n',
            }
        },
    }
}


def router(db: Database, hub: Hub, edge: Edge, clock: Clock, keys: StreamKeys, *, keep_s: float) -> APIRouter:
    """`keep_s`: how long finished tasks and their events are kept; 0: for ever."""
    api = APIRouter(prefix="/v1", tags=["events"], route_class=StrictRoute)

    @api.get(
        "/events",
        response_class=StreamingResponse,
        responses=_FEED | problems(400, 401, 403, 422, 503),
        summary="Follow all tasks",
    )
    async def events(
        request: Request,
        type_: TypePrefix = None,
        pool: Pool = None,
        task_id: TaskFilter = None,
        thread_id: Thread = None,
        from_: From = None,
        page_size: PageSize = 100,
        page_token: PageToken = None,
        last_event_id: LastEventId = None,
        caller: Caller = edge.require_stream(lambda _: streamkeys.EVENTS),
    ) -> Response:
        """SSE: a `snapshot` with the cursor to resume from, then the tenant's events in one order, each once. A cursor
        older than what is kept gets a `gap` first. With `Accept: application/json`: a page of them, and a
        `next_page_token` in any case: poll again with it."""
        filters = Filters((type_,) if type_ else (), pool, task_id, thread_id)
        after = None if last_event_id is None else await _known(db, last_event_id)
        if wants_page(request.headers):
            start = _paged(page_token) if page_token else after
            return await _page(db, caller.tenant, start, from_ == "now", filters, page_size)
        lost = after is not None and await feed.is_lost(db, caller.tenant, after, keep_s)
        start = after or (feed.BEGINNING if from_ == "beginning" else await feed.end(db))
        frames = feed_stream(
            db, hub, clock, caller.tenant, after=start, filters=filters, fresh=after is None, lost=lost
        )
        return streamed(frames)

    @api.get(
        "/stream-token",
        response_model=StreamTokenOut,
        responses=problems(401, 403, 404, 422, 503),
        summary="Make a stream token",
    )
    async def stream_token(channel: Channel, caller: Caller = edge.require(streamkeys.SCOPE)) -> Response:
        """For browsers, whose EventSource cannot send headers: opens one stream, as `?token=…`, for a short time."""
        made = keys.make(caller, await _channel(db, caller.tenant, channel))
        answer = {"token": made.token, "expires_at": made.expires_at}
        return JsonResponse(answer, headers={"Cache-Control": "no-store"})

    return api


async def _page(
    db: Database, tenant: str, after: Cursor | None, from_now: bool, filters: Filters, page_size: int
) -> Response:
    if after is None and from_now:
        after = await feed.end(db)
    page = await feed.read(db, tenant, after, filters, page_size)
    items = [orjson.Fragment(feed.feed_json(event)) for event in page.items]
    token = encode_page_token(THIS, str(page.cursor))
    return JsonResponse({"items": items, "next_page_token": token, "more": page.more})


async def _known(db: Database, text: str) -> Cursor:
    cursor = Cursor.read(text)
    if cursor is None:
        raise BadRequest("Last-Event-ID is the id of an event of this feed.")
    if await feed.is_ahead(db, cursor):
        raise BadRequest("Last-Event-ID is ahead of this feed.")
    return cursor


def _paged(token: str) -> Cursor:
    cursor = Cursor.read(resume_after(token, THIS))
    if cursor is None:
        raise BadPageToken("The page token does not belong to this list.")
    return cursor


async def _channel(db: Database, tenant: str, channel: str) -> str:
    """The channel in its one form; raises TaskNotFound for a task that is not there, or not the tenant's."""
    kind, _, text = channel.partition(":")
    if kind == streamkeys.EVENTS:
        return channel
    try:
        task_id = UUID(text)
    except ValueError:
        raise TaskNotFound("There is no task with this id.") from None
    async with db.read() as connection:
        if await connection.fetchval("SELECT 1 FROM tasks WHERE id = $1 AND tenant = $2", task_id, tenant) is None:
            raise TaskNotFound("There is no task with this id.")
    return streamkeys.task_channel(task_id)
