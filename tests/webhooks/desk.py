"""One manager's webhooks on a test's database, without a running manager: events in, deliveries out, loops by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.auth.callers import Caller
from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.jsonbody import dump_json
from app.core.leader import Leader
from app.settings import WebhookSettings
from app.webhooks import queries
from app.webhooks.delivery import DeliveryLoop
from app.webhooks.fanout import FanOutLoop
from app.webhooks.records import DeliveryRecord, FeedPage, Position, WebhookRecord
from app.webhooks.sender import Sender
from app.webhooks.service import Webhooks
from app.wiring.feeds import webhook_feed

PEPPER = b"p" * 32
CALLER = Caller("key", "t", frozenset({"admin"}))


class RealTime(Clock):
    """The present of signatures, which the receivers' library compares with its own clock; moved by hand besides."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.seconds


class Desk:
    """`options`: settings that differ from the defaults. Every address is allowed unless `allows` says otherwise."""

    def __init__(self, db: Database, *, allows: Any = lambda _: True, **options: Any) -> None:
        self.db, self.clock = db, RealTime()
        self.settings = WebhookSettings(**options)
        self.webhooks = Webhooks(db, self.clock, allows, PEPPER, self.settings)
        self.sender = Sender(allows, timeout_s=self.settings.timeout_s)
        self.deliveries = DeliveryLoop(db, self.clock, self.webhooks, self.sender, self.settings, spread=lambda: 0.0)
        leader = Leader(db, self.clock, "webhooks", str(uuid4()))
        self.told = 0
        self.fan_out = FanOutLoop(db, leader, self.clock, self.read, self.settings, self._due)

    async def __aenter__(self) -> Desk:
        await self.sender.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deliveries.close(5.0)
        await self.sender.close()

    async def read(self, tenant: str, after: Position, types: Sequence[str], pool: str | None, limit: int) -> FeedPage:
        return await webhook_feed(self.db, tenant, after, types, pool, limit)

    async def webhook(self, url: str, **fields: Any) -> WebhookRecord:
        values = {"url": url, "description": "", "types": [], "pool": None, "enabled": True, **fields}
        return await self.webhooks.create(CALLER, values)

    async def spread(self) -> None:
        """Fan out until there is nothing more."""
        while await self.fan_out.tick() == 0.0:
            pass

    async def send(self) -> None:
        """One pass of the delivery loop, and what it started to its end."""
        await self.deliveries.tick()
        await self.deliveries.idle()

    async def all(self, webhook: WebhookRecord) -> list[DeliveryRecord]:
        """Every delivery of a webhook, oldest first."""
        return (await queries.deliveries(self.db, webhook.id, status=None, before=None, limit=10_000))[::-1]

    async def one(self, webhook: WebhookRecord) -> DeliveryRecord:
        (found,) = await self.all(webhook)
        return found

    async def due_now(self) -> None:
        """Time passes until everything pending is due."""
        await self.sql("UPDATE webhook_deliveries SET due_at = now() WHERE status = 'pending'")

    async def sql(self, statement: str, *args: Any) -> Any:
        async with self.db.hot() as connection:
            return await connection.fetch(statement, *args)

    async def _due(self) -> None:
        self.told += 1


EVENT = """
WITH task AS (
  INSERT INTO tasks (id, tenant, submitted_by, pool, type, payload, priority, tag, status, max_attempts)
  VALUES ($1, $3, 'key', $6, 'work', '{}', 0, 0, 'queued', 1)
)
INSERT INTO events (task_id, seq, tenant, type, data) VALUES ($1, $2, $3, $4, $5)
"""


async def write_event(
    connection: HotConnection, type_: str = "task.queued", tenant: str = "t", seq: int = 1, pool: str = "p", **data: Any
) -> UUID:
    """A task with one event; its id."""
    task_id = uuid4()
    await connection.execute(EVENT, task_id, seq, tenant, type_, dump_json(data), pool)
    return task_id


async def add_event(db: Database, type_: str = "task.queued", **fields: Any) -> UUID:
    """The same in a transaction of its own."""
    async with db.hot() as connection:
        return await write_event(connection, type_, **fields)
