"""Server-sent events of one task: a snapshot first, then every event as it is committed and the tokens between, then
the end.

Events are read from the table, tokens are heard live or read from Redis, and `order.py` merges them into the one order
of all subscribers. A slow client holds back only itself: of what it does not take, a bounded part is kept, and the rest
is read again. One that reconnects with `Last-Event-ID` goes on where it was, on any manager. What cannot be had any
more is told as a `gap`. Format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from uuid import UUID

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.core.clock import Clock
from app.core.db import Database
from app.core.jsonbody import dump_bytes
from app.events import queries
from app.events.hub import Hub, Watch
from app.events.order import Gap, Order, Place, Said, Token, Want
from app.events.queries import EventRecord

PAGE = 200
PING_S = 10.0
ASK_AGAIN_S = 0.05
GONE, UNREACHABLE = "tokens_gone", "tokens_unreachable"
PING = b": ping\n\n"
STILL_ALLOWED = "yardmaster.still_allowed"
"""Where a request's scope holds its `StillAllowed`."""

type StillAllowed = Callable[[], Awaitable[bool]]
"""Whether the caller of an open stream may still read it. Asked before each frame: an answer may be remembered."""


def wants_page(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for a page rather than a stream."""
    accept = headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


class EventStream(StreamingResponse):
    """A stream that ends when its caller may read it no longer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        still_allowed: StillAllowed | None = scope.get(STILL_ALLOWED)
        if still_allowed is not None:
            self.body_iterator = while_allowed(self.body_iterator, still_allowed)
        await super().__call__(scope, receive, send)


async def while_allowed[Part](parts: AsyncIterable[Part], still_allowed: StillAllowed) -> AsyncGenerator[Part]:
    """`parts` until one comes that may not be read; pings come too, so that a silent stream ends as well."""
    try:
        async for part in parts:
            if not await still_allowed():
                return
            yield part
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


def streamed(frames: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that is a stream; nobody on the way may keep or gather it."""
    return EventStream(
        frames, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


def frame(event: str, data: bytes, place: object = None) -> bytes:
    """One event on the wire; `place` is its id."""
    head = b"" if place is None else b"id: " + str(place).encode() + b"\n"
    return head + b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


def event_json(record: EventRecord) -> bytes:
    """An event as JSON: seq, type, at, data."""
    return dump_bytes({"seq": record.seq, "type": record.type, "at": record.at, "data": orjson.Fragment(record.data)})


async def task_stream(
    db: Database,
    hub: Hub,
    clock: Clock,
    task_id: UUID,
    *,
    after: Place,
    snapshot: bytes | None,
    final: bool,
    runs: bool = True,
) -> AsyncIterator[bytes]:
    """The frames of a task's stream behind `after`. `final`: the task was final when it was looked up; `runs`: an
    attempt may be under way there."""
    watch = hub.watch(task_id)
    try:
        if snapshot is not None:
            yield frame("snapshot", snapshot, after)
            if final:
                return
        anchor = await queries.anchor(db, task_id, after.seq) if after.seq and runs else None
        reader = _Reader(db, hub, clock, watch, Order(after, anchor), after.seq, final=final)
        async for part in reader.frames():
            yield part
    finally:
        hub.unwatch(watch)


class _Reader:
    """One subscriber's reading. `final`: where nothing is left to read, nothing will come."""

    __slots__ = ("_clock", "_db", "_final", "_hub", "_missed", "_order", "_seq", "_since", "_watch")

    def __init__(
        self, db: Database, hub: Hub, clock: Clock, watch: Watch, order: Order, seq: int, *, final: bool
    ) -> None:
        self._db, self._hub, self._clock, self._watch, self._order = db, hub, clock, watch, order
        self._seq, self._final = seq, final
        self._missed: tuple[int, int] | None = None  # the token that is waited for, since when
        self._since = 0.0

    async def frames(self) -> AsyncIterator[bytes]:
        """Until the task is final or the service stops; pings while there is nothing."""
        watch, order = self._watch, self._order
        while True:
            order.add_tokens(watch.take())
            if watch.deaf:
                watch.deaf = False
                order.doubt()
            if watch.stale and not order.waiting:  # a token alone is no reason to ask the table
                await self._read_events()
            for said in order.ready():
                yield _shown(said)
            want = order.wants
            if want is not None:
                await self._seek(want)
            elif (self._final or order.ended) and not watch.stale:
                return
            if self._hub.closing:
                return  # the client reconnects, to another manager, with Last-Event-ID
            if want is None and not watch.stale and not watch.heard and not await watch.changed(PING_S):
                watch.stale = True
                yield PING

    async def _read_events(self) -> None:
        self._watch.stale = False
        records = await queries.of_task(self._db, self._watch.task_id, self._seq, PAGE)
        if records:
            self._seq, self._final = records[-1].seq, False
            self._order.add_events(records)
        # A short page is the end, for now; whoever writes more says so.
        self._watch.stale = self._watch.stale or len(records) == PAGE

    async def _seek(self, want: Want) -> None:
        """Fetch missing tokens; after a while, or when they cannot come any more, go on without them."""
        found = await self._hub.store.read(self._watch.task_id, want.fence, want.first)
        if found is None:
            self._order.give_up(UNREACHABLE)
            return
        self._order.add_tokens(found)
        if found and found[0].n == want.first:
            return
        self._order.answered(want)
        if want.last is None:
            return
        # Redis takes tokens in their order only: where there are later ones, these are gone.
        if found or not self._may_come(want):
            self._order.give_up(GONE)
        else:
            await asyncio.sleep(ASK_AGAIN_S)

    def _may_come(self, want: Want) -> bool:
        """Whether missing tokens may still be on their way: events of long ago wait for nothing."""
        patience_s = self._hub.settings.patience_s
        now = self._clock.monotonic()
        if self._missed != want[:2]:
            self._missed, self._since = want[:2], now
        blocked = self._order.blocked
        if blocked is not None and (self._clock.now() - blocked.at).total_seconds() > patience_s:
            return False
        return now - self._since < patience_s


def _shown(said: Said) -> bytes:
    match said.what:
        case Token(data=data):
            return frame("token", data, said.place)
        case Gap(reason=reason, missing=missing):
            return frame("gap", dump_bytes({"reason": reason, "missing": missing}), said.place)
        case EventRecord() as record:
            return frame(record.type, event_json(record), said.place)
