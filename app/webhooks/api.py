"""`/v1/webhooks`. All of it needs `admin`: a webhook carries a tenant's events out of the house, and its log shows
what machines answer that Yardmaster can reach. An admin sees the webhooks of its own tenant only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Query, Response

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.errors import BadPageToken
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.webhooks import queries, wire
from app.webhooks.records import NO_TASK, DeliveryRecord, WebhookRecord
from app.webhooks.service import Webhooks

SCOPE = "admin"

WebhookId = Annotated[UUID, Path(examples=[wire.WEBHOOK_EXAMPLE["id"]])]
DeliveryId = Annotated[UUID, Path(examples=[wire.DELIVERY_EXAMPLE["id"]])]
Status = Literal["pending", "delivered", "failed"]


def router(webhooks: Webhooks, edge: Edge) -> APIRouter:
    """The routes of webhooks and of their deliveries."""
    api = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=StrictRoute)
    _add_webhooks(api, webhooks, edge)
    _add_deliveries(api, webhooks, edge)
    return api


def _add_webhooks(api: APIRouter, webhooks: Webhooks, edge: Edge) -> None:
    @api.post("", status_code=201, responses=problems(400, 401, 403, 409, 413, 422, 503), summary="Make a webhook")
    async def create(
        body: wire.WebhookIn, response: Response, caller: Caller = edge.require(SCOPE)
    ) -> wire.WebhookSecretOut:
        """It gets the events of the caller's tenant from now on, each at least once, in no promised order.

        The answer is the only place where the secret is shown. Deliveries are signed by Standard Webhooks: headers
        `webhook-id`, `webhook-timestamp`, `webhook-signature`.
        """
        made = await webhooks.create(caller, body.model_dump())
        response.headers["Location"] = f"/v1/webhooks/{made.id}"
        return _with_secret(webhooks, made)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List webhooks")
    async def list_webhooks(
        page_size: PageSize = 50, page_token: PageToken = None, caller: Caller = edge.require(SCOPE)
    ) -> wire.WebhookPage:
        """Of the caller's tenant, oldest first, without their secrets."""
        after = _uuid(resume_after(page_token, "webhooks")) if page_token else None
        found = await queries.webhooks(webhooks.db, caller.tenant, after=after, limit=page_size + 1)
        page = found[:page_size]
        token = encode_page_token("webhooks", str(page[-1].id)) if len(found) > page_size else None
        return wire.WebhookPage(items=[_out(item) for item in page], next_page_token=token)

    @api.get("/{webhook_id}", responses=problems(401, 403, 404, 422, 503), summary="Read a webhook")
    async def read(webhook_id: WebhookId, caller: Caller = edge.require(SCOPE)) -> wire.WebhookOut:
        """Without its secret: that is shown when it is made and when it is rotated."""
        return _out(await webhooks.get(caller, webhook_id))

    @api.patch("/{webhook_id}", responses=problems(400, 401, 403, 404, 413, 422, 503), summary="Change a webhook")
    async def change(
        webhook_id: WebhookId, body: wire.WebhookChangeIn, caller: Caller = edge.require(SCOPE)
    ) -> wire.WebhookOut:
        """Disabling fails what is pending; enabled again, it gets events from then on (and see redeliver)."""
        return _out(await webhooks.change(caller, webhook_id, body.model_dump(exclude_unset=True)))

    @api.delete(
        "/{webhook_id}", status_code=204, responses=problems(401, 403, 404, 422, 503), summary="Remove a webhook"
    )
    async def remove(webhook_id: WebhookId, caller: Caller = edge.require(SCOPE)) -> None:
        """With its deliveries. A try that is under way may still arrive."""
        await webhooks.remove(caller, webhook_id)

    @api.post("/{webhook_id}/rotate", responses=problems(401, 403, 404, 422, 503), summary="Make a new secret")
    async def rotate(webhook_id: WebhookId, caller: Caller = edge.require(SCOPE)) -> wire.WebhookSecretOut:
        """Deliveries carry a signature with the new secret and one with the secret before, so that the receiver can
        change over without a gap; rotate twice to retire a secret at once."""
        return _with_secret(webhooks, await webhooks.rotate(caller, webhook_id))

    @api.post("/{webhook_id}/test", status_code=202, responses=problems(401, 403, 404, 422, 503), summary="Send a ping")
    async def test(webhook_id: WebhookId, caller: Caller = edge.require(SCOPE)) -> wire.DeliveryOut:
        """A delivery of type `webhook.ping`, signed and retried as all are. Read it again to see what came back."""
        return _delivery(await webhooks.ping(caller, webhook_id))


