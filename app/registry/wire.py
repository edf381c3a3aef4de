"""The JSON shapes of pools and agents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.auth.api import GroupName
from app.auth.callers import Scope
from app.registry.fleet_wire import ConditionOut, ExternalLaunch, Launch, ScaleIn

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$"
TYPE_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.:/-]{0,99}$"

POOL_EXAMPLE: dict[str, Any] = {
    "description": "Mines templates from logs",
    "skills": {"log_analysis": 1.0},
    "slots": 4,
    "balancer": "ai_optimized",
    "timeout_s": 120,
    "max_attempts": 3,
    "retry": {"initial_s": 1, "max_s": 60, "factor": 2, "jitter": 0.2},
    "scale": {"min": 1, "max": 4},
    "launch": {"kind": "external"},
    "input_schema": {"type": "object", "required": ["log"], "properties": {"log": {"type": "string"}}},
    "output_schema": None,
    "approvals": {"start": None, "actions": {}},
}

POOL_OUT_EXAMPLE: dict[str, Any] = {
    "name": "log_analyzer",
    **POOL_EXAMPLE,
    "desired": 0,
    "conditions": [],
    "agents": {"idle": 1},
    "created_at": "2026-11-20T20:25:00Z",
    "updated_at": "2026-11-20T20:25:00Z",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RetryIn(_Strict):
    """Delay before try n+1: initial_s · factor^(n−1), at most max_s, spread by ±jitter."""

    initial_s: float = Field(1.0, ge=0, le=86_400, description="Seconds before the second try.")
    max_s: float = Field(60.0, ge=0, le=86_400)
    factor: float = Field(2.0, ge=1, le=10)
    jitter: float = Field(0.2, ge=0, le=1, description="Share of the delay by which it is spread, both ways.")


class ApprovalPolicyIn(_Strict):
    """Who must say yes, and what happens when nobody answers."""

    required: bool = Field(True, description="False: the policy itself approves, nobody is asked.")
    expires_s: Annotated[float, Field(gt=0, le=31_536_000)] | Literal["default"] | None = Field(
        "default", description="Seconds until it expires; null: never. By default YARD_APPROVALS_EXPIRES_S."
    )
    on_expiry: Literal["expire", "reject", "escalate"] = "expire"
    escalate_to: list[GroupName] = Field(
        default_factory=list, max_length=20, description="Groups that are asked when the first ones did not answer."
    )
    escalate_s: float | None = Field(
        None, gt=0, le=31_536_000, description="Seconds that they have; null: as long as the first ones had."
    )
    groups: list[GroupName] = Field(
        default_factory=list, max_length=20, description="A caller of one of these may decide; none: every group."
    )
    scope: Scope = Field("approvals:decide", description="And needs this scope.")
    quorum: int = Field(1, ge=1, le=20, description="So many different callers must approve; one can reject.")
    self_approval: bool = Field(False, description="Whether the task's own submitter may decide.")

    @model_validator(mode="after")
    def _fits_together(self) -> ApprovalPolicyIn:
        if self.on_expiry == "escalate":
            if not self.escalate_to:
                raise ValueError("on_expiry `escalate` needs groups in escalate_to")
            if self.expires_s is None:
                raise ValueError("what never expires is never escalated: give expires_s")
        elif self.escalate_to or self.escalate_s is not None:
            raise ValueError("escalate_to and escalate_s need on_expiry `escalate`")
        return self


ActionName = Annotated[str, Field(min_length=1, max_length=200)]


class ApprovalsIn(_Strict):
    """What people are asked before a task of the pool starts, and when its agents ask for an action's approval."""

    start: ApprovalPolicyIn | None = Field(None, description="Every task is held until it is approved; null: none is.")
    actions: dict[ActionName, ApprovalPolicyIn] = Field(
        default_factory=dict, max_length=100, description="By the action's name; `*` is for all that are not named."
    )


Score = Annotated[float, Field(ge=0, le=1)]
TypeName = Annotated[str, Field(pattern=TYPE_NAME)]


