"""The analysis of spending: reads what it needs, and has the pure functions judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from app.core.clock import Clock
from app.core.db import Database
from app.costs import advice, analysis
from app.costs.advice import ModelOption, ModelOptions, ModelUse, Retries, Suggestion
from app.costs.analysis import Anomaly, Band, Day, Projection, Trend
from app.costs.analysis_queries import Account, accounts, idle_agents, retries
from app.costs.burn import Burn, burn
from app.costs.report import DAY, Ask, Synthetic
from app.costs.report_queries import Row, sums

HISTORY_DAYS = 62
"""The longest month, its first days' trend and the band before them."""
MAX_MODELS = 100
MAX_WASTE = 100


@dataclass(frozen=True, slots=True)
class Analysis:
    """`missing`: what could not be said, and why."""

    begin: date
    end: date
    as_of: datetime | None
    totals: Row
    synthetic: Row
    days: Sequence[Day]
    daily_average: Decimal | None
    trend: Trend | None
    projection: Projection | None
    band: Band | None
    anomalies: Sequence[Anomaly]
    models: Sequence[Row]
    waste: Sequence[Row]
    budgets: Sequence[tuple[Account, Burn]]
    suggestions: Sequence[Suggestion]
    missing: Mapping[str, str]


class Analyst:
    """`options`: models with prices and qualities, for advice on substitutes."""

    def __init__(self, db: Database, clock: Clock, options: ModelOptions) -> None:
        self._db, self._clock, self.options = db, clock, options

    async def analyse(self, tenant: str | None, count: int, now: datetime | None = None) -> Analysis:
        """The last `count` UTC days, today included, of a tenant or of all."""
        now = (now or self._clock.now()).astimezone(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        begin, end = midnight - (count - 1) * DAY, midnight + DAY
        long_ago = midnight - max(count, HISTORY_DAYS) * DAY

        def asked(groups: tuple[str, ...] = (), since: datetime = begin, synthetic: Synthetic = "exclude") -> Ask:
            return Ask(groups, since, end, tenant=tenant, synthetic=synthetic)

        async with self._db.read() as connection:
            whole = await sums(connection, asked(), 1)
            daily = await sums(connection, asked(("day",), long_ago), 4000)
            models = (await sums(connection, asked(("model",)), 100_000)).rows
            waste = (await sums(connection, asked(("pool", "outcome")), 100_000)).rows
            known = await accounts(connection, tenant, now)
            tried = await retries(connection, tenant, now)
            idle = await idle_agents(connection, now)
        costs = {row["k0"]: row["cost_usd"] for row in daily.rows}
        options = await self.options()
        return self._judged(whole, costs, models, options, waste, known, tried, idle, begin.date(), now)

    def _judged(
        self,
        whole: Any,
        costs: Mapping[date, Decimal],
        models: Sequence[Row],
        options: Sequence[ModelOption],
        waste: Sequence[Row],
        known: Sequence[Account],
        tried: Sequence[Retries] | None,
        idle: Mapping[str, int] | None,
        begin: date,
        now: datetime,
    ) -> Analysis:
        today = now.date()
        days = analysis.full_days(costs, today)
        line, found = analysis.trend(days), analysis.band(days)
        count = (today - begin).days + 1
        mean = analysis.average(days, count - 1)
        budgets = [(one, burn(one.limit, one.spent, one.start, one.end, now, rolling=one.rolling)) for one in known]
        suggestions, missing = self._advice(models, options, tried, idle, line, days, budgets)
        if line is None:
            missing["trend"] = f"needs {analysis.TREND_DAYS} full days with usage before today; there are {len(days)}"
            missing["projection"] = missing["trend"]
        if found is None:
            missing["anomalies"] = f"needs {analysis.LEAST_BAND_DAYS} full days before today; there are {len(days)}"
        return Analysis(
            begin,
            today,
            whole.as_of,
            whole.totals,
            whole.synthetic,
            [Day(begin + number * DAY, costs.get(begin + number * DAY, Decimal(0))) for number in range(count)],
            mean,
            line,
            analysis.projection(costs, line, today),
            found,
            analysis.anomalies(days, found, Day(today, costs.get(today, Decimal(0)))),
            sorted(models, key=lambda row: -row["cost_usd"])[:MAX_MODELS],
            sorted((row for row in waste if row["k1"]), key=lambda row: -row["cost_usd"])[:MAX_WASTE],
            budgets,
            suggestions,
            missing,
        )

    def _advice(
        self,
        models: Sequence[Row],
        options: Sequence[ModelOption],
        tried: Sequence[Retries] | None,
        idle: Mapping[str, int] | None,
        line: Trend | None,
        days: Sequence[Day],
        budgets: Sequence[tuple[Account, Burn]],
    ) -> tuple[list[Suggestion], dict[str, str]]:
        missing: dict[str, str] = {}
        uses = [_use(row) for row in models]
        for name, looked in (("hopeless_retries", tried), ("idle_agents", idle)):
            if looked is None:
                missing[name] = "there were too many attempts to count"
        found = [
            *advice.substitutes(uses, options),
            *advice.hopeless_retries(tried or ()),
            *advice.rising(line, days),
            *advice.idle(idle or {}),
        ]
        for account, rate in budgets:
            at = rate.runs_out_at
            name = f"{account.name} ({account.key})" if account.key else account.name
            runs_out = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at else None
            found += advice.strained(name, account.unit, account.limit, account.spent, runs_out)
        return advice.ordered(found), missing


def _use(row: Row) -> ModelUse:
    tokens = (int(row[name]) for name in ("input_tokens", "output_tokens", "unpriced_tokens"))
    return ModelUse(row["k0"], row["cost_usd"], *tokens)