def _add_deliveries(api: APIRouter, webhooks: Webhooks, edge: Edge) -> None:
    @api.get("/{webhook_id}/deliveries", responses=problems(400, 401, 403, 404, 422, 503), summary="List deliveries")
    async def deliveries(
        webhook_id: WebhookId,
        status: Annotated[Status | None, Query(examples=["failed"])] = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require(SCOPE),
    ) -> wire.DeliveryPage:
        """Newest first, with the last answer of the receiver to each."""
        before = _uuid(resume_after(page_token, "deliveries")) if page_token else None
        await webhooks.get(caller, webhook_id)
        found = await queries.deliveries(webhooks.db, webhook_id, status=status, before=before, limit=page_size + 1)
        page = found[:page_size]
        token = encode_page_token("deliveries", str(page[-1].id)) if len(found) > page_size else None
        return wire.DeliveryPage(items=[_delivery(item) for item in page], next_page_token=token)

    @api.get(
        "/{webhook_id}/deliveries/{delivery_id}",
        responses=problems(401, 403, 404, 422, 503),
        summary="Read a delivery",
    )
    async def delivery(
        webhook_id: WebhookId, delivery_id: DeliveryId, caller: Caller = edge.require(SCOPE)
    ) -> wire.WholeDeliveryOut:
        """With the body that is sent."""
        found = await webhooks.delivery(caller, webhook_id, delivery_id)
        return wire.WholeDeliveryOut(**_delivery(found).model_dump(), body=orjson.loads(found.body))

    @api.post(
        "/{webhook_id}/deliveries/{delivery_id}/redeliver",
        status_code=202,
        responses=problems(401, 403, 404, 409, 422, 503),
        summary="Send a delivery again",
    )
    async def redeliver(
        webhook_id: WebhookId, delivery_id: DeliveryId, caller: Caller = edge.require(SCOPE)
    ) -> wire.DeliveryOut:
        """Whatever became of it, under the same `webhook-id`, with all its tries anew. 409 `webhook_disabled`."""
        return _delivery(await webhooks.redeliver(caller, webhook_id, delivery_id))

    @api.post(
        "/{webhook_id}/redeliver",
        status_code=202,
        responses=problems(400, 401, 403, 404, 409, 413, 422, 503),
        summary="Send failed deliveries again",
    )
    async def redeliver_failed(
        webhook_id: WebhookId, body: wire.RedeliverIn | None = None, caller: Caller = edge.require(SCOPE)
    ) -> wire.RedeliverOut:
        """All that were given up, the oldest first, as many at once as a webhook may have pending."""
        since = None if body is None else _aware(body.since)
        again, left = await webhooks.redeliver_failed(caller, webhook_id, since)
        return wire.RedeliverOut(redelivered=again, left=left)


def _out(webhook: WebhookRecord) -> wire.WebhookOut:
    return wire.WebhookOut.model_validate(webhook, from_attributes=True)


def _with_secret(webhooks: Webhooks, webhook: WebhookRecord) -> wire.WebhookSecretOut:
    return wire.WebhookSecretOut(**_out(webhook).model_dump(), secret=webhooks.secret(webhook))


def _delivery(found: DeliveryRecord) -> wire.DeliveryOut:
    of_task = found.task_id != NO_TASK
    return wire.DeliveryOut(
        id=found.id,
        webhook_id=found.webhook_id,
        type=found.type,
        task_id=found.task_id if of_task else None,
        seq=found.seq if of_task else None,
        status=found.status,
        tries=found.tries,
        next_try_at=found.due_at if found.status == "pending" else None,
        answer_status=found.answer_status,
        answer=found.answer,
        created_at=found.created_at,
        delivered_at=found.delivered_at,
    )


def _aware(value: datetime | None) -> datetime | None:
    """In UTC, which a time without a zone is taken to be; the first or last moment there is instead of one beyond."""
    if value is None:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if value.year == 1 else datetime.max.replace(tzinfo=UTC)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPageToken("The page token does not belong to this list.") from None