class PoolIn(_Strict):
    """A pool as a whole: what is left out takes its default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [POOL_EXAMPLE]})
    description: str = Field("", max_length=2000)
    skills: dict[TypeName, Score] = Field(
        default_factory=dict, max_length=200, description="Task type → how well agents do it, 0..1."
    )
    slots: int = Field(1, ge=1, le=10_000, description="Slots of an agent that names none when it registers.")
    balancer: str = Field(
        "ai_optimized",
        max_length=100,
        description="How an agent is chosen: `ai_optimized` (learns what each costs), `weighted_score`, `prequal`, "
        "`p2c`, `least_connections`, `weighted_round_robin`, `round_robin`, or one that another package brings.",
    )
    timeout_s: float = Field(300.0, gt=0, le=604_800, description="Run timeout of one attempt.")
    max_attempts: int = Field(3, ge=1, le=100)
    retry: RetryIn = Field(default_factory=RetryIn)
    scale: ScaleIn = Field(default_factory=ScaleIn)
    launch: Launch = Field(default_factory=ExternalLaunch)
    input_schema: dict[str, Any] | None = Field(None, description="JSON Schema of payloads; null accepts everything.")
    output_schema: dict[str, Any] | None = Field(None, description="JSON Schema of results.")
    approvals: ApprovalsIn = Field(default_factory=ApprovalsIn, description="Who must approve what.")


class PoolOut(BaseModel):
    """A pool, the replicas wanted, and its agents by status."""

    model_config = ConfigDict(json_schema_extra={"examples": [POOL_OUT_EXAMPLE]})
    name: str
    description: str
    skills: dict[str, float]
    slots: int
    balancer: str
    timeout_s: float
    max_attempts: int
    retry: RetryIn
    scale: ScaleIn
    launch: Launch
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    approvals: ApprovalsIn
    desired: int
    conditions: list[ConditionOut] = Field(
        default_factory=list, description="What keeps its replicas from being as they should; empty: nothing."
    )
    agents: dict[str, int] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class PoolPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [POOL_OUT_EXAMPLE], "next_page_token": None}]})
    items: list[PoolOut]
    next_page_token: str | None


class ScaleRequest(_Strict):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"replicas": 3, "reason": "load test"}]})
    replicas: int = Field(ge=0, le=10_000)
    reason: str = Field("", max_length=500)


class ScaleOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"pool": "log_analyzer", "desired": 3, "current": 1}]})
    pool: str
    desired: int
    current: int = Field(description="Agents of the pool that may be given tasks now.")


class AgentIn(_Strict):
    """An executor that takes tasks of one pool at `url` (`POST {url}/execute`, `GET {url}/health`)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "pool": "log_analyzer",
                    "url": "http://127.0.0.1:9001",
                    "slots": 4,
                    "weight": 5,
                    "version": "1.4.0",
                    "labels": {"zone": "a"},
                }
            ]
        },
    )
    pool: str = Field(pattern=NAME)
    url: str = Field(min_length=8, max_length=500)
    slots: int | None = Field(None, ge=1, le=10_000, description="Tasks it takes at once; null: as the pool says.")
    weight: float = Field(5.0, ge=1, le=10, description="How strong it is, 5 is normal.")
    version: str = Field("", max_length=100)
    labels: dict[str, Annotated[str, Field(max_length=256)]] = Field(default_factory=dict, max_length=50)


AGENT_EXAMPLE: dict[str, Any] = {
    "id": "0b3c5b52-7a3e-4f6e-9f0f-0f6a4f2f1c11",
    "pool": "log_analyzer",
    "url": "http://127.0.0.1:9001",
    "slots": 4,
    "weight": 5.0,
    "version": "1.4.0",
    "labels": {"zone": "a"},
    "status": "idle",
    "status_reason": "answered",
    "running": 0,
    "registered_at": "2026-11-20T20:25:00Z",
    "heartbeat_at": "2026-11-20T20:25:15Z",
    "last_seen_at": "2026-11-20T20:25:15Z",
    "ejected_until": None,
    "ejected_reason": "",
    "stopped": False,
}


class AgentOut(BaseModel):
    """`last_seen_at` is the newest heartbeat or answered probe."""

    model_config = ConfigDict(json_schema_extra={"examples": [AGENT_EXAMPLE]})
    id: UUID
    pool: str
    url: str
    slots: int
    weight: float
    version: str
    labels: dict[str, str]
    status: str
    status_reason: str
    running: int
    registered_at: datetime
    heartbeat_at: datetime | None
    last_seen_at: datetime
    ejected_until: datetime | None = Field(
        description="While this lies ahead, a manager found the agent to be an outlier and gives it no tasks."
    )
    ejected_reason: str
    stopped: bool = Field(description="A stop switch holds it: it gets no tasks until the stop is lifted.")


class RegisteredOut(AgentOut):
    """`token` is shown in this answer only: the agent's own, good for its heartbeat, drain and removal."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**AGENT_EXAMPLE, "token": "ya_0b3c5b52-…", "heartbeat_interval_s": 15.0}]}
    )
    token: str
    heartbeat_interval_s: float


class AgentPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [AGENT_EXAMPLE], "next_page_token": None}]})
    items: list[AgentOut]
    next_page_token: str | None


class HeartbeatIn(_Strict):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"running": 2, "status": "busy"}]})
    running: int = Field(0, ge=0, le=1_000_000, description="Tasks it works on now.")
    status: Literal["idle", "busy", "maintenance", "draining"] | None = None


class Directive(BaseModel):
    type: Literal["drain"]


class HeartbeatOut(BaseModel):
    """What the agent should do. `drain`: take nothing new, finish, remove yourself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"directives": []}]})
    directives: list[Directive]
