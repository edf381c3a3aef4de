"""Reads of webhooks and their deliveries."""

from __future__ import annotations

from uuid import UUID

from app.core.db import Database
from app.webhooks import statements as sql
from app.webhooks.records import DeliveryRecord, WebhookRecord


async def webhooks(db: Database, tenant: str, *, after: UUID | None, limit: int) -> list[WebhookRecord]:
    """A tenant's, in the order they were made."""
    async with db.read() as connection:
        return [WebhookRecord(*row) for row in await connection.fetch(sql.OF_TENANT, tenant, after, limit)]


async def webhook(db: Database, tenant: str, webhook_id: UUID) -> WebhookRecord | None:
    async with db.read() as connection:
        row = await connection.fetchrow(sql.ONE, tenant, webhook_id)
    return None if row is None else WebhookRecord(*row)


async def enabled(db: Database) -> list[WebhookRecord]:
    """Those of all tenants that get deliveries."""
    async with db.read() as connection:
        return [WebhookRecord(*row) for row in await connection.fetch(sql.ENABLED)]


async def deliveries(
    db: Database, webhook_id: UUID, *, status: str | None, before: UUID | None, limit: int
) -> list[DeliveryRecord]:
    """Of one webhook, newest first."""
    async with db.read() as connection:
        rows = await connection.fetch(sql.DELIVERIES, webhook_id, status, before, limit)
    return [DeliveryRecord(*row) for row in rows]


async def delivery(db: Database, webhook_id: UUID, delivery_id: UUID) -> DeliveryRecord | None:
    async with db.read() as connection:
        row = await connection.fetchrow(sql.ONE_DELIVERY, webhook_id, delivery_id)
    return None if row is None else DeliveryRecord(*row)
