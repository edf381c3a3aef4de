"""Server-sent events of one task: a snapshot first, then every event as it is committed, then the end.

What is sent is read from the table in order, so a slow client holds back only itself, and one that reconnects with
`Last-Event-ID` misses nothing. Format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import orjson

from app.core.db import Database
from app.core.jsonbody import dump_bytes
from app.events import queries
from app.events.catalog import FINAL
from app.events.hub import Hub, Watch
from app.events.queries import EventRecord

PAGE = 200
PING_S = 10.0


def frame(event: str, data: bytes, seq: int | None = None) -> bytes:
    """One event on the wire."""
    head = b"" if seq is None else b"id: %d\n" % seq
    return head + b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


def event_json(record: EventRecord) -> bytes:
    """An event as JSON: seq, type, at, data."""
    return dump_bytes({"seq": record.seq, "type": record.type, "at": record.at, "data": orjson.Fragment(record.data)})


async def task_stream(
    db: Database, hub: Hub, task_id: UUID, *, after: int, snapshot: bytes | None, final: bool
) -> AsyncIterator[bytes]:
    """The frames of a task's stream from event `after` on. `final`: the task was final when it was looked up."""
    watch = hub.watch(task_id)
    try:
        if snapshot is not None:
            yield frame("snapshot", snapshot, after)
            if final:
                return
        async for part in _follow(db, hub, watch, after, final=final):
            yield part
    finally:
        hub.unwatch(watch)


async def _follow(db: Database, hub: Hub, watch: Watch, after: int, *, final: bool) -> AsyncIterator[bytes]:
    ended = final
    while True:
        while watch.tokens:
            yield frame("token", orjson.dumps(watch.tokens.popleft()))
        if watch.stale:  # a token alone is no reason to ask the table
            watch.stale = False
            records = await queries.of_task(db, watch.task_id, after, PAGE)
            for record in records:
                after, ended = record.seq, record.type in FINAL
                yield frame(record.type, event_json(record), record.seq)
            if ended and len(records) < PAGE:
                return
            watch.stale = watch.stale or bool(records)
        if hub.closing:
            return  # the client reconnects, to another manager, with Last-Event-ID
        if not watch.stale and not watch.tokens and not await watch.changed(PING_S):
            watch.stale = True
            yield b": ping\n\n"
