"""The JSON shapes of objectives as they are asked for."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.limits.tightening import Measure
from app.slo.burn_alerts import BurnRule
from app.slo.objective import Objective, Scope, WindowSpec
from app.slo.service import Wanted

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$"
MAX_RULES = 8


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")  # noqa: TRY004 - pydantic wants a ValueError
    return value


type Kind = Literal["availability", "latency", "accuracy"]
Share = Annotated[Decimal, BeforeValidator(_no_flag), Field(ge=0, le=1, decimal_places=9, allow_inf_nan=False)]
Seconds = Annotated[
    Decimal, BeforeValidator(_no_flag), Field(gt=0, le=2_592_000, decimal_places=6, allow_inf_nan=False)
]
Whole = Annotated[int, Field(strict=True)]

RULE_EXAMPLE: dict[str, Any] = {
    "name": "quick_page",
    "share": 0.02,
    "long_s": 3600,
    "short_s": 300,
    "severity": "critical",
}
SLO_EXAMPLE: dict[str, Any] = {
    "kind": "availability",
    "target": 0.999,
    "window": {"kind": "rolling", "seconds": 2592000},
    "scope": {"pool": "checkout"},
    "on_exhausted": ["freeze_rollouts"],
    "description": "Checkouts succeed.",
}


class SloLabelIn(BaseModel):
    """Tasks that carry this label."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"key": "team", "value": "search"}]})
    key: str = Field(min_length=1, max_length=100)
    value: str = Field(max_length=200)


class SloScopeIn(BaseModel):
    """Whose tasks: all that is named must fit; nothing named is everything."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"pool": "checkout"}]})
    tenant: str | None = Field(None, pattern=NAME)
    pool: str | None = Field(None, pattern=NAME)
    label: SloLabelIn | None = None

    def scope(self) -> Scope:
        key, value = (None, None) if self.label is None else (self.label.key, self.label.value)
        return Scope(self.tenant, self.pool, key, value)

    @classmethod
    def of(cls, scope: Scope) -> SloScopeIn:
        label = None if scope.label_key is None else SloLabelIn(key=scope.label_key, value=scope.label_value or "")
        return cls(tenant=scope.tenant, pool=scope.pool, label=label)


class SloWindowIn(BaseModel):
    """The last `seconds` (rolling; whole minutes), or a calendar month or week of the wall clock in `zone`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"kind": "rolling", "seconds": 2592000}, {"kind": "month", "zone": "Europe/Berlin"}]
        },
    )
    kind: Literal["rolling", "month", "week"] = "rolling"
    seconds: Whole | None = Field(None, ge=1, le=40_000_000, description="Of a rolling window; 30 days by default.")
    zone: str = Field("UTC", min_length=1, max_length=64, description="IANA time zone of a month or week.")

    def window(self) -> WindowSpec:
        seconds = WindowSpec().seconds if self.kind == "rolling" and self.seconds is None else self.seconds
        return WindowSpec(self.kind, seconds, self.zone)


class BurnRuleIn(BaseModel):
    """Burn when `share` of the budget is spent within `long_s`, as long as `short_s` burns too."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [RULE_EXAMPLE]})
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    share: Share = Field(gt=0)
    long_s: Whole = Field(ge=120, le=259_200)
    short_s: Whole = Field(ge=60, le=259_200)
    severity: Literal["critical", "warning"]

    def rule(self) -> BurnRule:
        return BurnRule(self.name, Fraction(self.share), self.long_s, self.short_s, self.severity)


class SloIn(BaseModel):
    """An objective. `threshold_s` and `queue_wait` are of latency, the fields from `evaluator` on of accuracy."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                SLO_EXAMPLE,
                {"kind": "latency", "target": 0.95, "threshold_s": 30, "queue_wait": True},
                {"kind": "accuracy", "target": 0.9, "evaluator": "rubric", "version": "3", "coverage_floor": 0.2},
            ]
        },
    )
    kind: Kind
    target: Share = Field(description="The share of valid events that is to be good, as 0.999 for 99.9 %.")
    window: SloWindowIn = Field(default_factory=SloWindowIn)
    scope: SloScopeIn = Field(default_factory=SloScopeIn)
    threshold_s: Seconds | None = Field(None, description="A task that takes longer is slow.")
    queue_wait: bool = Field(True, description="Whether the wait for an agent is part of it.")
    evaluator: str | None = Field(None, min_length=1, max_length=100, description="Whose verdicts count.")
    version: str | None = Field(None, min_length=1, max_length=100, description="And of which version of it.")
    pass_score: Share = Field(Decimal("0.5"), description="A verdict with a score is good from here up.")
    coverage_floor: Share = Field(Decimal(0), description="With a smaller share judged there is no judgement.")
    settle_after_s: Whole = Field(0, ge=0, le=7_776_000, description="Verdicts count for so long after the task.")
    description: str = Field("", max_length=1050)
    burn_rules: list[BurnRuleIn] | None = Field(
        None, max_length=MAX_RULES, description="Instead of the standard ones; [] for none."
    )
    min_events: Whole | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="A burn rule is not judged by fewer events in its long window. Default: as the service has it "
        "(`YARD_SLO_MIN_EVENTS`).",
    )
    on_exhausted: list[Measure] = Field(
        default_factory=list,
        max_length=2,
        description="What the scope's pool may not do by itself while the budget is exhausted. Such a scope names a "
        "pool alone.",
    )

    def wanted(self, name: str) -> Wanted:
        return Wanted(
            Objective(
                name=name,
                kind=self.kind,
                target=self.target,
                window=self.window.window(),
                scope=self.scope.scope(),
                threshold_s=self.threshold_s,
                queue_wait=self.queue_wait,
                evaluator=self.evaluator,
                version=self.version,
                pass_score=self.pass_score,
                coverage_floor=self.coverage_floor,
                settle_after_s=self.settle_after_s,
                description=self.description,
            ),
            None if self.burn_rules is None else tuple(rule.rule() for rule in self.burn_rules),
            self.min_events,
            tuple(dict.fromkeys(self.on_exhausted)),
        )
