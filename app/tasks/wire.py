"""The JSON shapes of tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.registry.wire import NAME, TYPE_NAME
from app.tasks.labels import Labels
from app.tasks.submission import Submission

MAX_BATCH = 1000


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needs a time zone, e.g. 2026-11-20T20:25:00Z")
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None
    if not 2000 <= value.year <= 2200:
        raise ValueError("is out of range (years 2000 to 2200)")
    return value


AwareTime = Annotated[datetime, AfterValidator(_aware)]
Key = Annotated[str, Field(min_length=1, max_length=200)]


class TaskIn(BaseModel):
    """A task: name the `pool`, or the `type` and the most skilled pool is taken."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"pool": "log_analyzer", "payload": {"log": "2026-11-20 20:25:00 status installed libc6:amd64 2.36"}},
                {"type": "log_analysis", "payload": {"log": "…"}, "priority": 5, "deadline_s": 60},
                {"pool": "log_analyzer", "payload": {"log": "…"}, "labels": {"team": "search", "project": "index-v2"}},
            ]
        },
    )
    pool: str | None = Field(None, pattern=NAME)
    type: str | None = Field(None, pattern=TYPE_NAME)
    payload: Any = Field(None, description="Any JSON; the pool's input_schema decides.")
    priority: int = Field(0, ge=-1000, le=1000, description="Higher goes first.")
    deadline_s: float | None = Field(
        None, gt=0, le=31_536_000, description="Not started within so many seconds (of `run_at`, if set): expired."
    )
    run_at: AwareTime | None = Field(None, description="Not before this time.")
    agent_id: UUID | None = Field(None, description="Only this agent may run it.")
    concurrency_key: Key | None = Field(None, description="Kept with the task.")
    complexity: float = Field(0.5, ge=0, le=1, description="A hint for the balancer.")
    max_attempts: int | None = Field(None, ge=1, le=100, description="Instead of the pool's.")
    synthetic: bool = Field(False, description="A probe, not a user's work.")
    thread_id: Key | None = Field(None, description="The conversation it belongs to.")
    labels: Labels | None = Field(
        None, description="Whose work it is; costs are told apart by it. Sub-tasks have it too."
    )

    @model_validator(mode="after")
    def _addressed(self) -> TaskIn:
        if self.pool is None and self.type is None:
            raise ValueError("name a pool or a type")
        return self

    def submission(self) -> Submission:
        return Submission(**{name: getattr(self, name) for name in Submission.__dataclass_fields__})


class BatchIn(BaseModel):
    """Up to 1,000 tasks, accepted all or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"tasks": [{"pool": "log_analyzer", "labels": {"team": "search"}}, {"type": "log_analysis"}]}]
        },
    )
    tasks: list[TaskIn] = Field(min_length=1, max_length=MAX_BATCH)


class CancelIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "wrong input"}]})
    reason: str = Field("", max_length=500)


class ErrorOut(BaseModel):
    """`code` is stable; `message` is for people."""

    code: str
    message: str | None


class UsageOut(BaseModel):
    model: str
    input_tokens: int
    output_tokens: int


class Notice(BaseModel):
    """Why a queued task cannot start yet."""

    code: str
    message: str


TASK_EXAMPLE: dict[str, Any] = {
    "id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10",
    "status": "succeeded",
    "pool": "log_analyzer",
    "type": "log_analysis",
    "priority": 0,
    "attempt": 1,
    "max_attempts": 3,
    "agent_id": "0b3c5b52-7a3e-4f6e-9f0f-0f6a4f2f1c11",
    "error": None,
    "cost_usd": None,
    "complexity": 0.5,
    "synthetic": False,
    "labels": {"team": "search"},
    "concurrency_key": None,
    "thread_id": None,
    "parent_id": None,
    "root_id": None,
    "depth": 0,
    "waited_s": 0.0,
    "run_at": None,
    "next_attempt_at": None,
    "start_deadline_at": None,
    "created_at": "2026-11-20T20:25:00.000Z",
    "started_at": "2026-11-20T20:25:00.004Z",
    "finished_at": "2026-11-20T20:25:00.930Z",
    "notice": None,
}


_DURABLE: dict[str, Any] = {"waiting": None, "children": {}, "steps": []}


class TaskSummary(BaseModel):
    """A task in a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [TASK_EXAMPLE]})
    id: UUID
    status: str = Field(description="held, queued, running, waiting, succeeded, failed, cancelled or expired")
    pool: str
    type: str
    priority: int
    attempt: int = Field(description="Tries that count, the current one included; 0 before the first.")
    max_attempts: int
    agent_id: UUID | None = Field(description="The agent that has it, or had it last.")
    error: ErrorOut | None
    cost_usd: str | None
    complexity: float
    synthetic: bool
    labels: dict[str, str]
    concurrency_key: str | None
    thread_id: str | None
    parent_id: UUID | None = Field(description="The task that called it.")
    root_id: UUID | None = Field(description="The first task of its line; null: itself.")
    depth: int
    waited_s: float = Field(description="Seconds it waited for approvals, sub-tasks, events and timers so far.")
    run_at: datetime | None
    next_attempt_at: datetime | None = Field(description="Queued, but not before this time.")
    start_deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    notice: Notice | None


class WaitingOut(BaseModel):
    """What a waiting (or held) task waits for. `until`: when it goes on, or is decided, without it."""

    reason: str = Field(description="approval, call, event or timer")
    step: str
    since: datetime
    until: datetime | None
    event: str | None
    approval_id: UUID | None


class StepOut(BaseModel):
    name: str
    at: datetime


class StepResult(StepOut):
    """`failed`: what it waited for ended badly; a replay waits anew from here on."""

    failed: bool
    result: Any


class StepList(BaseModel):
    """All finished steps of a task; a task has 1,000 at most, so there are no pages."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"name": "mine", "at": "2026-11-20T20:25:00Z", "failed": False, "result": {"lines": 5880}}
                    ],
                    "next_page_token": None,
                }
            ]
        }
    )
    items: list[StepResult]
    next_page_token: str | None


class TaskOut(TaskSummary):
    """A task as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **TASK_EXAMPLE,
                    "payload": {"log": "…"},
                    "result": {"lines": 1, "template_count": 1},
                    "usage": [],
                    **_DURABLE,
                }
            ]
        }
    )
    payload: Any
    result: Any
    usage: list[UsageOut]
    waiting: WaitingOut | None
    children: dict[str, int] = Field(description="Sub-tasks by status.")
    steps: list[StepOut] = Field(description="Finished steps, in order.")


class TaskPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [TASK_EXAMPLE], "next_page_token": None}]})
    items: list[TaskSummary]
    next_page_token: str | None


class AcceptedOut(BaseModel):
    """Durable: it will be run, cancelled or expired, never lost."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": TASK_EXAMPLE["id"], "status": "queued", "pool": "log_analyzer", "notice": None}]
        }
    )
    id: UUID
    status: str
    pool: str
    notice: Notice | None = None


class BatchOut(BaseModel):
    """In the order of the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"tasks": [{"id": TASK_EXAMPLE["id"], "status": "queued", "pool": "log_analyzer", "notice": None}]}
            ]
        }
    )
    tasks: list[AcceptedOut]


class EventOut(BaseModel):
    seq: int
    type: str
    at: datetime
    data: dict[str, Any]


class EventPage(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "seq": 1,
                            "type": "task.queued",
                            "at": "2026-11-20T20:25:00Z",
                            "data": {"pool": "log_analyzer", "priority": 0},
                        }
                    ],
                    "next_page_token": None,
                }
            ]
        }
    )
    items: list[EventOut]
    next_page_token: str | None
