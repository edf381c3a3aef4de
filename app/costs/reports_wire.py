"""The JSON shapes of reports and of the analysis."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.costs.analyst import Analysis
from app.costs.report import figures, money, plain

USD = "USD as decimal text"

_FIGURES: dict[str, Any] = {
    "attempts": 1200,
    "succeeded": 1130,
    "input_tokens": 2_400_000,
    "output_tokens": 610_000,
    "cost_usd": "12.1",
    "waste_usd": "0.84",
    "unpriced": 0,
    "unpriced_tokens": 0,
    "cost_per_success_usd": "0.010707964602",
}
_REPORT: dict[str, Any] = {
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-11-29T00:00:00Z",
    "group_by": ["day", "model"],
    "items": [{"day": "2026-11-20", "model": "gpt-4o", **_FIGURES}],
    "totals": _FIGURES,
    "synthetic": {**_FIGURES, "attempts": 60, "succeeded": 60, "cost_usd": "0.12", "waste_usd": "0"},
    "as_of": "2026-11-28T21:05:00Z",
    "next_page_token": None,
}
_SUGGESTION: dict[str, Any] = {
    "kind": "substitute_model",
    "subject": "gpt-4o",
    "message": "gpt-4o carries 62 % of the cost; a-model is no worse (quality 0.9 to 0.9) and costs 40 % less.",
    "savings_usd": "3",
    "basis": {"share": "0.6198", "cost_usd": "7.5", "alternative": "a-model", "alternative_cost_usd": "4.5"},
}
_BUDGET: dict[str, Any] = {
    "name": "research",
    "key": "",
    "unit": "usd",
    "window": "month",
    "limit": "100",
    "spent": "84.5",
    "reserved": "0.4",
    "share": "0.845",
    "per_hour": "0.1259",
    "per_day": "3.0217",
    "runs_out_at": None,
    "why": "not before the window ends",
}
_ANALYSIS: dict[str, Any] = {
    "from": "2026-10-30",
    "to": "2026-11-28",
    "as_of": "2026-11-28T21:05:00Z",
    "totals": _FIGURES,
    "synthetic": {**_FIGURES, "attempts": 60, "succeeded": 60, "cost_usd": "0.12", "waste_usd": "0"},
    "days": [{"day": "2026-11-27", "cost_usd": "0.41", "trend_usd": "0.4"}],
    "daily_average_usd": "0.4172",
    "trend": {"slope_usd_per_day": "0.0121", "days": 7, "first": "2026-11-21"},
    "projection": {
        "month": "2026-11",
        "spent_usd": "11.7",
        "predicted_usd": "0.83",
        "total_usd": "12.53",
        "days_left": 2,
    },
    "band": {"median_usd": "0.41", "low_usd": "0.29", "high_usd": "0.53", "days": 28},
    "anomalies": [{"day": "2026-11-14", "cost_usd": "1.9", "high": True, "times_the_band": "12.4"}],
    "models": [{"model": "gpt-4o", "share": "0.6198", **_FIGURES}],
    "waste": [{"pool": "research", "outcome": "failed", "attempts": 31, "cost_usd": "0.6"}],
    "budgets": [_BUDGET],
    "suggestions": [_SUGGESTION],
    "missing": {"idle_agents": "there were too many attempts to count"},
}


def _shows(*examples: Any) -> ConfigDict:
    return ConfigDict(populate_by_name=True, json_schema_extra={"examples": list(examples)})


class CostFigures(BaseModel):
    """Sums. Waste is what attempts cost that neither succeeded nor wait. Rows without a price are in no cost, only in
    `unpriced`."""

    model_config = _shows(_FIGURES)
    attempts: int = Field(description="Attempts with usage; in a report about models an attempt counts with each.")
    succeeded: int
    input_tokens: int
    output_tokens: int
    cost_usd: str = Field(description=USD)
    waste_usd: str
    unpriced: int = Field(description="Rows of usage without a price.")
    unpriced_tokens: int
    cost_per_success_usd: str | None = Field(
        description="Cost, waste included, by succeeded attempts; null where none has a price."
    )


class CostReport(BaseModel):
    model_config = _shows(_REPORT)
    begin: datetime = Field(alias="from")
    to: datetime
    group_by: list[str]
    items: list[dict[str, str | int | None]] = Field(
        description="The groups, then the figures. A label that a task does not have is null."
    )
    totals: CostFigures = Field(description="Of all items, not only of this page.")
    synthetic: CostFigures = Field(description="Of synthetic traffic alone, whether the totals hold it or not.")
    as_of: datetime | None = Field(description="Usage is rolled up until then; null before the first roll-up.")
    next_page_token: str | None


class SpentDay(BaseModel):
    model_config = _shows(_ANALYSIS["days"][0])
    day: date
    cost_usd: str
    trend_usd: str | None = Field(description="What the trend line says of it.")


class TrendOut(BaseModel):
    """Least squares over the last full days."""

    model_config = _shows(_ANALYSIS["trend"])
    slope_usd_per_day: str
    days: int
    first: date


class ProjectionOut(BaseModel):
    model_config = _shows(_ANALYSIS["projection"])
    month: str
    spent_usd: str
    predicted_usd: str = Field(description="The trend line for the rest of today and each day left.")
    total_usd: str
    days_left: int


class BandOut(BaseModel):
    """median ± 3 × 1.4826 × MAD of the last 28 full days."""

    model_config = _shows(_ANALYSIS["band"])
    median_usd: str
    low_usd: str
    high_usd: str
    days: int


class AnomalyOut(BaseModel):
    model_config = _shows(_ANALYSIS["anomalies"][0])
    day: date
    cost_usd: str
    high: bool
    times_the_band: str = Field(description="Half-widths of the band from the median.")


class ModelCosts(CostFigures):
    model_config = _shows(_ANALYSIS["models"][0])
    model: str
    share: str | None


class WasteOut(BaseModel):
    model_config = _shows(_ANALYSIS["waste"][0])
    pool: str
    outcome: str
    attempts: int
    cost_usd: str


class BudgetBurn(BaseModel):
    """Amounts are in the budget's unit."""

    model_config = _shows(_BUDGET)
    name: str
    key: str
    unit: str
    window: str
    limit: str
    spent: str
    reserved: str
    share: str | None
    per_hour: str | None
    per_day: str | None
    runs_out_at: datetime | None
    why: str


