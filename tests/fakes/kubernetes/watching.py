"""Watches: a chunked answer of JSON lines, from a version on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.kubernetes.errors import ApiError, bad_request
from tests.fakes.kubernetes.faults import Faults
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.reads import matcher, shown
from tests.fakes.kubernetes.selectors import Match
from tests.fakes.kubernetes.store import Body, Change, Store
from tests.fakes.kubernetes.targets import Target, flag

type Event = tuple[str, Body]
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


def event_of(change: Change, target: Target, match: Match) -> Event | None:
    """What a watcher of these objects sees of a change: an object that leaves its selection is DELETED for it."""
    same = (change.kind.group, change.kind.plural) == (target.kind.group, target.kind.plural)
    where = change.body["metadata"].get("namespace", "")
    if not same or (target.namespace and where != target.namespace):
        return None
    named = not target.name or change.body["metadata"]["name"] == target.name
    is_in = named and change.type != "DELETED" and match(change.body)
    was_in = named and change.old is not None and match(change.old)
    if is_in:
        return ("MODIFIED" if was_in else "ADDED"), change.body
    return ("DELETED", change.body) if was_in else None


@dataclass
class Feed:
    """The changes one watch has not been told yet. Pushed from any thread, read in the server's."""

    loop: asyncio.AbstractEventLoop
    changes: deque[Change]
    version: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    # Set by the cluster: send a bookmark now; end now.
    bookmark: bool = False
    ended: bool = False
    # It stays open, and nothing comes by it any more, as if its connection were cut somewhere between.
    dumb: bool = False
    resource: str = ""

    def push(self, change: Change) -> None:
        self.changes.append(change)
        self.wake()

    def wake(self) -> None:
        self.loop.call_soon_threadsafe(self.woken.set)


@dataclass
class Watches:
    """All open watches of a cluster. `bookmark_s`: how often a watch that allows bookmarks gets one by itself."""

    store: Store
    faults: Faults
    bookmark_s: float = 60.0
    # How a version that is too old is told: an ERROR event in a 200 answer, or the status 410. Both happen.
    expired_as: str = "event"
    feeds: list[Feed] = field(default_factory=list)

    def each(self, act: Callable[[Feed], None]) -> None:
        with self.store.lock:
            for feed in self.feeds:
                act(feed)
                feed.wake()

    async def serve(self, request: web.Request, target: Target, query: Mapping[str, str]) -> web.StreamResponse:
        """Answer a watch. Raises 400 and, if told so, 410 before the answer begins."""
        match = matcher(target.kind, query)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        feed: Feed | None = None
        stop: Callable[[], None] = lambda: None  # noqa: E731
        try:
            with self.store.lock:
                first, feed = self._open(target, query, match)
                feed.resource = target.kind.plural
                self.feeds.append(feed)
                stop = self.store.listen(feed.push)
            await response.prepare(request)
            stream = Stream(response, target.kind, query, request.headers.get("Accept", ""), self.faults)
            if await stream.send_all(first):
                await self._follow(stream, feed, target, match)
        except ApiError as error:
            if error.code != 410 or self.expired_as == "status":
                raise
            await response.prepare(request)
            await response.write(orjson.dumps({"type": "ERROR", "object": error.status}) + b"\n")
        finally:
            with self.store.lock:
                stop()
                if feed in self.feeds:
                    self.feeds.remove(feed)
        return await self._end(request, response)

    async def _end(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if self.faults.watch_abort and request.transport is not None:
            request.transport.abort()
            return response
        await response.write_eof()
        return response

    def _open(self, target: Target, query: Mapping[str, str], match: Match) -> tuple[list[Event], Feed]:
        """The events to begin with, and the feed of those that follow."""
        loop, wanted = asyncio.get_running_loop(), query.get("resourceVersion", "")
        if wanted and not wanted.isdecimal():
            raise bad_request(f'resourceVersion: Invalid value: "{wanted}": strconv.ParseUint: invalid syntax')
        initial = flag(query, "sendInitialEvents")
        if wanted not in ("", "0") and not initial:
            return [], Feed(loop, deque(self.store.since(int(wanted))), int(wanted))
        found: list[Event] = [
            ("ADDED", body)
            for body in self.store.items(target.kind, target.namespace)
            if match(body) and target.name in ("", body["metadata"]["name"])
        ]
        if initial and flag(query, "allowWatchBookmarks"):
            found.append(("BOOKMARK", bookmark(target.kind, self.store.version, _INITIAL_END)))
        return found, Feed(loop, deque(), self.store.version)

    async def _follow(self, stream: Stream, feed: Feed, target: Target, match: Match) -> None:
        next_bookmark = time.monotonic() + self.bookmark_s
        while not feed.ended and not stream.over():
            feed.woken.clear()
            if feed.dumb:
                await stream.wait(feed, float("inf"))
                continue
            if not await stream.send_all(self._pending(feed, target, match)):
                return
            if stream.bookmarks and (feed.bookmark or time.monotonic() >= next_bookmark):
                feed.bookmark = False
                next_bookmark = time.monotonic() + self.bookmark_s
                await stream.send("BOOKMARK", bookmark(target.kind, feed.version))
            await stream.wait(feed, next_bookmark)

    def _pending(self, feed: Feed, target: Target, match: Match) -> Iterator[Event]:
        while feed.changes:
            change = feed.changes.popleft()
            feed.version = change.version
            if event := event_of(change, target, match):
                yield event
        with self.store.lock:
            if not feed.changes:
                feed.version = self.store.version


def bookmark(kind: Kind, version: int, annotations: dict[str, str] | None = None) -> Body:
    """An object that carries only a version."""
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}


class Stream:
    """One answer: counts its events, knows when it must end."""

    def __init__(
        self, response: web.StreamResponse, kind: Kind, query: Mapping[str, str], accept: str, faults: Faults
    ) -> None:
        self.bookmarks = flag(query, "allowWatchBookmarks")
        self._response, self._kind, self._accept, self._faults = response, kind, accept, faults
        self._sent = 0
        self._begun = time.monotonic()
        self._timeout_s = float(query.get("timeoutSeconds") or 3600)

    def over(self) -> bool:
        return self._left_s() <= 0 or self._spent()

    def _spent(self) -> bool:
        return self._faults.watch_events is not None and self._sent >= self._faults.watch_events

    def _left_s(self) -> float:
        life = self._faults.watch_life_s
        limit = self._timeout_s if life is None else min(life, self._timeout_s)
        return self._begun + limit - time.monotonic()

    async def send(self, type_: str, body: Body) -> None:
        event = {"type": type_, "object": shown(body, self._accept)}
        await self._response.write(orjson.dumps(event) + b"\n")

    async def send_all(self, events: Iterator[Event] | list[Event]) -> bool:
        """False when the watch's events are used up."""
        for type_, body in events:
            if self._spent():
                return False
            await self.send(type_, body)
            self._sent += type_ != "BOOKMARK"
        return not self._spent()

    async def wait(self, feed: Feed, bookmark_at: float) -> None:
        limit = self._left_s()
        if self.bookmarks:
            limit = min(limit, bookmark_at - time.monotonic())
        try:
            await asyncio.wait_for(feed.woken.wait(), max(limit, 0))
        except TimeoutError:
            return
