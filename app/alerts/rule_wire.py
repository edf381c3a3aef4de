"""JSON shapes of alert rules, alerts and signals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.matching import text_of
from app.alerts.records import Matcher
from app.alerts.rule import CONFIDENCE, MIN_EVENTS

RULE_NAME = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,99}$"

type Phase = Literal["ok", "pending", "firing", "recovering", "resolved"]
type Policy = Literal["keep", "alert", "ok"]
type Comparison = Literal[">", ">=", "<", "<=", "==", "!="]
type Severity = Literal["critical", "error", "warning", "info"]
type Action = Literal[
    "scale_up",
    "immediate_intervention",
    "performance_investigation",
    "rate_limiting",
    "pause_pool",
    "drain_agent",
    "webhook",
]
Seconds = Annotated[float, Field(strict=True)]

_FIELDS: dict[str, Any] = {
    "signal": "success_rate",
    "comparison": "<",
    "threshold": 0.9,
    "for_s": 300,
    "keep_firing_for_s": 0,
    "severity": "warning",
    "labels": {"team": "core"},
    "annotations": {"summary": "Only {{ $value | humanizePercentage }} of attempts of {{ $labels.pool }} succeed."},
    "receivers": ["ops"],
    "action": None,
    "action_params": {},
    "no_data": "ok",
    "error": "keep",
    "min_events": 10,
    "confidence": 0.95,
    "by": "pool",
    "matchers": ['pool=~"log_.*"'],
    "enabled": True,
}
_RULE: dict[str, Any] = {
    "name": "high_error_rate",
    **_FIELDS,
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-01T08:00:00Z",
    "updated_at": "2026-11-01T08:00:00Z",
    "evaluated_at": "2026-11-20T16:20:11Z",
    "evaluation_error": "",
    "instances": {"firing": 1},
}
_LABELS = {"alertname": "high_error_rate", "severity": "warning", "pool": "log_analyzer", "team": "core"}
_READING: dict[str, Any] = {"value": 0.71, "total": 120, "good": 85, "why": None, "detail": ""}
_ALERT: dict[str, Any] = {
    "rule": "high_error_rate",
    "fingerprint": "5f0c9d1e6b7a4c2f8d3e1a0b9c8d7e6f",
    "phase": "firing",
    "severity": "warning",
    "labels": _LABELS,
    "annotations": {"summary": "Only 71% of attempts of log_analyzer succeed."},
    "value": 0.71,
    "reason": "violated",
    "since": "2026-11-20T16:15:00Z",
    "active_at": "2026-11-20T16:10:00Z",
    "fired_at": "2026-11-20T16:15:00Z",
    "keep_since": None,
    "resolved_at": None,
    "judged_at": "2026-11-20T16:20:11Z",
    "reading": _READING,
}
_INSTANCE: dict[str, Any] = {
    "fingerprint": _ALERT["fingerprint"],
    "labels": _LABELS,
    "phase": "pending",
    "text": "success_rate is 0.71, made of 120 events, which is < 0.9. Pending since 2026-11-20 16:10:00 UTC; it fires "
    "at 2026-11-20 16:15:00 UTC if it stays so.",
    "finding": "violated",
    "reading": _READING,
    "interval": [0.637, 0.773],
    "active_at": "2026-11-20T16:10:00Z",
    "fired_at": None,
    "keep_since": None,
    "resolved_at": None,
    "fires_at": "2026-11-20T16:15:00Z",
    "resolves_at": None,
}
_TRANSITION: dict[str, Any] = {
    "fingerprint": _ALERT["fingerprint"],
    "labels": _LABELS,
    "before": "pending",
    "after": "firing",
    "reason": "violated",
    "detail": "",
    "value": 0.71,
    "at": "2026-11-20T16:15:00Z",
}
_SIGNAL: dict[str, Any] = {
    "name": "success_rate",
    "unit": "share",
    "text": "Attempts of the last 5 minutes that went well, 0 to 1.",
    "by": ["label", "pool", "tenant"],
}


class MatcherIn(BaseModel):
    """A condition on one label, as Alertmanager has it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "pool", "op": "=", "value": "log_analyzer"}]}
    )
    name: Annotated[str, Field(max_length=255)]
    op: Literal["=", "!=", "=~", "!~"] = "="
    value: Annotated[str, Field(max_length=1024)]


