"""The JSON shapes of stops, bulk moves and explanations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.auth.api import NAME as TENANT_NAME
from app.registry.stops import Selector
from app.registry.wire import NAME, TYPE_NAME
from app.tasks.bulk import Filter
from app.tasks.wire import AwareTime, Key

_TASK = "01a1fb38-2bac-7658-9164-0fe1acb9e359"
_AGENT = "0b3c5b52-7a3e-4f6e-9f0f-0f6a4f2f1c11"
_STOP_ID = "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10"
Text = Annotated[str, Field(min_length=1, max_length=200)]

_STOP: dict[str, Any] = {
    "id": _STOP_ID,
    "tenant": "default",
    "pool": "log_analyzer",
    "agent_id": None,
    "label": None,
    "reason": "It deletes the wrong files.",
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-20T20:25:00Z",
    "standing": True,
    "lifted_by": None,
    "lifted_at": None,
}
_REPORT: dict[str, Any] = {
    "asked": 0,
    "stopped": 1,
    "no_answer": 0,
    "attempts": [
        {
            "task_id": _TASK,
            "fence": 1,
            "agent_id": _AGENT,
            "manager_id": "5f0c2a53-7f7e-4b1e-9d0c-1f8d7a0d7f10",
            "state": "stopped",
            "asked_at": "2026-11-20T20:25:00Z",
            "answered_at": "2026-11-20T20:25:00.02Z",
        }
    ],
    "spent": {"input_tokens": 1200, "output_tokens": 310, "cost_usd": None},
    "held": 12,
    "held_more": False,
}


class LabelIn(BaseModel):
    """Agents that carry this label."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"key": "zone", "value": "eu-1"}]})
    key: Text
    value: Annotated[str, Field(max_length=200)]


class StopIn(BaseModel):
    """What to stop: all that is named must fit, and one thing is. Agents are stopped for every tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"tenant": "default", "pool": "log_analyzer", "reason": "It deletes the wrong files."},
                {"label": {"key": "zone", "value": "eu-1"}, "reason": "The zone is being evacuated."},
            ]
        },
    )
    tenant: str | None = Field(None, pattern=TENANT_NAME, description="Tasks of this tenant.")
    pool: str | None = Field(None, pattern=NAME, description="Tasks of this pool.")
    agent_id: UUID | None = Field(None, description="This agent.")
    label: LabelIn | None = Field(None, description="Agents with this label, also such as register later.")
    reason: str = Field(min_length=1, max_length=500, description="For people; it stands in every stopped attempt.")

    @model_validator(mode="after")
    def _selective(self) -> StopIn:
        if self.tenant is None and self.pool is None and self.agent_id is None and self.label is None:
            raise ValueError("name a tenant, a pool, an agent_id or a label")
        return self

    def selector(self) -> Selector:
        key, value = (None, None) if self.label is None else (self.label.key, self.label.value)
        return Selector(self.tenant, self.pool, self.agent_id, key, value)


class StoppedAttemptOut(BaseModel):
    """One attempt that the stop revoked: its late result is refused."""

    task_id: UUID
    fence: int
    agent_id: UUID | None
    manager_id: UUID | None
    state: str = Field(description="asked (not answered yet), stopped or no_answer")
    asked_at: datetime
    answered_at: datetime | None


class SpentOut(BaseModel):
    """What the revoked attempts had reported; `cost_usd` is of their tasks so far, null without prices."""

    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class StopReport(BaseModel):
    """`attempts` holds the first 100; `held` counts up to 10,000 queued tasks that the stop keeps from starting."""

    asked: int
    stopped: int
    no_answer: int
    attempts: list[StoppedAttemptOut]
    spent: SpentOut
    held: int
    held_more: bool


class StopSummary(BaseModel):
    """A stop switch. It stands until it is lifted."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STOP]})
    id: UUID
    tenant: str | None
    pool: str | None
    agent_id: UUID | None
    label: LabelIn | None
    reason: str
    created_by: str
    created_at: datetime
    standing: bool
    lifted_by: str | None
    lifted_at: datetime | None


