"""The JSON shapes of groups of alerts, and of notifications."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

MAX_ACK_S = 604_800.0

_KEY = "on-call:5f0c6c3d0b1f4a4e9a0d5c4e6b7a1001"
_ALERT: dict[str, Any] = {
    "fingerprint": "8f14e45fceea167a5a36dedd4bea2543",
    "rule": "high_error_rate",
    "labels": {"alertname": "high_error_rate", "severity": "warning", "pool": "ops"},
    "annotations": {"summary": "Only 82 % of attempts of ops succeed."},
    "value": 0.82,
    "starts_at": "2026-11-20T20:20:00Z",
    "ends_at": None,
}
GROUP: dict[str, Any] = {
    "key": _KEY,
    "receiver": "on-call",
    "labels": {"alertname": "high_error_rate", "pool": "ops"},
    "status": "firing",
    "firing": 1,
    "opened_at": "2026-11-20T20:20:01Z",
    "next_flush_at": "2026-11-20T20:25:31Z",
    "tries": 0,
    "retry_at": None,
    "escalated_at": None,
    "acked_by": "",
    "acked_until": None,
    "ack_comment": "",
    "last_notification": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
    "alerts": [_ALERT],
}
NOTIFICATION: dict[str, Any] = {
    "id": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
    "group_key": _KEY,
    "receiver": "on-call",
    "reason": "first",
    "sent": True,
    "outcome": "delivered",
    "detail": "",
    "tries": 1,
    "at": "2026-11-20T20:20:31Z",
    "last_at": "2026-11-20T20:20:31Z",
    "count": 1,
}
_VERDICT: dict[str, Any] = {
    "fingerprint": _ALERT["fingerprint"],
    "labels": _ALERT["labels"],
    "sent": True,
    "reason": "first",
    "by": "",
}


class GroupAlertOut(BaseModel):
    """One alert of a group. `ends_at` null: it fires."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ALERT]})
    fingerprint: str
    rule: str
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    starts_at: datetime
    ends_at: datetime | None


class AlertGroupOut(BaseModel):
    """Alerts that one receiver is told about together. `tries`: of a notice that has not arrived yet."""

    model_config = ConfigDict(json_schema_extra={"examples": [GROUP]})
    key: str
    receiver: str
    labels: dict[str, str]
    status: Literal["firing", "acknowledged", "resolved"]
    firing: int
    opened_at: datetime
    next_flush_at: datetime
    tries: int
    retry_at: datetime | None
    escalated_at: datetime | None
    acked_by: str
    acked_until: datetime | None
    ack_comment: str
    last_notification: UUID | None
    alerts: list[GroupAlertOut]


class AlertGroupPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [GROUP], "next_page_token": None}]})
    items: list[AlertGroupOut]
    next_page_token: str | None


class AckIn(BaseModel):
    """For how long nobody is told of the same again, nor anybody else instead; new alerts end it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"for_s": 3600, "comment": "I am looking at it"}]}
    )
    for_s: float = Field(14_400.0, ge=60, le=MAX_ACK_S)
    comment: str = Field("", max_length=1000)


class VerdictOut(BaseModel):
    """What became of one alert. `by` names what held it back: a silence, an inhibition, a mute time, a time."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VERDICT]})
    fingerprint: str
    labels: dict[str, str]
    sent: bool
    reason: str
    by: str


class NotificationOut(BaseModel):
    """One send, or one decision not to send (`outcome` held). `count`: how often in a row it came out so."""

    model_config = ConfigDict(json_schema_extra={"examples": [NOTIFICATION]})
    id: UUID
    group_key: str
    receiver: str
    reason: str = Field(
        description="first, new_alerts, resolved, repeat, acknowledged, heartbeat; silenced, inhibited, muted, "
        "deduplicated, throttled, acknowledged, refused, receiver_deleted; several: see the alerts."
    )
    sent: bool
    outcome: Literal["delivered", "retrying", "throttled", "permanent", "held"]
    detail: str
    tries: int
    at: datetime
    last_at: datetime
    count: int


class WholeNotificationOut(NotificationOut):
    """With each alert's verdict, and what comes next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**NOTIFICATION, "alerts": [_VERDICT], "next": "The group is looked at again at 20:25:31."}]
        }
    )
    alerts: list[VerdictOut]
    next: str


class NotificationPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [NOTIFICATION], "next_page_token": None}]})
    items: list[NotificationOut]
    next_page_token: str | None
