"""The JSON shapes of webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.webhooks.addresses import MAX_URL

POOL = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$"
Prefix = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,99}$")]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL)]
Types = Annotated[
    list[Prefix],
    Field(max_length=50, description="Only events whose type starts with one of these; none: all."),
]

_ID = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"

WEBHOOK_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "url": "https://example.com/yardmaster",
    "description": "tickets",
    "types": ["task.succeeded", "task.failed"],
    "pool": None,
    "enabled": True,
    "generation": 1,
    "created_at": "2026-11-20T20:25:00Z",
}
DELIVERY_EXAMPLE: dict[str, Any] = {
    "id": "01939f30-11aa-7b21-9d0e-3f1c5a7b9e02",
    "webhook_id": _ID,
    "type": "task.failed",
    "task_id": "01939f2f-aaaa-7c3a-8a57-0d5c4e6b7a11",
    "seq": 4,
    "status": "pending",
    "tries": 2,
    "next_try_at": "2026-11-20T20:25:15Z",
    "answer_status": 503,
    "answer": "busy",
    "created_at": "2026-11-20T20:25:00Z",
    "delivered_at": None,
}
BODY_EXAMPLE: dict[str, Any] = {
    "type": "task.failed",
    "timestamp": "2026-11-20T20:25:00Z",
    "tenant": "default",
    "task_id": DELIVERY_EXAMPLE["task_id"],
    "seq": 4,
    "pool": "log_analyzer",
    "data": {"attempt": 3, "code": "executor_error", "message": "The agent answered 500."},
}


class WebhookIn(BaseModel):
    """Where the events of the caller's tenant are to be sent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://example.com/yardmaster", "types": ["task.succeeded", "task.failed"]}]
        },
    )
    url: Url = Field(description="http or https. Redirects are not followed.")
    description: str = Field("", max_length=500)
    types: Types = Field(default_factory=list)
    pool: str | None = Field(None, pattern=POOL, description="Only events of tasks in this pool.")
    enabled: bool = True


class WebhookChangeIn(BaseModel):
    """What is to change; what is left out stays. `pool` null: of all pools."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": False}]})
    url: Url = ""
    description: str = Field("", max_length=500)
    types: Types = Field(default_factory=list)
    pool: str | None = Field(None, pattern=POOL)
    enabled: bool = True


class WebhookOut(BaseModel):
    """`generation` counts its secrets."""

    model_config = ConfigDict(json_schema_extra={"examples": [WEBHOOK_EXAMPLE]})
    id: UUID
    url: str
    description: str
    types: list[str]
    pool: str | None
    enabled: bool
    generation: int
    created_at: datetime


class WebhookSecretOut(WebhookOut):
    """`secret` is shown in this answer only: verify deliveries with it, by a library of Standard Webhooks."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**WEBHOOK_EXAMPLE, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw…"}]}
    )
    secret: str


class WebhookPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [WEBHOOK_EXAMPLE], "next_page_token": None}]})
    items: list[WebhookOut]
    next_page_token: str | None


class DeliveryOut(BaseModel):
    """One event for one webhook. `id` is sent as `webhook-id`, the same with every try."""

    model_config = ConfigDict(json_schema_extra={"examples": [DELIVERY_EXAMPLE]})
    id: UUID
    webhook_id: UUID
    type: str
    task_id: UUID | None
    seq: int | None
    status: str = Field(description="pending, delivered or failed (given up)")
    tries: int
    next_try_at: datetime | None
    answer_status: int | None = Field(description="HTTP status of the last answer; null: there was none.")
    answer: str = Field(description="The start of the last answer's body, or why there was no answer.")
    created_at: datetime
    delivered_at: datetime | None


class WholeDeliveryOut(DeliveryOut):
    """With the body that is sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**DELIVERY_EXAMPLE, "body": BODY_EXAMPLE}]})
    body: dict[str, Any]


class DeliveryPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [DELIVERY_EXAMPLE], "next_page_token": None}]})
    items: list[DeliveryOut]
    next_page_token: str | None


class RedeliverIn(BaseModel):
    """Which failed deliveries: made at or after `since`; all that are kept without it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"since": "2026-11-20T20:00:00Z"}]})
    since: datetime | None = None


class RedeliverOut(BaseModel):
    """How many are sent again, and how many failed ones are left: call again once these are through."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"redelivered": 12, "left": 0}]})
    redelivered: int
    left: int
