"""The JSON shapes of `/v1/pools/{pool}/scaling`, `…/demand` and `…/load`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.registry.fleet_wire import ConditionOut, ScaleIn

DEMAND_EXAMPLE: dict[str, Any] = {
    "pool": "log_analyzer",
    "at": "2026-11-20T20:25:00Z",
    "queued": 12,
    "oldest_s": 4.2,
    "resuming": 1,
    "running": 9,
    "slots_needed": 24,
    "replicas_needed": 6,
    "arrivals_per_s": 0.08,
    "service_s": 118.4,
    "slots_per_replica": 4,
    "replicas_ready": 3,
    "replicas_desired": 6,
}
DECISION_EXAMPLE: dict[str, Any] = {
    "at": "2026-11-20T20:25:00Z",
    "before": 3,
    "desired": 6,
    "recommended": 6,
    "code": "queue_wait",
    "reason": "3 → 6: 0.08 tasks/s × 118 s = 9.5 busy slots; 15 keep P(wait > 30 s) ≤ 5 %, and 12 queued need 24 more.",
    "applied": True,
    "inputs": {"arrivals_per_s": 0.08, "service_s": 118.4, "queued": 12},
}
SCALING_EXAMPLE: dict[str, Any] = {
    "pool": "log_analyzer",
    "launch": "process",
    "scale": {"min": 1, "max": 10},
    "desired": 6,
    "ready": 3,
    "starting": 3,
    "draining": 0,
    "cold_start_s": 21.5,
    "conditions": [],
    "decision": DECISION_EXAMPLE,
}


class DemandOut(BaseModel):
    """A pool's demand in plain numbers, for autoscalers of others: zeros, never absent.

    `replicas_needed` is within the pool's `min` and `max`, and below `max` never less than what runs now occupies. In
    these bounds it is what the load, present or forecast, asked for in the newest decision, before any other bound
    (calendar, provider's limit, budget, quota) and before it was held steady. Where nothing was judged in the last
    minute, or the pool is scaled by hand, it is what all queued and running tasks would occupy.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [DEMAND_EXAMPLE]})
    pool: str
    at: datetime = Field(description="When it was counted.")
    queued: int = Field(description="Tasks that could start now.")
    oldest_s: float = Field(description="Age of the oldest of them.")
    resuming: int = Field(description="Of these, suspended before.")
    running: int = Field(description="Tasks that hold a slot.")
    slots_needed: int = Field(description="Those of `replicas_needed`.")
    replicas_needed: int
    arrivals_per_s: float
    service_s: float = Field(description="Mean time of an attempt; 0 while none has ended.")
    slots_per_replica: int
    replicas_ready: int
    replicas_desired: int


class DecisionOut(BaseModel):
    """How many replicas were found to be needed, and from what. `applied` False: others start the pool's agents."""

    model_config = ConfigDict(json_schema_extra={"examples": [DECISION_EXAMPLE]})
    at: datetime
    before: int
    desired: int
    recommended: int = Field(description="What the load alone asked for.")
    code: str = Field(description="The rule that had the last word.")
    reason: str
    applied: bool
    inputs: dict[str, Any] = Field(description="The numbers it was made from, and those on the way (`workings`).")


class PastDecisionOut(DecisionOut):
    """One that changed the pool's size, or whose rule was another than before."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**DECISION_EXAMPLE, "id": "0198f1f0-7c1e-7a63-8a0e-1d5b7f0e2a10"}]}
    )
    id: UUID


class TightenedOut(BaseModel):
    """`require_approval`: the start of each task is asked about; `freeze_rollouts`: a new launch replaces nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"what": "freeze_rollouts", "slo": "checkout", "since": "2026-11-20T20:20:00Z"}]
        }
    )
    what: Literal["require_approval", "freeze_rollouts"]
    slo: str
    since: datetime


class ScalingOut(BaseModel):
    """How a pool is scaled at present, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [SCALING_EXAMPLE]})
    pool: str
    launch: str = Field(description="`process`, `kubernetes`, or `external`: then decisions are advice.")
    scale: ScaleIn
    desired: int
    ready: int = Field(description="Agents that may be given tasks.")
    starting: int
    draining: int
    cold_start_s: float | None = Field(description="From launch to ready, a moving mean; null: never measured.")
    conditions: list[ConditionOut]
    tightened: list[TightenedOut] = Field([], description="What exhausted error budgets of objectives hold it to.")
    decision: DecisionOut | None = Field(description="The newest; null before the first.")


class DecisionPage(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [DECISION_EXAMPLE | {"id": "0198f1f0-7c1e-7a63-8a0e-1d5b7f0e2a10"}]}]}
    )
    items: list[PastDecisionOut]
    next_page_token: str | None = None


class MinuteOut(BaseModel):
    """One minute of a pool; `queued`, `running`, `replicas`: the highest seen in it."""

    minute: datetime
    arrivals: float
    finished: int
    service_mean_s: float | None
    service_cv: float | None
    queued: int
    running: int
    replicas: int


class LoadPage(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "minute": "2026-11-20T20:25:00Z",
                            "arrivals": 5.0,
                            "finished": 4,
                            "service_mean_s": 117.0,
                            "service_cv": 0.8,
                            "queued": 2,
                            "running": 9,
                            "replicas": 3,
                        }
                    ],
                    "next_page_token": None,
                }
            ]
        }
    )
    items: list[MinuteOut]
    next_page_token: str | None