class RuleIn(BaseModel):
    """A rule as a whole. What is left out is the default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_FIELDS]})
    signal: str = Field(max_length=100, description="One of `GET /v1/signals`.")
    comparison: Comparison
    threshold: Annotated[float, Field(strict=True)]
    for_s: Seconds = Field(0.0, description="It must be violated so long to fire.")
    keep_firing_for_s: Seconds = Field(0.0, description="It fires on for so long after it is not violated any more.")
    severity: Severity = "warning"
    labels: dict[str, str] = Field({}, description="Added to each alert; literal.")
    annotations: dict[str, str] = Field({}, description="For people: templates of `$labels` and `$value`.")
    receivers: list[str] = Field([], description="Who is told; none: those whose matchers meet the alert's labels.")
    action: Action | None = Field(None, description="What is done about it.")
    action_params: dict[str, Any] = {}
    no_data: Policy = Field("ok", description="Where there is nothing to measure, or the series has vanished.")
    error: Policy = Field("keep", description="Where the signal cannot be read.")
    min_events: Annotated[int, Field(strict=True, le=1_000_000_000)] = MIN_EVENTS
    confidence: Annotated[float, Field(strict=True)] | None = Field(
        CONFIDENCE, description="A share must violate it at the kindest end of this interval; null: the share itself."
    )
    by: str = Field("pool", max_length=100, description="pool, tenant, or label:KEY.")
    matchers: list[str | MatcherIn] = Field([], max_length=64, description='Only these series: `pool="x"`.')
    enabled: bool = True

    def spec(self) -> dict[str, Any]:
        """Its fields as they are stored, matchers as text."""
        found = self.model_dump(exclude={"enabled", "matchers"})
        return {**found, "matchers": list(map(_text, self.matchers))}


def _text(matcher: str | MatcherIn) -> str:
    return matcher if isinstance(matcher, str) else text_of(Matcher(matcher.name, matcher.op, matcher.value))


class RuleOut(BaseModel):
    """A rule, and how its last evaluation went: `evaluation_error` is "" where it went well. `instances`: how many are
    in which phase."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RULE]})
    name: str
    signal: str
    comparison: Comparison
    threshold: float
    for_s: float
    keep_firing_for_s: float
    severity: Severity
    labels: dict[str, str]
    annotations: dict[str, str]
    receivers: list[str]
    action: Action | None
    action_params: dict[str, Any]
    no_data: Policy
    error: Policy
    min_events: int
    confidence: float | None
    by: str
    matchers: list[str]
    enabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
    evaluated_at: datetime | None
    evaluation_error: str
    instances: dict[str, int]


class RulePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_RULE], "next_page_token": None}]})
    items: list[RuleOut]
    next_page_token: str | None


class ReadingOut(BaseModel):
    """What a signal said: a number with its events, or `why` there is none (no_data, error)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_READING]})
    value: float | None = None
    total: int | None = None
    good: int | None = None
    why: str | None = None
    detail: str = ""


class AlertOut(BaseModel):
    """One instance. `since`: it is in its phase. `reading`: what it was judged by when it was written last."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ALERT]})
    rule: str
    fingerprint: str
    phase: Phase
    severity: str
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    reason: str
    since: datetime
    active_at: datetime | None
    fired_at: datetime | None
    keep_since: datetime | None
    resolved_at: datetime | None
    judged_at: datetime
    reading: ReadingOut


class AlertPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_ALERT], "next_page_token": None}]})
    items: list[AlertOut]
    next_page_token: str | None


class InstanceOut(BaseModel):
    """One instance and why it is so. `finding`: what the present reading is for the rule. `fires_at`, `resolves_at`:
    when it will, if it stays so."""

    model_config = ConfigDict(json_schema_extra={"examples": [_INSTANCE]})
    fingerprint: str
    labels: dict[str, str]
    phase: Phase
    text: str
    finding: str
    reading: ReadingOut | None
    interval: list[float] | None
    active_at: datetime | None
    fired_at: datetime | None
    keep_since: datetime | None
    resolved_at: datetime | None
    fires_at: datetime | None
    resolves_at: datetime | None


class TransitionOut(BaseModel):
    """A change of phase, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRANSITION]})
    fingerprint: str
    labels: dict[str, str]
    before: Phase
    after: Phase
    reason: str
    detail: str
    value: float | None
    at: datetime


class ExplainOut(BaseModel):
    """A rule, each of its instances by what its signal says now, and the newest changes of phase."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"rule": _RULE, "instances": [_INSTANCE], "transitions": [_TRANSITION]}]}
    )
    rule: RuleOut
    instances: list[InstanceOut]
    transitions: list[TransitionOut]


class SignalOut(BaseModel):
    """What a rule can be about. `by`: what can make its series; none: it has series of its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SIGNAL]})
    name: str
    unit: str
    text: str
    by: list[str]


class SignalPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_SIGNAL], "next_page_token": None}]})
    items: list[SignalOut]
    next_page_token: str | None
