"""Unit prices as a linear form: what an amount of usage costs is one product a quantity. Pure.

Some quantities are part of others: cached input is part of the input, reasoning is part of the output. A part with a
price of its own pays that instead of the price of the whole; a part without one pays as the whole does. With `part`
and `whole` priced p and w a unit, that is `whole·w + part·(p − w)`, so a price list becomes one coefficient a quantity,
and the coefficients are made once a price list, not once a call. The sub-divisions are those of genai-prices
(`units.py`: a unit is part of every unit whose dimensions it has all of), which prices each "leaf" alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from genai_prices.data_units import unit_data

from app.costs.quantities import SYNONYMS, normal_quantity

ZERO = Decimal(0)
INPUT, OUTPUT, REQUESTS = "input_tokens", "output_tokens", "requests"
# Parts that exclude each other, so that their sum cannot exceed the whole.
_INPUT_PARTS = ("cached_input_tokens", "cache_write_tokens")
_OUTPUT_PARTS = ("reasoning_tokens",)
# Parts by another name than ours: all that `normal_quantity` would change.
_ALIASES = tuple(SYNONYMS.items())


@cache
def _dimensions() -> dict[str, frozenset[tuple[str, str]]]:
    """Of every quantity that genai-prices knows, by our name for it."""
    return {
        normal_quantity(name): frozenset(unit["dimensions"].items())
        for name, unit in unit_data.items()
        if name != REQUESTS
    }


@dataclass(frozen=True, slots=True)
class Rates:
    """One price list. `unit_prices`: USD a unit, by quantity. `tiers`: the whole call pays the prices of the highest
    tier whose threshold its input tokens exceed (a cliff, as providers bill), each as (threshold, unit prices).
    """

    unit_prices: Mapping[str, Decimal]
    tiers: tuple[tuple[int, Mapping[str, Decimal]], ...] = ()
    _forms: tuple[Mapping[str, Decimal], ...] = ()
    _starts: tuple[int, ...] = ()

    @classmethod
    def of(cls, unit_prices: Mapping[str, Decimal], tiers: tuple[tuple[int, Mapping[str, Decimal]], ...] = ()) -> Rates:
        """With its coefficients."""
        lists = [unit_prices, *(prices for _, prices in tiers)]
        return cls(unit_prices, tiers, tuple(map(coefficients, lists)), tuple(start for start, _ in tiers))

    def cost(
        self, input_tokens: int, output_tokens: int, quantities: Mapping[str, int | Decimal | float]
    ) -> Decimal | None:
        """USD; None where tokens were used that have no price.

        A quantity without a price is not paid for. Requests that are not reported count as one. Parts that exceed
        their whole cannot be part of it: they were counted beside it, and the whole is taken to be that much more.
        """
        if quantities:
            input_tokens += _beside(input_tokens, quantities, _INPUT_PARTS)
            output_tokens += _beside(output_tokens, quantities, _OUTPUT_PARTS)
        form = self._forms[bisect_left(self._starts, input_tokens)] if self._starts else self._forms[0]
        per_input, per_output = form.get(INPUT), form.get(OUTPUT)
        if (per_input is None and input_tokens) or (per_output is None and output_tokens):
            return None
        total = form.get(REQUESTS, ZERO) if REQUESTS not in quantities else ZERO
        if per_input is not None:
            total += per_input * input_tokens
        if per_output is not None:
            total += per_output * output_tokens
        for name, count in quantities.items():
            rate = form.get(name)
            if rate is not None:
                total += rate * (count if type(count) is int else exact(count))
        return total


def coefficients(unit_prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The linear form of a price list, by quantity and its synonyms; a zero coefficient of a part is left out."""
    known = _dimensions()
    # The largest parts last: what a unit costs more or less than the wholes it is part of, innermost whole included.
    order = sorted(unit_prices, key=lambda name: len(known.get(name, ())))
    form: dict[str, Decimal] = {}
    for name in order:
        mine = known.get(name)
        wholes = [other for other in form if mine and other in known and known[other] < mine]
        form[name] = unit_prices[name] - sum((form[other] for other in wholes), ZERO)
    form |= {alias: form[name] for alias, name in _ALIASES if name in form}
    return form


def exact(value: Decimal | float) -> Decimal:
    """A number as the decimal that it is written as."""
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def _beside(whole: int, quantities: Mapping[str, int | Decimal | float], names: tuple[str, ...]) -> int:
    parts = 0
    for name in names:
        count = quantities.get(name)
        if count is not None:
            parts += int(count)
    return parts if parts > whole >= 0 else 0
