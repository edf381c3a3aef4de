"""The JSON shapes of budgets."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.auth.api import NAME
from app.costs.budget_spec import DEFAULT_THRESHOLDS, BudgetSpec, thresholds_json
from app.costs.numbers import NO_FLAG
from app.costs.quantities import normal_model
from app.costs.records import Scope, Threshold
from app.costs.windows import CALENDAR, zone_of

MAX_LIMIT = 10**12
MAX_THRESHOLDS = 10
MAX_MODELS = 50
ANY_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$"
"""Names of budgets to read: those of controls are longer than one may give."""

type Action = Literal["notify", "throttle", "downgrade", "require_approval", "pause", "stop"]
type Unit = Literal["usd", "tokens", "requests"]
type WindowKind = Literal["hour", "day", "month", "rolling", "total"]


def _model(name: str) -> str:
    if normal_model(name) != name:
        raise ValueError("as usage has it: without spaces at its ends and without control characters")
    return name


Model = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_model)]


Amount = Annotated[Decimal, NO_FLAG, Field(gt=0, le=MAX_LIMIT, max_digits=22, decimal_places=9, allow_inf_nan=False)]
Percent = Annotated[int, Field(ge=1, le=1000, strict=True)]
Models = Annotated[dict[Model, Model], Field(max_length=MAX_MODELS)]

_ACCOUNT: dict[str, Any] = {
    "id": "7b0f6f6e-8b54-5d1c-9c5e-2a6d2f6f1b90",
    "key": "",
    "window_start": "2026-11-20T00:00:00Z",
    "window_end": "2026-11-21T00:00:00Z",
    "unit": "usd",
    "limit": "100.00",
    "spent": "61.2",
    "reserved": "2.5",
    "remaining": "36.30",
    "percent": 63.7,
    "reached": [{"percent": 50, "action": "notify"}],
    "opened_at": "2026-11-20T00:00:04Z",
    "touched_at": "2026-11-20T16:20:11Z",
}
_BUDGET: dict[str, Any] = {
    "name": "acme-daily",
    "id": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
    "scope": {"tenant": "acme", "pool": None, "model": None, "label": None, "per": None},
    "window": {"kind": "day", "zone": "Europe/Berlin", "seconds": None},
    "unit": "usd",
    "limit": "100.00",
    "thresholds": thresholds_json(DEFAULT_THRESHOLDS),
    "on_exhausted": "wait",
    "control": None,
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-01T08:00:00Z",
    "updated_at": "2026-11-20T08:00:00Z",
    "effective_since": "2026-11-20T08:00:00Z",
    "account": _ACCOUNT,
}


def plain(amount: Decimal) -> str:
    """An amount as JSON has it: digits, never an exponent."""
    return format(amount, "f")


class LabelIn(BaseModel):
    """Tasks that carry this label."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"key": "team", "value": "search"}]})
    key: str = Field(min_length=1, max_length=100)
    value: str = Field(max_length=200)


class ScopeIn(BaseModel):
    """Whose spending: all that is named must fit; nothing named is everything. `per` gives each thread, each root task
    with its sub-tasks, or each task the whole limit for itself. Without a tenant, accounts of threads are known as
    TENANT/THREAD. Probes are of the tenant `yardmaster-probes`, and count only where it is named (one probe alone: with
    the label `probe`)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"tenant": "acme", "per": "root"}]})
    tenant: str | None = Field(None, pattern=NAME)
    pool: str | None = Field(None, pattern=NAME)
    model: Model | None = None
    label: LabelIn | None = None
    per: Literal["thread", "root", "task"] | None = None

    def scope(self) -> Scope:
        key, value = (None, None) if self.label is None else (self.label.key, self.label.value)
        return Scope(self.tenant, self.pool, self.model, key, value, self.per)

    @classmethod
    def of(cls, scope: Scope) -> ScopeIn:
        label = None
        if scope.label_key is not None:
            label = LabelIn(key=scope.label_key, value=scope.label_value or "")
        return cls(tenant=scope.tenant, pool=scope.pool, model=scope.model, label=label, per=scope.per)


class WindowIn(BaseModel):
    """An hour, day or month of the wall clock in `zone`; the last `seconds`, which leave in 60 slices; or all time."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"kind": "day", "zone": "Europe/Berlin"}, {"kind": "rolling", "seconds": 3600}]
        },
    )
    kind: WindowKind
    zone: str | None = Field(None, max_length=64, description="IANA time zone of an hour, day or month; else UTC.")
    seconds: Annotated[float, NO_FLAG] | None = Field(
        None, ge=60, le=31_622_400, allow_inf_nan=False, description="Length of a rolling window."
    )

    @model_validator(mode="after")
    def _fits(self) -> WindowIn:
        if self.zone is not None:
            if self.kind not in CALENDAR:
                raise ValueError(f"a zone is of hours, days and months; a {self.kind} window has none")
            zone_of(self.zone)
        if (self.kind == "rolling") != (self.seconds is not None):
            raise ValueError("seconds is the length of a rolling window: it needs it, and no other window has it")
        return self