class SuggestionOut(BaseModel):
    model_config = _shows(_SUGGESTION)
    kind: str
    subject: str
    message: str
    savings_usd: str | None = Field(description="For the days that were looked at; null where that is not known.")
    basis: dict[str, str | int | float | None] = Field(description="The numbers it rests on.")


class CostAnalysis(BaseModel):
    model_config = _shows(_ANALYSIS)
    begin: date = Field(alias="from")
    to: date
    as_of: datetime | None
    totals: CostFigures
    synthetic: CostFigures
    days: list[SpentDay]
    daily_average_usd: str | None = Field(description="Of the full days; null without any.")
    trend: TrendOut | None
    projection: ProjectionOut | None
    band: BandOut | None
    anomalies: list[AnomalyOut]
    models: list[ModelCosts]
    waste: list[WasteOut]
    budgets: list[BudgetBurn]
    suggestions: list[SuggestionOut]
    missing: dict[str, str] = Field(description="What there was not enough data for, and what it needs.")


def _some(amount: Decimal | None) -> str | None:
    return None if amount is None else money(amount)


def _share(part: Decimal, whole: Decimal) -> str | None:
    return plain(round(part / whole, 4)) if whole > 0 else None


def analysis_out(found: Analysis) -> CostAnalysis:
    """The analysis as it is answered."""
    line, month, band, total = found.trend, found.projection, found.band, found.totals["cost_usd"]
    return CostAnalysis.model_validate(
        {
            "from": found.begin,
            "to": found.end,
            "as_of": found.as_of,
            "totals": figures(found.totals),
            "synthetic": figures(found.synthetic),
            "days": [
                {
                    "day": day.day,
                    "cost_usd": money(day.usd),
                    "trend_usd": money(line.at(day.day)) if line and day.day >= line.first else None,
                }
                for day in found.days
            ],
            "daily_average_usd": _some(found.daily_average),
            "trend": line and {"slope_usd_per_day": money(line.slope_usd), "days": line.days, "first": line.first},
            "projection": month
            and {
                "month": f"{month.month:%Y-%m}",
                "spent_usd": money(month.spent_usd),
                "predicted_usd": money(month.predicted_usd),
                "total_usd": money(month.total_usd),
                "days_left": month.days_left,
            },
            "band": band
            and {
                "median_usd": money(band.median),
                "low_usd": money(band.low),
                "high_usd": money(band.high),
                "days": band.days,
            },
            "models": [
                {"model": row["k0"], "share": _share(row["cost_usd"], total), **figures(row)} for row in found.models
            ],
            **_lists(found),
            "missing": dict(found.missing),
        }
    )


def _lists(found: Analysis) -> dict[str, Any]:
    return {
        "anomalies": [
            {"day": one.day, "cost_usd": money(one.usd), "high": one.high, "times_the_band": plain(round(one.times, 1))}
            for one in found.anomalies
        ],
        "waste": [
            {"pool": row["k0"], "outcome": row["k1"], "attempts": row["attempts"], "cost_usd": money(row["cost_usd"])}
            for row in found.waste
        ],
        "budgets": [
            {
                **{name: getattr(account, name) for name in ("name", "key", "unit", "window")},
                **{name: plain(getattr(account, name)) for name in ("limit", "spent", "reserved")},
                "share": None if rate.share is None else plain(Decimal(f"{rate.share:.4f}")),
                "per_hour": _some(rate.per_hour),
                "per_day": _some(rate.per_day),
                "runs_out_at": rate.runs_out_at,
                "why": rate.why,
            }
            for account, rate in found.budgets
        ],
        "suggestions": [
            {
                "kind": one.kind,
                "subject": one.subject,
                "message": one.message,
                "savings_usd": _some(one.savings_usd),
                "basis": dict(one.basis),
            }
            for one in found.suggestions
        ],
    }
