"""What would cost less: each piece of advice with the numbers that it rests on. Pure.

Savings are for the days that were looked at; None where nothing is known to be saved. No advice is given where its
numbers are missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from app.costs.analysis import Day, Trend
from app.costs.report import money

CARRIES = Decimal("0.4")
MAX_UNPRICED_SHARE = Decimal("0.05")
LEAST_RETRIES, HOPELESS = 20, Decimal("0.05")
RISING = Decimal("0.1")
_DATE = re.compile(r"[-@]20\d\d-?\d\d-?\d\d$")
BUDGET_SHARE = Decimal("0.8")


@dataclass(frozen=True, slots=True)
class ModelOption:
    """A model that could be used: USD a token, its quality (0..1), and how many observations that rests on."""

    model: str
    input_usd: Decimal
    output_usd: Decimal
    quality: float
    observations: int = 0

    def price(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Of so many tokens."""
        return self.input_usd * input_tokens + self.output_usd * output_tokens


class ModelOptions(Protocol):
    """Where models with their prices and qualities come from. Called once a report."""

    async def __call__(self) -> Sequence[ModelOption]:
        """All models that have a price and a quality."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What was spent on one model."""

    model: str
    usd: Decimal
    input_tokens: int
    output_tokens: int
    unpriced_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Retries:
    """Second and later attempts of a pool and type, and what they cost."""

    pool: str
    type: str
    attempts: int
    succeeded: int
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`basis`: the numbers, money as text."""

    kind: str
    subject: str
    message: str
    savings_usd: Decimal | None
    basis: Mapping[str, Any]


def substitutes(uses: Sequence[ModelUse], options: Sequence[ModelOption]) -> list[Suggestion]:
    """For each model that carries more than 40 % of the cost the cheapest one of no lower quality, at the tokens that
    were used. The saving is the real cost times the difference of the two prices: so what was cheaper than its input
    and output tokens say (cached ones) is not counted as saved twice."""
    total = sum((use.usd for use in uses), Decimal(0))
    known = {option.model: option for option in options}
    found = []
    for use in uses:
        own, tokens = known.get(use.model) or known.get(undated(use.model)), use.input_tokens + use.output_tokens
        if total <= 0 or use.usd <= CARRIES * total or own is None or tokens <= 0:
            continue
        if use.unpriced_tokens > MAX_UNPRICED_SHARE * tokens:
            continue
        now = own.price(use.input_tokens, use.output_tokens)
        others = [
            option for option in options if option.model not in (use.model, own.model) and option.quality >= own.quality
        ]
        if now <= 0 or not others:
            continue
        best = min(others, key=lambda option: (option.price(use.input_tokens, use.output_tokens), option.model))
        then = best.price(use.input_tokens, use.output_tokens)
        if then < now:
            found.append(_substitute(use, own, best, use.usd / total, then / now))
    return found


def undated(model: str) -> str:
    """A model as people call it: `openai/gpt-4o-2024-08-06` is gpt-4o."""
    return _DATE.sub("", model.rpartition("/")[2])


def _substitute(use: ModelUse, own: ModelOption, best: ModelOption, share: Decimal, ratio: Decimal) -> Suggestion:
    saved = use.usd * (1 - ratio)
    return Suggestion(
        "substitute_model",
        use.model,
        f"{use.model} carries {_percent(share)} of the cost; {best.model} is no worse (quality {best.quality:g} to "
        f"{own.quality:g}) and costs {_percent(1 - ratio)} less.",
        saved,
        {
            "share": f"{share:.4f}",
            "cost_usd": money(use.usd),
            "input_tokens": use.input_tokens,
            "output_tokens": use.output_tokens,
            "quality": own.quality,
            "alternative": best.model,
            "alternative_cost_usd": money(use.usd - saved),
            "alternative_quality": best.quality,
            "alternative_observations": best.observations,
        },
    )


def hopeless_retries(seen: Sequence[Retries]) -> list[Suggestion]:
    """Where fewer than 5 % of at least 20 second and later attempts succeed: what they cost."""
    return [
        Suggestion(
            "hopeless_retries",
            f"{one.pool}/{one.type}" if one.type else one.pool,
            f"Of {one.attempts:,} retries in pool {one.pool}{f' of type {one.type}' if one.type else ''} "
            f"{one.succeeded:,} succeeded: fewer attempts would lose nearly nothing.",
            one.usd if one.usd > 0 else None,
            {"retries": one.attempts, "succeeded": one.succeeded, "cost_usd": money(one.usd)},
        )
        for one in seen
        if one.attempts >= LEAST_RETRIES and one.succeeded < HOPELESS * one.attempts
    ]


def rising(line: Trend | None, days: Sequence[Day]) -> list[Suggestion]:
    """The trend points up, and the last seven full days cost a tenth more than the seven before: each weekday is in
    both, so that a Sunday at the beginning of the line is not taken for growth. Nothing with fewer than 14 full days.
    """
    if line is None or len(days) < 14:
        return []
    before, last = (sum((day.usd for day in week), Decimal(0)) for week in (days[-14:-7], days[-7:]))
    if line.slope <= 0 or before <= 0 or last < (1 + RISING) * before:
        return []
    return [
        Suggestion(
            "rising_trend",
            "total",
            f"The last 7 full days cost {_percent(last / before - 1)} more than the 7 before: look at what grew.",
            None,
            {
                "last_week_usd": money(last),
                "week_before_usd": money(before),
                "slope_usd_per_day": money(line.slope_usd),
            },
        )
    ]


def strained(name: str, unit: str, limit: Decimal, spent: Decimal, runs_out: str | None) -> list[Suggestion]:
    """A budget with more than 80 % of its limit spent."""
    if limit <= 0 or spent <= BUDGET_SHARE * limit:
        return []
    until = f"; at this rate it is gone at {runs_out}" if runs_out and spent < limit else ""
    return [
        Suggestion(
            "budget_strained",
            name,
            f"Budget {name} is {_percent(spent / limit)} spent{until}.",
            None,
            {"unit": unit, "limit": money(limit), "spent": money(spent), "runs_out_at": runs_out},
        )
    ]


def idle(agents: Mapping[str, int], usd_per_hour: Mapping[str, Decimal] | None = None) -> list[Suggestion]:
    """Agents that are idle and had no attempt for a day, by pool. What they cost is seldom known: `usd_per_hour` of an
    agent by pool."""
    found = []
    for pool, count in sorted(agents.items()):
        rate = (usd_per_hour or {}).get(pool)
        are = f"{count} agents have" if count != 1 else "1 agent has"
        found.append(
            Suggestion(
                "idle_agents",
                pool,
                f"{are} been idle in pool {pool} for 24 hours.",
                rate * count * 24 if rate is not None else None,
                {"agents": count, "usd_per_agent_hour": money(rate) if rate is not None else None},
            )
        )
    return found


def ordered(found: Sequence[Suggestion]) -> list[Suggestion]:
    """What saves most first, then what is not known to save."""
    return sorted(found, key=lambda one: (one.savings_usd is None, -(one.savings_usd or Decimal(0))))


def _percent(share: Decimal) -> str:
    return f"{100 * share:.0f} %"
