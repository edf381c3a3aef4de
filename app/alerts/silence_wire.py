"""The JSON shapes of silences, inhibitions and mute times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from app.alerts.receiver_wire import Matchers
from app.alerts.silence_service import SilenceSpec

_LABEL = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"

FIRST_YEAR, LAST_YEAR = 2, 9998


def _of_any_zone(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"a time is within the years {FIRST_YEAR} to {LAST_YEAR}")
    return value


Time = Annotated[AwareDatetime, AfterValidator(_of_any_zone)]
"""One that can be written in UTC."""

SILENCE: dict[str, Any] = {
    "id": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
    "matchers": ['alertname="high_error_rate"', 'pool="ops"'],
    "starts_at": "2026-11-20T20:00:00Z",
    "ends_at": "2026-11-20T22:00:00Z",
    "created_by": "3f9c21ab07",
    "comment": "a deploy",
    "state": "active",
}
RULE: dict[str, Any] = {
    "name": "critical-over-warning",
    "source": ['severity="critical"'],
    "target": ['severity="warning"'],
    "equal": ["pool"],
}
MUTE_TIME: dict[str, Any] = {
    "name": "nights",
    "intervals": [{"times": [{"start_time": "22:00", "end_time": "24:00"}], "location": "Europe/Berlin"}],
}


class SilenceIn(BaseModel):
    """For a while, alerts that meet all matchers are not told to anybody. Without `starts_at` it begins now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{name: SILENCE[name] for name in ("matchers", "ends_at", "comment")}]},
    )
    matchers: Matchers = Field(description='Such as pool="ops"; at least one must not match the empty value.')
    starts_at: Time | None = None
    ends_at: Time
    comment: str = Field("", max_length=1000)

    def spec(self) -> SilenceSpec:
        return SilenceSpec(tuple(self.matchers), self.ends_at, self.starts_at, self.comment)


class SilenceOut(BaseModel):
    """`state`: pending, active or expired."""

    model_config = ConfigDict(json_schema_extra={"examples": [SILENCE]})
    id: UUID
    matchers: list[str]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    state: Literal["pending", "active", "expired"]


class SilencePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [SILENCE], "next_page_token": None}]})
    items: list[SilenceOut]
    next_page_token: str | None


class InhibitRuleIn(BaseModel):
    """While an alert that meets `source` fires, those that meet `target` and have the same `equal` labels are not told.
    A label that is missing in both is equal."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{name: RULE[name] for name in ("source", "target", "equal")}]}
    )
    source: Matchers
    target: Matchers
    equal: Annotated[list[Annotated[str, Field(pattern=_LABEL)]], Field(max_length=32)] = Field(default_factory=list)


class InhibitRuleOut(InhibitRuleIn):
    model_config = ConfigDict(json_schema_extra={"examples": [RULE]})
    name: str


class InhibitRulePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [RULE], "next_page_token": None}]})
    items: list[InhibitRuleOut]
    next_page_token: str | None


class MuteTimeIn(BaseModel):
    """Intervals in the form of Alertmanager's configuration; an instant is in the mute time if it is in one of them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"intervals": MUTE_TIME["intervals"]}]})
    intervals: list[dict[str, Any]] = Field(
        min_length=1, max_length=100, description="Parts: times, weekdays, days_of_month, months, years, location."
    )


class MuteTimeOut(MuteTimeIn):
    model_config = ConfigDict(json_schema_extra={"examples": [MUTE_TIME]})
    name: str


class MuteTimePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [MUTE_TIME], "next_page_token": None}]})
    items: list[MuteTimeOut]
    next_page_token: str | None
