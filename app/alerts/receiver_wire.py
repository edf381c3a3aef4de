"""The JSON shapes of receivers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.alerts.receiver_service import ReceiverSpec
from app.alerts.rule import MAX_TIME_S

NAME = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,99}$"
LABEL = r"^([A-Za-z_][A-Za-z0-9_]{0,254}|\.\.\.)$"
MIN_INTERVAL_S = 1.0

Kind = Literal["alertmanager", "email", "pagerduty", "slack", "webhook"]
Names = Annotated[list[Annotated[str, Field(pattern=NAME)]], Field(max_length=32)]
Matchers = Annotated[list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(max_length=64)]

_CONFIG: dict[str, Any] = {"routing_key": "**********", "region": "eu", "source": "yardmaster"}
RECEIVER: dict[str, Any] = {
    "name": "on-call",
    "kind": "pagerduty",
    "description": "whoever is on call",
    "config": _CONFIG,
    "routed": True,
    "matchers": ['severity=~"critical|error"'],
    "send_resolved": True,
    "mute_times": [],
    "active_times": [],
    "group_by": ["alertname", "pool"],
    "group_wait_s": 30,
    "group_interval_s": 300,
    "repeat_interval_s": 14400,
    "escalate_to": "managers",
    "escalate_after_s": 900,
    "heartbeat_s": None,
    "enabled": True,
    "status": "ok",
    "throttled_until": None,
    "failed_reason": "",
    "failed_at": None,
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-01T08:00:00Z",
    "updated_at": "2026-11-20T08:00:00Z",
}
_IN: dict[str, Any] = {
    "kind": "pagerduty",
    "config": {"routing_key": "0123456789abcdef0123456789abcdef", "region": "eu"},
    "matchers": ['severity=~"critical|error"'],
}


class ReceiverIn(BaseModel):
    """A receiver as a whole. `config` is of its kind:

    pagerduty `routing_key`, `previous_routing_keys`, `region` (us, eu), `source` · slack `webhook_url`, or `channel`
    with or without `token`; `buttons` · email `to` · webhook `url`, `secret`, `max_alerts` ·
    alertmanager `urls`, `token`.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_IN]})
    kind: Kind
    config: dict[str, Any] = Field(max_length=20)
    description: str = Field("", max_length=500)
    routed: bool = Field(True, description="False: it gets only alerts of rules that name it, and escalations.")
    matchers: Matchers = Field(default_factory=list, description="Only alerts that meet all; none: every alert.")
    send_resolved: bool = True
    mute_times: Names = Field(default_factory=list, description="Nothing is told within these.")
    active_times: Names = Field(default_factory=list, description="Nothing is told outside of these.")
    group_by: Annotated[list[Annotated[str, Field(pattern=LABEL)]], Field(max_length=32)] = Field(
        default_factory=lambda: ["alertname", "pool"], description="Labels that make a group; `...`: all of them."
    )
    group_wait_s: float = Field(30.0, ge=0, le=86_400, description="A new group waits so long for more alerts.")
    group_interval_s: float = Field(300.0, ge=MIN_INTERVAL_S, le=86_400, description="News are collected for so long.")
    repeat_interval_s: float = Field(14_400.0, ge=MIN_INTERVAL_S, le=MAX_TIME_S)
    escalate_to: str | None = Field(None, pattern=NAME, description="Who is told when nobody acknowledges in time.")
    escalate_after_s: float | None = Field(None, ge=1, le=MAX_TIME_S)
    heartbeat_s: float | None = Field(
        None, ge=1, le=86_400, description="A `Watchdog` alert is sent so often, while rules are evaluated."
    )
    enabled: bool = True

    @model_validator(mode="after")
    def _escalates_in_time(self) -> ReceiverIn:
        if (self.escalate_to is None) != (self.escalate_after_s is None):
            raise ValueError("escalate_to and escalate_after_s go together")
        return self

    def spec(self) -> ReceiverSpec:
        values = self.model_dump()
        for name in ("matchers", "mute_times", "active_times", "group_by"):
            values[name] = tuple(dict.fromkeys(values[name]))
        return ReceiverSpec(**values)


class ReceiverOut(BaseModel):
    """Secrets of `config` are masked. `status`: ok, throttled, failing (for good: see `failed_reason`) or disabled."""

    model_config = ConfigDict(json_schema_extra={"examples": [RECEIVER]})
    name: str
    kind: str
    description: str
    config: dict[str, Any]
    routed: bool
    matchers: list[str]
    send_resolved: bool
    mute_times: list[str]
    active_times: list[str]
    group_by: list[str]
    group_wait_s: float
    group_interval_s: float
    repeat_interval_s: float
    escalate_to: str | None
    escalate_after_s: float | None
    heartbeat_s: float | None
    enabled: bool
    status: Literal["ok", "throttled", "failing", "disabled"]
    throttled_until: datetime | None
    failed_reason: str
    failed_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class ReceiverPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [RECEIVER], "next_page_token": None}]})
    items: list[ReceiverOut]
    next_page_token: str | None


class TestOut(BaseModel):
    """How a test went: delivered, retryable, throttled (until) or permanent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"outcome": "permanent", "reason": "Slack answered 200 channel_not_found", "until": None}]
        }
    )
    outcome: Literal["delivered", "retryable", "throttled", "permanent"]
    reason: str
    until: datetime | None
