"""The JSON shapes of schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.schedules.ticks import Timing
from app.tasks.submission import Submission
from app.tasks.wire import AwareTime, TaskIn

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$"
MIN_INTERVAL_S, MAX_INTERVAL_S = 1.0, 315_360_000.0
MAX_PREVIEW = 100

Misfire = Literal["skip", "run_once", "run_all"]
Overlap = Literal["allow", "skip", "queue", "cancel_previous"]
Cron = Annotated[str, Field(min_length=1, max_length=200)]
Interval = Annotated[float, Field(ge=MIN_INTERVAL_S, le=MAX_INTERVAL_S)]

_TASK: dict[str, Any] = {"pool": "log_analyzer", "payload": {"log": "…"}}
_TIME = "2026-11-23T08:00:00Z"


class ScheduledTaskIn(TaskIn):
    """The task that each tick submits: as in `POST /v1/tasks`, but for `run_at`, which the schedule decides."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_TASK]})

    @model_validator(mode="after")
    def _has_no_time(self) -> ScheduledTaskIn:
        if self.run_at is not None:
            raise ValueError("run_at: the schedule says when")
        return self

    def submission(self) -> Submission:
        return Submission(**{name: getattr(self, name) for name in Submission.__dataclass_fields__})


class TimingIn(BaseModel):
    """When: one of `cron`, `interval_s` and `at`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"}]}
    )
    cron: Cron | None = Field(None, description="Five fields: minute hour day month weekday.")
    timezone: str = Field("UTC", min_length=1, max_length=64, description="IANA name, for the cron.")
    interval_s: Interval | None = Field(None, description="Seconds from tick to tick.")
    anchor_at: AwareTime | None = Field(
        None, description="The first tick of an interval, from which all are counted. Default: when it was defined."
    )
    at: AwareTime | None = Field(None, description="One tick, at this time.")

    @model_validator(mode="after")
    def _says_when(self) -> TimingIn:
        if sum(value is not None for value in (self.cron, self.interval_s, self.at)) != 1:
            raise ValueError("name one of cron, interval_s and at")
        if self.anchor_at is not None and self.interval_s is None:
            raise ValueError("anchor_at goes with interval_s")
        return self

    def timing(self, now: datetime) -> Timing:
        """`now` is the anchor where none is named."""
        return Timing(self.anchor_at or now, self.cron, self.timezone, self.interval_s, self.at)


class ScheduleIn(TimingIn):
    """When to submit which task."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "task": _TASK, "overlap": "skip"},
                {"interval_s": 300, "task": _TASK, "misfire": "run_all", "max_catch_up": 12},
                {"at": _TIME, "task": _TASK},
            ]
        },
    )
    task: ScheduledTaskIn
    misfire: Misfire = Field(
        "run_once",
        description="Ticks that nobody looked at for `misfire_grace_s`: none are made, the last one, or the last "
        "`max_catch_up`.",
    )
    misfire_grace_s: float = Field(60.0, ge=0, le=86_400, description="A tick is late only after so long.")
    max_catch_up: int = Field(10, ge=1, le=1000, description="Bounds `run_all`.")
    overlap: Overlap = Field(
        "allow", description="While a task of an earlier tick has not ended: make one more, none, one after it, or "
        "cancel it."
    )  # fmt: skip


SCHEDULE_EXAMPLE: dict[str, Any] = {
    "name": "weekday-report",
    "id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a12",
    "cron": "0 9 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "interval_s": None,
    "anchor_at": None,
    "at": None,
    "task": _TASK,
    "misfire": "run_once",
    "misfire_grace_s": 60.0,
    "max_catch_up": 10,
    "overlap": "skip",
    "paused": False,
    "next_at": _TIME,
    "backfill_until": None,
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-20T20:25:00Z",
    "updated_at": "2026-11-20T20:25:00Z",
}


class ScheduleOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [SCHEDULE_EXAMPLE]})
    name: str
    id: UUID
    cron: str | None
    timezone: str
    interval_s: float | None
    anchor_at: datetime | None = Field(description="Of an interval.")
    at: datetime | None
    task: dict[str, Any]
    misfire: Misfire
    misfire_grace_s: float
    max_catch_up: int
    overlap: Overlap
    paused: bool
    next_at: datetime | None = Field(description="The next tick; null when there is none.")
    backfill_until: datetime | None = Field(description="The end of a backfill that is under way.")
    created_by: str = Field(description="The key that defined it last: it submits the tasks of its ticks.")
    created_at: datetime
    updated_at: datetime


RUN_EXAMPLE: dict[str, Any] = {
    "tick_at": "2026-11-20T08:00:00Z",
    "outcome": "submitted",
    "reason": "",
    "task_id": "01939f2f-aaaa-7c3a-8a57-0d5c4e6b7a11",
    "task_status": "succeeded",
    "made_at": "2026-11-20T08:00:00.012Z",
}


class RunOut(BaseModel):
    """One tick, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [RUN_EXAMPLE]})
    tick_at: datetime
    outcome: str = Field(description="submitted, skipped, waiting (for the task of an earlier tick) or failed")
    reason: str
    task_id: UUID | None
    task_status: str | None
    made_at: datetime


class WholeScheduleOut(ScheduleOut):
    """With its latest ticks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**SCHEDULE_EXAMPLE, "last_runs": [RUN_EXAMPLE]}]})
    last_runs: list[RunOut]


class SchedulePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [SCHEDULE_EXAMPLE], "next_page_token": None}]})
    items: list[ScheduleOut]
    next_page_token: str | None


class RunPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [RUN_EXAMPLE], "next_page_token": None}]})
    items: list[RunOut]
    next_page_token: str | None


class PreviewIn(TimingIn):
    """A timing that is not stored."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"cron": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3}]},
    )
    count: int = Field(10, ge=1, le=MAX_PREVIEW)


class PreviewOut(BaseModel):
    """The next ticks, in UTC and as they are in the schedule's time zone."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ticks": [_TIME], "local": ["2026-11-23T09:00:00+01:00"]}]}
    )
    ticks: list[datetime]
    local: list[str]


class BackfillIn(BaseModel):
    """A period of the past, both ends included."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"from": "2026-11-01T00:00:00Z", "until": "2026-11-08T00:00:00Z"}]},
    )
    start: AwareTime = Field(alias="from")
    until: AwareTime


class BackfillOut(BaseModel):
    """So many ticks are in the period; those that made a task already are left as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "weekday-report", "ticks": 5}]})
    name: str
    ticks: int


class TriggeredOut(BaseModel):
    """The task that was made, and the tick it is listed under."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task_id": RUN_EXAMPLE["task_id"], "tick_at": "2026-11-20T20:25:00Z"}]}
    )
    task_id: UUID
    tick_at: datetime
