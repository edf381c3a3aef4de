"""The JSON shapes of what balancers know and of ended attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

_AGENT = "0b3c5b52-7a3e-4f6e-9f0f-0f6a4f2f1c11"
_TASK = "01a1fb38-2bac-7658-9164-0fe1acb9e359"

BALANCER_EXAMPLE: dict[str, Any] = {
    "pool": "log_analyzer",
    "strategy": "ai_optimized",
    "runs": "ai_optimized",
    "manager_id": "5f0c2a53-7f7e-4b1e-9d0c-1f8d7a0d7f10",
    "managers": 2,
    "choices_deferred": 3,
    "errors": 0,
    "last_error": None,
    "agents": [
        {
            "id": _AGENT,
            "version": "1.4.0",
            "slots": 4,
            "in_flight": 1,
            "ejected_s": None,
            "ejected_reason": None,
            "learned": {"slowness": 1.0, "failure_rate": 0.0, "breaker": "closed", "warm_up": 1.0, "attempts": 212},
        }
    ],
    "agents_total": 1,
    "types": {"log_analysis": {"1.4.0": {"seconds": 1.21, "failure_rate": 0.004, "samples": 212}}},
    "last_choices": [
        {
            "at": "2026-11-20T20:25:15Z",
            "task": {"id": _TASK, "type": "log_analysis", "waited_s": 0.004},
            "agent": _AGENT,
            "why": "cheapest",
            "usual_cost_s": 1.22,
            "considered": [{"agent": _AGENT, "cost_s": 1.25, "load": 0.25, "failure_rate": 0.004}],
        }
    ],
}

ATTEMPT_EXAMPLE: dict[str, Any] = {
    "task_id": _TASK,
    "type": "log_analysis",
    "complexity": 0.5,
    "thread_id": None,
    "agent_id": _AGENT,
    "version": "1.4.0",
    "outcome": "succeeded",
    "counted": True,
    "error_code": None,
    "queued_at": "2026-11-20T20:25:14Z",
    "started_at": "2026-11-20T20:25:14.01Z",
    "finished_at": "2026-11-20T20:25:15.22Z",
    "seconds": 1.21,
}


class BalancedAgentOut(BaseModel):
    """`slots` and `in_flight` are those of the answering manager. What `learned` holds depends on the strategy."""

    id: str
    version: str
    slots: int
    in_flight: int
    ejected_s: float | None = Field(description="Seconds for which it gets nothing but a trial; null: not ejected.")
    ejected_reason: str | None
    learned: dict[str, Any]


class BalancerOut(BaseModel):
    """What the balancer of one pool knows in the manager that answers; managers share what they learn."""

    model_config = ConfigDict(json_schema_extra={"examples": [BALANCER_EXAMPLE]})
    pool: str
    strategy: str
    runs: str = Field(description="Another than `strategy` where this manager does not have it.")
    manager_id: UUID
    managers: int
    choices_deferred: int = Field(description="Choices to keep a task queued for a better agent.")
    errors: int = Field(description="Failures of the strategy's code; each cost a worse choice, no task.")
    last_error: str | None
    agents: list[BalancedAgentOut] = Field(description="The ejected first.")
    agents_total: int
    types: dict[str, Any] = Field(description="What each task type costs by agent version, if the strategy learns it.")
    last_choices: list[dict[str, Any]] = Field(description="Newest first, with the agents considered and their scores.")


class AttemptOut(BaseModel):
    """`version` is null when the agent is gone; `queued_at` when the task was made claimable again since; `task_id` and
    `thread_id` of another tenant's task."""

    model_config = ConfigDict(json_schema_extra={"examples": [ATTEMPT_EXAMPLE]})
    task_id: UUID | None
    type: str
    complexity: float
    thread_id: str | None
    agent_id: UUID | None
    version: str | None
    outcome: str
    counted: bool
    error_code: str | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime
    seconds: float | None


class AttemptPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [ATTEMPT_EXAMPLE], "next_page_token": None}]})
    items: list[AttemptOut]
    next_page_token: str | None
