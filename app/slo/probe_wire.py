"""The JSON shapes of probes."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.auth.api import NAME
from app.core.jsonbody import dump_bytes
from app.costs.budget_wire import Amount, Unit
from app.slo.declared_checks import MAX_CHECKS, MAX_LATENCY_S, read_checks
from app.slo.probe_budgets import Daily
from app.slo.probe_records import LABEL, Definition
from app.tasks.labels import VALUE

MIN_EVERY_S, MAX_EVERY_S = 10, 604_800
MAX_OF_LAST = 60
MAX_PAYLOAD = MAX_DECLARED = 65_536
"""Bytes of JSON."""
MAX_LABELS = 10
LABEL_KEY = r"^[a-z][a-z0-9_]{0,62}$"
"""What is a label of tasks and one of alerts."""
TAKEN = (LABEL, "pool", "alertname", "severity")

_LABEL_KEY, _VALUE = re.compile(LABEL_KEY), re.compile(VALUE)


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None or key in TAKEN:
            raise ValueError(
                f"the key {key[:80]!r} is not 1 to 63 of a-z, 0-9 and '_', with a letter first and none of "
                f"{', '.join(TAKEN)}"
            )
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of {key!r} is longer than 255, or has control characters")
    return labels


Labels = Annotated[dict[str, str], Field(max_length=MAX_LABELS), AfterValidator(_labels)]

_CHECKS: list[dict[str, Any]] = [
    {"kind": "json", "path": "$.errors", "op": "equals", "value": 3},
    {"kind": "regex", "path": "$.summary", "pattern": "^3 errors"},
    {"kind": "latency", "max_s": 5},
]
_DEFINITION: dict[str, Any] = {
    "pool": "log_analyzer",
    "payload": {"log": "…"},
    "every_s": 60,
    "timeout_s": 20,
    "checks": _CHECKS,
    "fail_after": 2,
    "of_last": 3,
    "labels": {"team": "search"},
    "budget": {"unit": "usd", "limit": "0.50"},
}
_RUN: dict[str, Any] = {
    "planned_at": "2026-11-20T20:25:17.361Z",
    "by_hand": False,
    "outcome": "failed",
    "reason": "json $.errors equals: 2 is found, not equals 3",
    "task_id": "01939f2f-aaaa-7c3a-8a57-0d5c4e6b7a11",
    "checks": [
        {"check": "status", "passed": True, "why": ""},
        {"check": "json $.errors equals", "passed": False, "why": "2 is found, not equals 3"},
        {"check": "regex $.summary", "passed": True, "why": ""},
        {"check": "latency", "passed": True, "why": ""},
        {"check": "timeout", "passed": True, "why": ""},
    ],
    "latency_s": 1.204,
    "made_at": "2026-11-20T20:25:17.804Z",
    "judged_at": "2026-11-20T20:25:19.311Z",
}
PROBE_EXAMPLE: dict[str, Any] = {
    "name": "three-errors",
    "id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a12",
    "pool": "log_analyzer",
    "type": None,
    "every_s": 60,
    "timeout_s": 20.0,
    "fail_after": 2,
    "of_last": 3,
    "labels": {"team": "search"},
    "enabled": True,
    "state": "passing",
    "why": "",
    "latency_s": 1.204,
    "next_at": "2026-11-20T20:26:17.361Z",
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-20T08:00:00Z",
    "updated_at": "2026-11-20T08:00:00Z",
}
_WHOLE: dict[str, Any] = {
    **PROBE_EXAMPLE,
    "payload": _DEFINITION["payload"],
    "checks": _CHECKS,
    "budget": _DEFINITION["budget"],
    "last_runs": [_RUN],
}


class DailyIn(BaseModel):
    """What a probe may spend in a day (UTC)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_DEFINITION["budget"]]})
    unit: Unit = "usd"
    limit: Amount

    def daily(self) -> Daily:
        return Daily(self.unit, self.limit)


class DailyOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_DEFINITION["budget"]]})
    unit: str
    limit: str