class StopOut(StopSummary):
    """With the report as of now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_STOP, "report": _REPORT}]})
    report: StopReport


class StopPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_STOP], "next_page_token": None}]})
    items: list[StopSummary]
    next_page_token: str | None


class FilterIn(BaseModel):
    """All that is given must hold, and something is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"pool": "log_analyzer"}]})
    status: Literal["held", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired"] | None = None
    pool: str | None = Field(None, pattern=NAME)
    type: str | None = Field(None, pattern=TYPE_NAME)
    created_before: AwareTime | None = None
    created_after: AwareTime | None = Field(None, description="At or after this time.")
    error_code: Text | None = None
    concurrency_key: Key | None = None
    thread_id: Key | None = None
    ids: list[UUID] | None = Field(None, max_length=1000)

    def filter(self) -> Filter:
        given = {name: getattr(self, name) for name in FilterIn.model_fields}
        ids = given.pop("ids")
        return Filter(**given, ids=None if ids is None else tuple(ids))


class BulkRetryIn(BaseModel):
    """Which failed tasks to queue again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"filter": {"pool": "log_analyzer", "error_code": "timeout"}, "dry_run": False}]
        },
    )
    filter: FilterIn
    dry_run: bool = Field(True, description="Count only.")
    limit: int = Field(1000, ge=1, le=10_000, description="Most tasks moved by this call.")


class BulkCancelIn(BulkRetryIn):
    """Which open tasks to cancel."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"filter": {"pool": "log_analyzer", "status": "queued"}, "reason": "Wrong input."}]
        },
    )
    reason: str = Field("", max_length=500, description="Kept with each task.")


class BulkOut(BaseModel):
    """`matched` counts up to 100,000 tasks as they were before; `more`: call again for the rest."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"matched": 1240, "done": 1000, "dry_run": False, "more": True}]}
    )
    matched: int
    done: int
    dry_run: bool
    more: bool


class MomentOut(BaseModel):
    """`count` events in a row of one type, from `seq` on."""

    seq: int
    at: datetime
    type: str
    text: str
    count: int


class BlockerOut(BaseModel):
    """One thing that keeps the task from going on."""

    code: str
    message: str
    until: datetime | None
    ids: list[str] = Field(description="Approvals, sub-tasks, stops or tasks that it is about.")
    by: str | None


class PositionOut(BaseModel):
    """`more`: there are more than `ahead`."""

    ahead: int
    more: bool


class EstimateOut(BaseModel):
    """`starts_in_s` null: it cannot be told, `basis` says why."""

    starts_in_s: float | None
    starts_at: datetime | None
    basis: str


class ExplanationOut(BaseModel):
    """Why a task is where it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "task_id": _TASK,
                    "status": "queued",
                    "pool": "log_analyzer",
                    "summary": "None of the 2 agents of 'log_analyzer' can take a task now: 2 full.",
                    "timeline": [
                        {
                            "seq": 1,
                            "at": "2026-11-20T20:25:00Z",
                            "type": "task.queued",
                            "text": "accepted for pool log_analyzer with priority 0",
                            "count": 1,
                        }
                    ],
                    "blockers": [
                        {
                            "code": "agents_full",
                            "message": "None of the 2 agents of 'log_analyzer' can take a task now: 2 full.",
                            "until": None,
                            "ids": [],
                            "by": None,
                        }
                    ],
                    "position": {"ahead": 38, "more": False},
                    "estimate": {
                        "starts_in_s": 94.4,
                        "starts_at": "2026-11-20T20:26:34.4Z",
                        "basis": "38 tasks ahead; this pool finished 124 attempts in the last 5 minutes.",
                    },
                }
            ]
        }
    )
    task_id: UUID
    status: str
    pool: str
    summary: str
    timeline: list[MomentOut] = Field(description="Of a long one the first 50 and the last 150 events.")
    blockers: list[BlockerOut] = Field(description="The most telling first; empty: nothing keeps it.")
    position: PositionOut | None = Field(description="Its place in the queue; null: it stands in none.")
    estimate: EstimateOut | None