class ThresholdIn(BaseModel):
    """What happens once so much of the limit is committed (spent, or reserved by what runs)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"percent": 80, "action": "notify"},
                {"percent": 80, "action": "throttle", "per_minute": 10},
                {"percent": 90, "action": "downgrade", "models": {"gpt-5": "gpt-4o"}},
            ]
        },
    )
    percent: Percent
    action: Action
    per_minute: Annotated[float, NO_FLAG] | None = Field(
        None,
        ge=1 / 1440,
        le=1_000_000,
        allow_inf_nan=False,
        description="Of throttle: attempts that may start a minute, at least one a day.",
    )
    models: Models | None = Field(None, description="Of downgrade: from a model to the one to take instead.")

    @model_validator(mode="after")
    def _fits(self) -> ThresholdIn:
        if (self.action == "throttle") != (self.per_minute is not None):
            raise ValueError("per_minute is of throttle: it needs it, and no other action has it")
        if (self.action == "downgrade") != bool(self.models):
            raise ValueError("models is of downgrade: it needs at least one, and no other action has any")
        refuse_self_maps(self.models or {})
        return self

    def threshold(self) -> Threshold:
        return Threshold(Decimal(self.percent), self.action, self.per_minute, self.models or {})


class ThresholdOut(BaseModel):
    percent: int
    action: str
    per_minute: float | None = None
    models: dict[str, str] | None = None


class BudgetIn(BaseModel):
    """A budget as a whole: what is left out has its default."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "scope": {"tenant": "acme"},
                    "window": {"kind": "day", "zone": "Europe/Berlin"},
                    "unit": "usd",
                    "limit": "100.00",
                }
            ]
        },
    )
    scope: ScopeIn = Field(default_factory=ScopeIn)
    window: WindowIn
    unit: Unit = "usd"
    limit: Amount = Field(description="Above 0. A decimal string keeps every digit.")
    thresholds: list[ThresholdIn] | None = Field(
        None,
        max_length=MAX_THRESHOLDS,
        description="Left out: notify at 50, 80 and 90 %, pause at 100 %. The lowest pause or stop is a hard cap.",
    )
    on_exhausted: Literal["wait", "fail"] = Field("wait", description="What a task does for which nothing is left.")

    @model_validator(mode="after")
    def _fits(self) -> BudgetIn:
        if self.unit != "usd" and self.limit != self.limit.to_integral_value():
            raise ValueError(f"{self.unit} are whole: the limit is a whole number")
        named = [(item.percent, item.action) for item in self.thresholds or ()]
        if len(set(named)) < len(named):
            raise ValueError("an action stands at one percentage only once")
        if any(action == "stop" for _, action in named):
            self._refuse_unstoppable()
        return self

    def _refuse_unstoppable(self) -> None:
        scope = self.scope
        if scope.model is not None or scope.label is not None:
            raise ValueError("stop works on tenants, pools, threads and tasks: a scope with a model or a label pauses")
        if scope.tenant is None and scope.pool is None and scope.per is None:
            raise ValueError("stop needs a scope: name a tenant, a pool or per")

    def spec(self) -> BudgetSpec:
        given = self.thresholds
        return BudgetSpec(
            scope=self.scope.scope(),
            window_kind=self.window.kind,
            zone=self.window.zone or "UTC",
            rolling_s=self.window.seconds,
            unit=self.unit,
            limit=self.limit,
            thresholds=DEFAULT_THRESHOLDS if given is None else tuple(item.threshold() for item in given),
            on_exhausted=self.on_exhausted,
        )


class AccountOut(BaseModel):
    """One window of a budget, for one key of its `per`. `percent` is of spent and reserved together; `remaining` what
    both leave of the limit. `reached`: the thresholds that are passed now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ACCOUNT]})
    id: UUID
    key: str
    window_start: datetime | None
    window_end: datetime | None
    unit: str
    limit: str
    spent: str
    reserved: str
    remaining: str
    percent: float
    reached: list[ThresholdOut]
    opened_at: datetime | None = Field(description="null: nothing has started in this window yet.")
    touched_at: datetime | None


class BudgetOut(BaseModel):
    """A budget. What starts after `effective_since` keeps to it. `account`: the fullest of its current windows."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BUDGET]})
    name: str
    id: UUID
    scope: ScopeIn
    window: WindowIn
    unit: str
    limit: str
    thresholds: list[ThresholdOut]
    on_exhausted: str
    control: str | None = Field(description="The cost control that it belongs to, and is changed through.")
    created_by: str
    created_at: datetime
    updated_at: datetime
    effective_since: datetime
    account: AccountOut | None


class WholeBudgetOut(BudgetOut):
    """With up to 100 of its current accounts, the fullest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_BUDGET, "accounts": [_ACCOUNT]}]})
    accounts: list[AccountOut]


class BudgetPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_BUDGET], "next_page_token": None}]})
    items: list[BudgetOut]
    next_page_token: str | None


class AccountPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_ACCOUNT], "next_page_token": None}]})
    items: list[AccountOut]
    next_page_token: str | None


def refuse_self_maps(models: dict[str, str]) -> None:
    """Raise ValueError where a model is to be replaced by itself."""
    same = [model for model, other in models.items() if model == other]
    if same:
        raise ValueError(f"{same[0]!r} is mapped to itself")
