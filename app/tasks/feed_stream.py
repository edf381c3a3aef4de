"""Server-sent events of a tenant's feed: what comes behind a cursor, and whatever is committed from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from app.core.clock import Clock
from app.core.db import Database
from app.core.jsonbody import dump_bytes
from app.events.hub import Hub
from app.events.stream import PING, PING_S, frame
from app.tasks import feed
from app.tasks.feed import Cursor, Filters

PAGE = 200
REST_S, POLL_S = 0.1, 2.0
"""Between two looks at the table: at least so long, and at most, word or no word."""


async def feed_stream(
    db: Database,
    hub: Hub,
    clock: Clock,
    tenant: str,
    *,
    after: Cursor,
    filters: Filters,
    fresh: bool = False,
    lost: bool = False,
) -> AsyncIterator[bytes]:
    """The frames behind `after`, until the service stops. `fresh`: begin with where we are; `lost`: with a gap."""
    bell = hub.watch_all()
    pace_s, sent = REST_S, clock.monotonic()
    try:
        if fresh:
            yield frame("snapshot", dump_bytes({"cursor": str(after)}), after)
        if lost:
            yield frame("gap", dump_bytes({"reason": "retention", "missing": None}), after)
        while not hub.closing:
            bell.wake.clear()
            page = await feed.read(db, tenant, after, filters, PAGE)
            after = page.cursor
            for event in page.items:
                yield frame(event.type, feed.feed_json(event), event.cursor)
            if page.items:
                sent = clock.monotonic()
            elif clock.monotonic() - sent >= PING_S:
                sent = clock.monotonic()
                yield PING
            if page.more:
                continue
            # What rang may lie behind the horizon still, so the looks get rarer one by one.
            pace_s = REST_S if await bell.changed(pace_s) else min(POLL_S, 2 * pace_s)
            if pace_s == REST_S and not hub.closing:
                await asyncio.sleep(REST_S)
    finally:
        hub.unwatch_all(bell)