class ProbeIn(BaseModel):
    """A task whose right answer is known, and when to ask for it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_DEFINITION]})
    pool: str = Field(pattern=NAME)
    type: str | None = Field(None, pattern=NAME)
    payload: Any = Field(None, description=f"At most {MAX_PAYLOAD} bytes of JSON.")
    every_s: int = Field(
        60, ge=MIN_EVERY_S, le=MAX_EVERY_S, strict=True, description="Seconds from one run to the next."
    )
    timeout_s: float = Field(
        10.0, gt=0, le=MAX_LATENCY_S, strict=True, allow_inf_nan=False,
        description="A run without an answer after so many seconds has failed; at most `every_s`.",
    )  # fmt: skip
    checks: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=MAX_CHECKS,
        description="What the result must be, all of it: `json` (a path, an operator, a value), `regex`, `schema`, "
        "`latency`. That the task succeeds is always checked.",
    )
    fail_after: int = Field(2, ge=1, le=MAX_OF_LAST, strict=True, description="It fails once so many …")
    of_last: int = Field(3, ge=1, le=MAX_OF_LAST, strict=True, description="… of so many last runs have failed.")
    labels: Labels = Field(default_factory=dict, description="Of its tasks, and of its alerts.")
    enabled: bool = Field(True, strict=True)
    budget: DailyIn | None = Field(
        None, description="Kept as the budget `probe-NAME`; a run that it has no room for is an error. null: none."
    )

    @model_validator(mode="after")
    def _fits(self) -> ProbeIn:
        if self.timeout_s > self.every_s:
            raise ValueError("timeout_s: at most every_s, so that a run ends before the next one")
        if self.fail_after > self.of_last:
            raise ValueError("fail_after: at most of_last")
        for name, value, most in (("payload", self.payload, MAX_PAYLOAD), ("checks", self.checks, MAX_DECLARED)):
            if len(dump_bytes(value)) > most:
                raise ValueError(f"{name}: at most {most} bytes of JSON")
        return self

    def definition(self) -> Definition:
        """As plain values; raises BadCheck."""
        checks = read_checks(self.checks)
        return Definition(
            pool=self.pool,
            type=self.type,
            payload=self.payload,
            every_s=self.every_s,
            timeout_s=self.timeout_s,
            checks=checks,
            declared=self.checks,
            fail_after=self.fail_after,
            of_last=self.of_last,
            labels=self.labels,
            enabled=self.enabled,
        )


class CheckedOut(BaseModel):
    """A check, and what is wrong where it was not met."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RUN["checks"][1]]})
    check: str
    passed: bool
    why: str


class ProbeRunOut(BaseModel):
    """One run."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RUN]})
    planned_at: datetime
    by_hand: bool = Field(description="Asked for with `run`.")
    outcome: Literal["pending", "passed", "failed", "error"] = Field(
        description="error: nobody knows, for a reason that is not the agents' (`reason`)."
    )
    reason: str
    task_id: UUID | None = Field(description="A task of the tenant `yardmaster-probes`.")
    checks: list[CheckedOut]
    latency_s: float | None = Field(description="Seconds from submission to the end.")
    made_at: datetime
    judged_at: datetime | None


class ProbeOut(BaseModel):
    """A probe and what its last runs say."""

    model_config = ConfigDict(json_schema_extra={"examples": [PROBE_EXAMPLE]})
    name: str
    id: UUID
    pool: str
    type: str | None
    every_s: int
    timeout_s: float
    fail_after: int
    of_last: int
    labels: dict[str, str]
    enabled: bool
    state: Literal["passing", "failing", "undecided", "disabled"] = Field(
        description="undecided: too few runs, none lately, or runs that could not be made."
    )
    why: str = Field(description="Why it is failing or undecided.")
    latency_s: float | None = Field(description="Of its last run.")
    next_at: datetime | None = Field(description="Its next planned time; null while it is disabled.")
    created_by: str = Field(description="The key that set it last.")
    created_at: datetime
    updated_at: datetime


class WholeProbeOut(ProbeOut):
    """With its task, its checks and its latest runs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WHOLE]})
    payload: Any
    checks: list[dict[str, Any]]
    budget: DailyOut | None
    last_runs: list[ProbeRunOut]


class ProbePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [PROBE_EXAMPLE], "next_page_token": None}]})
    items: list[ProbeOut]
    next_page_token: str | None


class ProbeRunPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_RUN], "next_page_token": None}]})
    items: list[ProbeRunOut]
    next_page_token: str | None
