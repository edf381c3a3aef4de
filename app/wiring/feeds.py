"""The feeds part: streams, the tenant's feed, webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.auth.streamkeys import StreamKeys
from app.core.db import Database
from app.core.loop import Loop
from app.core.wake import notify
from app.registry.addresses import AllowList
from app.tasks import feed, feed_api
from app.tasks.feed import Cursor, Filters
from app.webhooks import adding, addresses
from app.webhooks import api as webhooks_api
from app.webhooks import wire as webhooks_wire
from app.webhooks.delivery import DeliveryLoop
from app.webhooks.fanout import FanOutLoop
from app.webhooks.records import FeedEvent, FeedPage, Position
from app.webhooks.sender import Sender
from app.webhooks.service import Webhooks
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

DELIVERIES_TOPIC = adding.TOPIC
DELIVERIES_GRACE_S = 3.0


class Feeds(Part):
    """streams, the tenant's feed, webhooks."""

    tags = (
        ("events", "What happens to all tasks, live."),
        ("webhooks", "Events sent to you: signed, retried, with a log."),
    )
    wire = (feed_api, webhooks_wire)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        self._build_streams(yard)
        self._build_webhooks(yard)

    def _build_streams(self, yard: Yard) -> None:
        yard.hub.settings = yard.settings.streams
        pepper = yard.settings.auth.pepper.get_secret_value().encode()
        self.stream_keys = StreamKeys(yard.db, yard.clock, pepper, yard.settings.streams.key_ttl_s)
        yard.edge.stream_keys = self.stream_keys

    def _build_webhooks(self, yard: Yard) -> None:
        settings = yard.settings.webhooks
        loopback = yard.settings.scaling.allow_process
        allows = AllowList(addresses.networks(settings.allowed_networks, loopback=loopback)).allows_text
        pepper = yard.settings.auth.pepper.get_secret_value().encode()
        self.webhooks = Webhooks(yard.db, yard.clock, allows, pepper, settings)
        self._sender = Sender(allows, timeout_s=settings.timeout_s)
        self.deliveries = DeliveryLoop(yard.db, yard.clock, self.webhooks, self._sender, settings)
        leader = self.leader("webhooks")
        self.fan_out = FanOutLoop(yard.db, leader, yard.clock, self._feed, settings, self._deliveries_due)
        self._delivery_loop = Loop("webhook-deliveries", self.deliveries.tick, interval_s=settings.interval_s)
        self.webhooks.on_due = self.deliveries.on_free = self._delivery_loop.wake
        self.topics[DELIVERIES_TOPIC] = lambda _: self._delivery_loop.wake()
        self.loops += [Loop("webhooks", self.fan_out.tick, interval_s=settings.interval_s), self._delivery_loop]

    async def _feed(self, tenant: str, after: Position, types: Sequence[str], pool: str | None, limit: int) -> FeedPage:
        return await webhook_feed(self.yard.db, tenant, after, types, pool, limit)

    async def _deliveries_due(self) -> None:
        async with self.yard.db.hot() as connection:
            await notify(connection, DELIVERIES_TOPIC)

    def routers(self) -> list[APIRouter]:
        yard = self.yard
        keep_s = yard.settings.tasks.retention_s
        return [
            feed_api.router(yard.db, yard.hub, yard.edge, yard.clock, self.stream_keys, keep_s=keep_s),
            webhooks_api.router(self.webhooks, yard.edge),
        ]

    async def open(self) -> None:
        await self._sender.open()

    async def close(self) -> None:
        await self.deliveries.close(DELIVERIES_GRACE_S)
        await self._sender.close()


async def webhook_feed(
    db: Database, tenant: str, after: Position, types: Sequence[str], pool: str | None, limit: int
) -> FeedPage:
    """The tenant's feed as webhooks read it (`app.webhooks.records.Feed`)."""
    page = await feed.read(db, tenant, Cursor(*after), Filters(types, pool), limit)
    events = [
        FeedEvent(item.cursor.task_id, item.cursor.seq, item.type, item.at, item.pool, item.data) for item in page.items
    ]
    return FeedPage(page.cursor.key, events, page.more)
