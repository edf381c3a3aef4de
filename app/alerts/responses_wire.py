"""The JSON shapes of emergency mode, of automatic answers to alerts, and of reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.alerts.actions.base import MAX_DURATION_S
from app.registry.wire import NAME

type Status = Literal["retrying", "running", "done", "ended", "skipped", "dry_run", "failed"]

_ID = "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10"
_FINGERPRINT = "5f0c2a537f7e4b1e9d0c1f8d7a0d7f10"
_EMERGENCY: dict[str, Any] = {
    "id": _ID,
    "pool": "log_analyzer",
    "min_priority": 0,
    "max_share": 0.5,
    "max_running": None,
    "require_approval": True,
    "reason": "the alert critical_error_rate fires",
    "source": "alert",
    "created_by": "alert:critical_error_rate",
    "started_at": "2026-11-20T20:25:00Z",
    "expires_at": "2026-11-20T20:55:00Z",
    "ended_at": None,
    "ended_by": None,
}
_ACTION: dict[str, Any] = {
    "id": _ID,
    "rule": "critical_error_rate",
    "fingerprint": _FINGERPRINT,
    "fired_at": "2026-11-20T20:24:59Z",
    "action": "immediate_intervention",
    "labels": {"alertname": "critical_error_rate", "pool": "log_analyzer", "severity": "critical"},
    "scope": {"pool": "log_analyzer"},
    "params": {},
    "value": 0.41,
    "status": "running",
    "until_resolved": True,
    "tries": 1,
    "due_at": None,
    "created_at": "2026-11-20T20:25:00Z",
    "started_at": "2026-11-20T20:25:00Z",
    "expires_at": "2026-11-20T20:55:00Z",
    "ended_at": None,
    "ended_by": None,
    "detail": "Emergency mode of 'log_analyzer': nothing below priority 0, 0.5 of the slots.",
    "report": None,
}
_REPORT: dict[str, Any] = {
    "id": _ID,
    "rule": "high_response_time",
    "fingerprint": _FINGERPRINT,
    "fired_at": "2026-11-20T20:24:59Z",
    "pool": "log_analyzer",
    "created_at": "2026-11-20T20:25:00Z",
    "report": {
        "captured_at": "2026-11-20T20:25:00Z",
        "window_s": 900,
        "manager": {},
        "pools": {"log_analyzer": {"queue": {"tasks": {"queued": 12}, "priorities": []}, "slowest": []}},
        "left_out": [],
    },
}


class EmergencyIn(BaseModel):
    """Emergency mode as a whole; null: it does not do that."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"pool": "log_analyzer", "max_share": 0.25, "reason": "The provider is down.", "duration_s": 900}
            ]
        },
    )
    pool: str | None = Field(None, pattern=NAME, description="This pool; null: the whole installation.")
    min_priority: int | None = Field(
        0, ge=-1000, le=1001, description="Tasks below are refused with 503, and queued ones not started."
    )
    max_share: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="So much of a pool's slots work at once."
    )
    max_running: int | None = Field(None, ge=1, le=1_000_000, description="So many tasks of a pool run at once.")
    require_approval: bool = Field(True, description="People decide what policies would let pass.")
    duration_s: float = Field(
        1800.0, ge=10, le=MAX_DURATION_S, allow_inf_nan=False, description="It expires after this long."
    )
    reason: str = Field(min_length=1, max_length=500, description="For people; callers who are refused read it.")

    @model_validator(mode="after")
    def _something(self) -> EmergencyIn:
        bounds = (self.min_priority, self.max_share, self.max_running)
        if all(bound is None for bound in bounds) and not self.require_approval:
            raise ValueError("does nothing: set min_priority, max_share, max_running or require_approval")
        return self


class EmergencyOut(BaseModel):
    """One emergency mode; several may stand, and the strictest bound of each sort holds."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EMERGENCY]})
    id: UUID = Field(description="That of the action, where an alert switched it on.")
    pool: str | None = Field(description="null: the whole installation.")
    min_priority: int | None
    max_share: float | None
    max_running: int | None
    require_approval: bool
    reason: str
    source: str = Field(description="`alert` or `person`.")
    created_by: str
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    ended_by: str | None


class EmergencyState(BaseModel):
    """Whether there is emergency mode, and which. `lifted`: what this very call has ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"on": True, "items": [_EMERGENCY], "lifted": []}]})
    on: bool
    items: list[EmergencyOut]
    lifted: list[EmergencyOut]


class AlertActionOut(BaseModel):
    """One automatic answer to one alert instance.

    `retrying`: it did not work yet; `running`: its effect lasts; `ended`: it was undone, `ended_by` says why (resolved,
    expired, rule_changed, or a caller's key); `done`: there was nothing to undo; `skipped`: there was nothing to do;
    `dry_run`: `detail` says what it would have done; `failed`: it was given up.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_ACTION]})
    id: UUID
    rule: str
    fingerprint: str
    fired_at: datetime
    action: str
    labels: dict[str, str] = Field(description="The alert's.")
    scope: dict[str, str] = Field(description="What it acts on.")
    params: dict[str, Any]
    value: float | None
    status: Status
    until_resolved: bool
    tries: int
    due_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    expires_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    detail: str
    report: str | None = Field(description="Where the report is read that it captured.")


class AlertActionPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_ACTION], "next_page_token": None}]})
    items: list[AlertActionOut]
    next_page_token: str | None


class AlertReportOut(BaseModel):
    """What was captured when the alert began to fire. `report.left_out` names sections that were too large."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REPORT]})
    id: UUID
    rule: str
    fingerprint: str
    fired_at: datetime
    pool: str = Field(description="Empty: the pools that worked most.")
    created_at: datetime
    report: dict[str, Any]
