"""Which model to take for a task: a score of quality, speed and cost. Pure.

    tokens = table[input type] × (0.5 + 1.5 × complexity) × efficiency           rounded to whole tokens
    score  = quality × quality_priority × (0.5 + complexity)
           + speed × speed_priority
           + 1 / (1 + cost in USD) × (1 − quality_priority − speed_priority)

The formulas are those of the brief (issue 6). Models that nobody has rated or priced, and those above the budget, are
dropped, and the answer says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from app.costs.prices import Priced
from app.costs.scores import Rating

GENERAL = "general"
TOKENS: Mapping[str, tuple[int, int]] = {
    "code_generation": (500, 2000),
    "security_analysis": (1000, 1500),
    "performance_testing": (800, 1200),
    GENERAL: (300, 800),
}
"""Input and output tokens of a task of each type, at a third of the highest complexity."""

type PriceOf = Callable[[str, int, int], Priced]
"""What so many input and output tokens of a model cost."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. The two priorities are 0..1 and together at most 1: the rest is the priority of cost."""

    input_type: str = GENERAL
    complexity: float = 0.5
    quality_priority: float = 0.5
    speed_priority: float = 0.2
    budget_usd: Decimal | None = None

    @property
    def cost_priority(self) -> float:
        return max(0.0, 1.0 - self.quality_priority - self.speed_priority)


@dataclass(frozen=True, slots=True)
class Option:
    """A model that would do."""

    model: str
    rating: Rating
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    price_version: str
    score: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """A model that is out: `reason` is unrated, unpriced or over_budget."""

    model: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Advice:
    """`options`: the best first; none where no model fits. `input_type`: the row of the table that was used."""

    input_type: str
    options: tuple[Option, ...]
    dropped: tuple[Dropped, ...]
    reasoning: tuple[str, ...]


def estimate(input_type: str, complexity: float, efficiency: float) -> tuple[int, int]:
    """Input and output tokens; an unknown type counts as `general`."""
    factor = (Decimal("0.5") + Decimal("1.5") * Decimal(repr(complexity))) * Decimal(repr(efficiency))
    base = TOKENS.get(input_type, TOKENS[GENERAL])
    counts = [int((count * factor).quantize(Decimal(1), ROUND_HALF_UP)) for count in base]
    return counts[0], counts[1]


def score_of(quality: float, speed: float, cost_usd: Decimal, wanted: Wanted) -> float:
    """The score; only the cost's part has an upper bound of its own."""
    return (
        quality * wanted.quality_priority * (0.5 + wanted.complexity)
        + speed * wanted.speed_priority
        + 1.0 / (1.0 + float(cost_usd)) * wanted.cost_priority
    )


def recommend(wanted: Wanted, candidates: Mapping[str, Rating | None], price: PriceOf) -> Advice:
    """The models that fit, best first; of equal scores the cheaper, then the earlier name. None: nobody rated it."""
    known = wanted.input_type in TOKENS
    asked = wanted if known else replace(wanted, input_type=GENERAL)
    options: list[Option] = []
    dropped: list[Dropped] = []
    for model, rating in candidates.items():
        judged = _judge(asked, model, rating, price)
        (options if isinstance(judged, Option) else dropped).append(judged)  # type: ignore[arg-type]
    options.sort(key=lambda option: (-option.score, option.cost_usd, option.model))
    dropped.sort(key=lambda item: item.model)
    reasoning = [] if known else [f"The type {wanted.input_type!r} has no estimate of its own: {GENERAL!r} is used."]
    if options:
        reasoning += _why(asked, options)
    reasoning += [f"{item.model} is out: {item.detail}" for item in dropped]
    return Advice(asked.input_type, tuple(options), tuple(dropped), tuple(reasoning))


def _judge(wanted: Wanted, model: str, rating: Rating | None, price: PriceOf) -> Option | Dropped:
    if rating is None:
        return Dropped(model, "unrated", "nobody has rated its quality and speed.")
    counts = estimate(wanted.input_type, wanted.complexity, rating.efficiency)
    priced = price(model, *counts)
    if priced.cost_usd is None:
        return Dropped(model, "unpriced", "nobody knows its price.")
    cost = priced.cost_usd
    if wanted.budget_usd is not None and cost > wanted.budget_usd:
        return Dropped(model, "over_budget", f"it would cost {_usd(cost)}, above {_usd(wanted.budget_usd)}.")
    score = score_of(rating.quality, rating.speed, cost, wanted)
    return Option(model, rating, *counts, cost, priced.version or "", score)


def _why(wanted: Wanted, options: list[Option]) -> list[str]:
    best = options[0]
    why = [
        f"{best.model} scores {best.score:.4f}: quality {best.rating.quality:.3f} × {wanted.quality_priority:g} × "
        f"(0.5 + {wanted.complexity:g}), speed {best.rating.speed:.3f} × {wanted.speed_priority:g}, cost "
        f"1/(1 + {_number(best.cost_usd)}) × {wanted.cost_priority:g}.",
        f"A task of this kind is estimated at {best.input_tokens:,} tokens in and {best.output_tokens:,} out, "
        f"{_usd(best.cost_usd)}.",
    ]
    if len(options) > 1:
        next_ = options[1]
        why.append(f"Next is {next_.model} with {next_.score:.4f}, at {_usd(next_.cost_usd)}.")
    cheapest = min(options, key=lambda option: option.cost_usd)
    if cheapest.cost_usd < best.cost_usd:
        why.append(f"The cheapest that fits is {cheapest.model}, at {_usd(cheapest.cost_usd)}.")
    seen = best.rating
    if seen.quality_observations or seen.speed_observations:
        why.append(
            f"Its quality moved from {seen.said.quality:.3f} with {seen.quality_observations:,} observations, its "
            f"speed from {seen.said.speed:.3f} with {seen.speed_observations:,}."
        )
    return why


def _number(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _usd(value: Decimal) -> str:
    return f"{_number(value)} USD"
