"""Verbs of webhooks: make, change, rotate, test, redeliver, remove."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
import uuid_utils
from prometheus_client import Counter

from app.auth.callers import Caller
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Conflict, NotFound
from app.core.jsonbody import dump_json
from app.settings import WebhookSettings
from app.webhooks import queries, signing
from app.webhooks import statements as sql
from app.webhooks.addresses import Allows, check_url
from app.webhooks.records import PING, DeliveryRecord, WebhookRecord

log = structlog.get_logger()

DISABLED = Counter("yard_webhooks_disabled", "Webhooks that Yardmaster disabled itself.", ["reason"])

FORGET_BATCH = 5000
CHANGEABLE = ("url", "description", "types", "pool", "enabled")


class WebhookNotFound(NotFound):
    code, title = "webhook_not_found", "No such webhook"


class DeliveryNotFound(NotFound):
    code, title = "delivery_not_found", "No such delivery"


class TooManyWebhooks(Conflict):
    code, title = "too_many_webhooks", "Too many webhooks"


class WebhookDisabled(Conflict):
    code, title = "webhook_disabled", "The webhook is disabled"


class Webhooks:
    """The verbs. `on_due` is called after deliveries were committed that are due: in this manager only."""

    def __init__(self, db: Database, clock: Clock, allows: Allows, pepper: bytes, settings: WebhookSettings) -> None:
        self.db, self._clock, self._allows, self._settings = db, clock, allows, settings
        self._pepper = pepper
        self.on_due: Callable[[], None] = lambda: None

    def secret(self, webhook: WebhookRecord) -> str:
        """The secret of its newest generation, as its owner stores it."""
        return signing.shown(signing.key_of(self._pepper, webhook.id, webhook.generation))

    def headers(self, webhook_id: UUID, generation: int, delivery_id: UUID, body: bytes) -> dict[str, str]:
        """The signature of a delivery that is sent now."""
        keys = signing.keys_in_use(self._pepper, webhook_id, generation)
        return signing.headers(keys, delivery_id, int(self._clock.now().timestamp()), body)

    async def create(self, caller: Caller, fields: Mapping[str, Any]) -> WebhookRecord:
        """A webhook for the caller's tenant that gets events from now on; raises Invalid kinds or TooManyWebhooks."""
        await check_url(fields["url"], self._allows)
        async with self.db.hot() as connection:
            row = await connection.fetchrow(
                sql.CREATE, new_id(), caller.tenant, fields["url"], fields["description"], fields["types"],
                fields["pool"], fields["enabled"], self._settings.max_per_tenant,
            )  # fmt: skip
        if row is None:
            raise TooManyWebhooks(f"A tenant may have {self._settings.max_per_tenant} webhooks; delete one first.")
        return WebhookRecord(*row)

    async def get(self, caller: Caller, webhook_id: UUID) -> WebhookRecord:
        """A webhook of the caller's tenant; raises WebhookNotFound."""
        return _found(await queries.webhook(self.db, caller.tenant, webhook_id))

    async def change(self, caller: Caller, webhook_id: UUID, fields: Mapping[str, Any]) -> WebhookRecord:
        """Replace the named fields. Disabled: what is pending fails. Enabled again: it gets events from then on."""
        if "url" in fields:
            await check_url(fields["url"], self._allows)
        async with self.db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(sql.LOCK, caller.tenant, webhook_id)
            was = _found(None if row is None else WebhookRecord(*row))
            if fields.get("enabled", was.enabled) != was.enabled:
                await connection.execute(sql.GIVE_UP if was.enabled else sql.RESTART, webhook_id)
            values = {name: fields.get(name, getattr(was, name)) for name in ("url", "description", "types", "pool")}
            row = await connection.fetchrow(
                sql.CHANGE, webhook_id, *values.values(), fields.get("enabled", was.enabled)
            )
        return _found(None if row is None else WebhookRecord(*row))

    async def rotate(self, caller: Caller, webhook_id: UUID) -> WebhookRecord:
        """A new secret. Deliveries are signed with the one before too, until the next rotation."""
        async with self.db.hot() as connection:
            row = await connection.fetchrow(sql.ROTATE, caller.tenant, webhook_id)
        return _found(None if row is None else WebhookRecord(*row))

    async def remove(self, caller: Caller, webhook_id: UUID) -> None:
        """Delete it with its deliveries, these in batches: cut short, it is disabled and can be removed again."""
        await self.change(caller, webhook_id, {"enabled": False})
        async with self.db.hot() as connection:
            while len(await connection.fetch(sql.FORGET, webhook_id, FORGET_BATCH)) == FORGET_BATCH:
                pass
            await connection.execute("DELETE FROM webhooks WHERE id = $1", webhook_id)

    async def ping(self, caller: Caller, webhook_id: UUID) -> DeliveryRecord:
        """A delivery without an event, which shows whether the receiver answers; to a disabled webhook too."""
        webhook = await self.get(caller, webhook_id)
        body = dump_json({"type": PING, "timestamp": self._clock.now(), "tenant": webhook.tenant, "data": {}})
        async with self.db.hot() as connection:
            row = await connection.fetchrow(sql.ADD_PING, new_id(), webhook.id, body)
        self.on_due()
        assert row is not None
        return DeliveryRecord(*row)

    async def delivery(self, caller: Caller, webhook_id: UUID, delivery_id: UUID) -> DeliveryRecord:
        """One of a webhook of the caller's tenant; raises WebhookNotFound or DeliveryNotFound."""
        await self.get(caller, webhook_id)
        found = await queries.delivery(self.db, webhook_id, delivery_id)
        if found is None:
            raise DeliveryNotFound("The webhook has no delivery with this id (any more).")
        return found

    async def redeliver(self, caller: Caller, webhook_id: UUID, delivery_id: UUID) -> DeliveryRecord:
        """Send it again under the same id, whatever became of it; raises WebhookDisabled too."""
        await self._enabled(caller, webhook_id)
        async with self.db.hot() as connection:
            row = await connection.fetchrow(sql.AGAIN, webhook_id, delivery_id)
        if row is None:
            raise DeliveryNotFound("The webhook has no delivery with this id (any more).")
        self.on_due()
        return DeliveryRecord(*row)

    async def redeliver_failed(self, caller: Caller, webhook_id: UUID, since: datetime | None) -> tuple[int, int]:
        """Send those again that failed, made at or after `since`, oldest first: how many, and how many are left."""
        await self._enabled(caller, webhook_id)
        async with self.db.hot() as connection:
            again = await connection.fetch(sql.ALL_AGAIN, webhook_id, since, self._settings.max_pending)
            left = int(await connection.fetchval(sql.FAILED_LEFT, webhook_id, since))
        self.on_due()
        return len(again), left

    async def disable(self, webhook_id: UUID, reason: str) -> None:
        """Send it nothing more; `reason` (gone, failing) is for the log. Its pending deliveries fail."""
        async with self.db.hot() as connection, connection.transaction():
            tenant = await connection.fetchval(sql.DISABLE, webhook_id)
            await connection.execute(sql.GIVE_UP, webhook_id)
        if tenant is not None:
            DISABLED.labels(reason).inc()
            log.warning("webhook_disabled", webhook_id=str(webhook_id), tenant=tenant, reason=reason)

    async def _enabled(self, caller: Caller, webhook_id: UUID) -> None:
        if not (await self.get(caller, webhook_id)).enabled:
            raise WebhookDisabled("The webhook is disabled; enable it first.")


def _found(webhook: WebhookRecord | None) -> WebhookRecord:
    if webhook is None:
        raise WebhookNotFound("There is no webhook with this id.")
    return webhook


def new_id() -> UUID:
    """An id that rises with time (UUIDv7)."""
    return UUID(bytes=uuid_utils.uuid7().bytes)
