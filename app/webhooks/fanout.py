"""From a tenant's feed to deliveries: one a webhook and event, the cursor moved in the same transaction.

The move is conditional on the cursor that was read, so two leaders at once write each delivery once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson

from app.core.clock import Clock
from app.core.db import Database
from app.core.failpoints import reach
from app.core.jsonbody import dump_json
from app.core.leader import Leader
from app.settings import WebhookSettings
from app.webhooks import queries
from app.webhooks.records import Feed, FeedEvent, FeedPage, WebhookRecord
from app.webhooks.service import new_id

BATCH = 500
PAGES = 20
"""Most pages for one webhook before the next one has its turn."""
MOVE_AFTER = 10_000
"""A cursor is not moved for nothing but so many transactions: each move is a transaction itself."""
RETENTION_BATCH = 5000
RETENTION_INTERVAL_S = 60.0

_PENDING = "SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $1 AND status = 'pending'"

_MOVE = """
UPDATE webhooks SET cursor_tx = $5, cursor_task_id = $6, cursor_seq = $7
WHERE id = $1 AND cursor_tx = $2 AND cursor_task_id = $3 AND cursor_seq = $4 AND enabled RETURNING 1
"""
_INSERT = """
INSERT INTO webhook_deliveries (id, webhook_id, task_id, seq, type, body, status)
SELECT id, $1, task_id, seq, type, body, 'pending'
FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::json[]) AS new (id, task_id, seq, type, body)
"""
_OLD = """
DELETE FROM webhook_deliveries WHERE id = ANY(ARRAY(
  SELECT id FROM webhook_deliveries WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2))
RETURNING 1
"""


def body_of(webhook: WebhookRecord, event: FeedEvent) -> str:
    """What is sent, as JSON text; `data` is the event's own."""
    return dump_json(
        {
            "type": event.type,
            "timestamp": event.at,
            "tenant": webhook.tenant,
            "task_id": event.task_id,
            "seq": event.seq,
            "pool": event.pool,
            "data": orjson.Fragment(event.data),
        }
    )


class FanOutLoop:
    """One pass: for every enabled webhook, deliveries for what is new in its feed; then deliveries past retention go.

    `on_due` tells all managers that there is something to send.
    """

    def __init__(
        self,
        db: Database,
        leader: Leader,
        clock: Clock,
        feed: Feed,
        settings: WebhookSettings,
        on_due: Callable[[], Awaitable[None]],
    ) -> None:
        self._db, self._leader, self._clock, self._feed = db, leader, clock, feed
        self._settings, self._on_due = settings, on_due
        self._clean_at = 0.0

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            return None
        more = False
        for webhook in await queries.enabled(self._db):
            more |= await self.follow(webhook)
        more |= await self._forget_old()
        return 0.0 if more else None

    async def follow(self, webhook: WebhookRecord) -> bool:
        """Write what is new for one webhook; whether there is more to read at once."""
        cursor, made, page = webhook.cursor, 0, None
        for _ in range(PAGES):
            room = await self._room(webhook)
            if room <= 0:
                page = None
                break
            page = await self._feed(webhook.tenant, cursor, webhook.types, webhook.pool, min(BATCH, room))
            if not page.events and page.through[0] - cursor[0] < MOVE_AFTER:
                break
            if not await self._write(webhook, cursor, page):
                page = None  # it was changed, or another leader was faster: the next pass reads it anew
                break
            cursor, made = page.through, made + len(page.events)
            if not page.more:
                break
        if made:
            await self._on_due()
        return page is not None and page.more

    async def _room(self, webhook: WebhookRecord) -> int:
        """How many more may be pending; what is above that waits in the feed, which keeps it as long as its tasks."""
        async with self._db.read() as connection:
            return self._settings.max_pending - int(await connection.fetchval(_PENDING, webhook.id))

    async def _write(self, webhook: WebhookRecord, cursor: tuple[object, ...], page: FeedPage) -> bool:
        async with self._db.hot() as connection, connection.transaction():
            if not await connection.fetchval(_MOVE, webhook.id, *cursor, *page.through):
                return False
            if page.events:
                await connection.execute(
                    _INSERT,
                    webhook.id,
                    [new_id() for _ in page.events],
                    [event.task_id for event in page.events],
                    [event.seq for event in page.events],
                    [event.type for event in page.events],
                    [body_of(webhook, event) for event in page.events],
                )
            reach("webhooks.fanned_out")
        return True

    async def _forget_old(self) -> bool:
        """Delete a batch of deliveries past retention, now and then; whether there are more."""
        if self._clock.monotonic() < self._clean_at:
            return False
        async with self._db.hot() as connection:
            gone = len(await connection.fetch(_OLD, self._settings.retention_s, RETENTION_BATCH))
        more = gone == RETENTION_BATCH
        if not more:
            self._clean_at = self._clock.monotonic() + RETENTION_INTERVAL_S
        return more
