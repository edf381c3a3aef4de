"""The JSON shapes of cost controls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.costs.budget_wire import Amount, Models, Percent, refuse_self_maps

type Kind = Literal["tenant", "pool"]
type Count = Annotated[int, Field(ge=1, le=1_000_000_000_000, strict=True)]

_CONTROL: dict[str, Any] = {
    "kind": "tenant",
    "name": "acme",
    "requests_per_hour": 1000,
    "tokens_per_hour": 2_000_000,
    "usd_per_hour": "25.00",
    "downgrade": {"percent": 80, "models": {"gpt-5": "gpt-4o"}},
    "alerts": [50, 80, 90],
    "budgets": ["control-tenant-acme-requests", "control-tenant-acme-tokens", "control-tenant-acme-usd"],
    "created_by": "3f9c21ab07",
    "effective_since": "2026-11-20T08:00:00Z",
}


class DowngradeIn(BaseModel):
    """From `percent` on, tasks are asked to take cheaper models."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"percent": 80, "models": {"gpt-5": "gpt-4o"}}]}
    )
    percent: Percent
    models: Models = Field(min_length=1, description="From a model to the one to take instead.")

    @model_validator(mode="after")
    def _fits(self) -> DowngradeIn:
        refuse_self_maps(self.models)
        return self


class ControlIn(BaseModel):
    """A control as a whole: what is left out is not limited."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "requests_per_hour": 1000,
                    "usd_per_hour": "25.00",
                    "downgrade": {"percent": 80, "models": {"gpt-5": "gpt-4o"}},
                    "alerts": [50, 80, 90],
                }
            ]
        },
    )
    requests_per_hour: Count | None = Field(None, description="Attempts that count.")
    tokens_per_hour: Count | None = Field(None, description="Input and output tokens.")
    usd_per_hour: Amount | None = None
    downgrade: DowngradeIn | None = None
    alerts: list[Percent] = Field(
        default_factory=lambda: [50, 80, 90], max_length=8, description="Percentages that are told as events."
    )

    @model_validator(mode="after")
    def _whole(self) -> ControlIn:
        if self.requests_per_hour is None and self.tokens_per_hour is None and self.usd_per_hour is None:
            raise ValueError(
                "controls nothing: set requests_per_hour, tokens_per_hour or usd_per_hour, or delete the control"
            )
        if len(set(self.alerts)) < len(self.alerts):
            raise ValueError("an alert stands at one percentage only once")
        return self


class DowngradeOut(BaseModel):
    percent: int
    models: dict[str, str]


class ControlOut(BaseModel):
    """A control, and the budgets that keep it. What starts after `effective_since` keeps to all of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CONTROL]})
    kind: str
    name: str
    requests_per_hour: int | None
    tokens_per_hour: int | None
    usd_per_hour: str | None
    downgrade: DowngradeOut | None
    alerts: list[int]
    budgets: list[str]
    created_by: str
    effective_since: datetime


class ControlPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_CONTROL], "next_page_token": None}]})
    items: list[ControlOut]
    next_page_token: str | None
