"""The JSON shapes of objectives as they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.limits.tightening import Measure
from app.slo.wire import RULE_EXAMPLE, Kind, SloScopeIn, SloWindowIn

type State = Literal["healthy", "exhausted", "no_data", "insufficient_evidence"]

_COUNTED: dict[str, Any] = {
    "from": "2026-10-21T12:00:00Z",
    "until": "2026-11-20T12:00:00Z",
    "complete": True,
    "fresh": True,
}
_COUNTS: dict[str, Any] = {"good": 99_950, "bad": 50, "unscored": 0, "pending": 0, "excluded": 12}
_BURN: dict[str, Any] = {
    **RULE_EXAMPLE,
    "factor": 14.4,
    "replanned": "",
    "state": "quiet",
    "long_burn": 0.5,
    "short_burn": 0.0,
}
_STANDING: dict[str, Any] = {
    "state": "healthy",
    "at": "2026-11-20T12:00:00Z",
    "window_start": "2026-10-21T12:00:00Z",
    "window_end": "2026-11-20T12:00:00Z",
    "counts": _COUNTS,
    "attained": 0.9995,
    "allowed": 100.0,
    "spent": 0.5,
    "remaining": 0.5,
    "burn_rate": 0.4,
    "exhausted_in_s": None,
    "exhausted_why": "a rolling window gives back what leaves it",
    "counted": _COUNTED,
}
SLO_OUT_EXAMPLE: dict[str, Any] = {
    "name": "checkout",
    "id": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
    "owner": "default",
    "kind": "availability",
    "target": 0.999,
    "window": {"kind": "rolling", "seconds": 2592000, "zone": "UTC"},
    "scope": {"tenant": None, "pool": "checkout", "label": None},
    "threshold_s": None,
    "queue_wait": True,
    "evaluator": None,
    "version": None,
    "pass_score": 0.5,
    "coverage_floor": 0.0,
    "settle_after_s": 0,
    "description": "Checkouts succeed.",
    "min_events": 10,
    "on_exhausted": ["freeze_rollouts"],
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-01T08:00:00Z",
    "updated_at": "2026-11-20T08:00:00Z",
    "standing": _STANDING,
}
_WHOLE: dict[str, Any] = {
    **SLO_OUT_EXAMPLE,
    "burn_rules": [_BURN],
    "named": {"succeeded": 99_950, "failed": 48, "expired": 2, "cancelled": 12},
    "tightened": [],
}
_HOUR: dict[str, Any] = {
    "start": "2026-11-20T11:00:00Z",
    "counts": {"good": 140, "bad": 1, "unscored": 0, "pending": 0, "excluded": 0},
    "attained": 0.9929,
    "burn_rate": 7.09,
}


class SloCountsOut(BaseModel):
    """Events by what they count as. Only good and bad ones are in a ratio."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COUNTS]})
    good: int
    bad: int
    unscored: int
    pending: int
    excluded: int


class BurnOut(BaseModel):
    """A burn rule as it was planned (`replanned`: what had to be changed about it), and what it says now: it burns
    while both burn rates are above its factor. null: nothing valid happened in that window."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BURN]})
    name: str
    severity: Literal["critical", "warning"]
    share: float
    long_s: int
    short_s: int
    factor: float
    replanned: str = Field(description="longer_window, larger_share or both; empty: it is as it was asked for.")
    state: Literal["burning", "quiet", "no_data", "insufficient_evidence"]
    long_burn: float | None
    short_burn: float | None


class CountedOut(BaseModel):
    """What was counted. `complete` False: not all that the window looks at, yet; `fresh` False: not up to now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COUNTED]})
    since: datetime | None = Field(alias="from")
    until: datetime | None
    complete: bool
    fresh: bool


class StandingOut(BaseModel):
    """How an objective stands. `spent` is the share of the error budget that is gone and may be above 1."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STANDING]})
    state: State
    at: datetime
    window_start: datetime
    window_end: datetime
    counts: SloCountsOut
    attained: float | None = Field(description="The share that was good; null: nothing valid happened.")
    allowed: float = Field(description="How many of the window's events may be bad.")
    spent: float
    remaining: float
    burn_rate: float | None = Field(description="Of the last hour; 1 spends exactly the budget of one window.")
    exhausted_in_s: float | None = Field(description="When the rest is gone at that rate; null: it is not.")
    exhausted_why: str
    counted: CountedOut


class SloOut(BaseModel):
    """An objective and how it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [SLO_OUT_EXAMPLE]})
    name: str
    id: UUID = Field(description="New when it counts something else than before.")
    owner: str
    kind: Kind
    target: float
    window: SloWindowIn
    scope: SloScopeIn
    threshold_s: float | None
    queue_wait: bool
    evaluator: str | None
    version: str | None
    pass_score: float
    coverage_floor: float
    settle_after_s: int
    description: str
    min_events: int
    on_exhausted: list[Measure]
    created_by: str
    created_at: datetime
    updated_at: datetime
    standing: StandingOut


class HeldToOut(BaseModel):
    """What the exhausted budget holds the pool to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"what": "freeze_rollouts", "pool": "checkout", "since": "2026-11-20T11:40:00Z"}]
        }
    )
    what: Measure
    pool: str
    since: datetime


class WholeSloOut(SloOut):
    """With its burn rules, its events by what they were, and what it tightens now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WHOLE]})
    burn_rules: list[BurnOut]
    named: dict[str, int] = Field(description="Events of the window by what they were.")
    tightened: list[HeldToOut]


class SloPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [SLO_OUT_EXAMPLE], "next_page_token": None}]})
    items: list[SloOut]
    next_page_token: str | None


class SloHourOut(BaseModel):
    """What happened in one hour or day; a burn rate of 1 spends exactly the budget of one window."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HOUR]})
    start: datetime
    counts: SloCountsOut
    attained: float | None
    burn_rate: float | None


class SloHistoryPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_HOUR], "next_page_token": None}]})
    items: list[SloHourOut]
    next_page_token: str | None
