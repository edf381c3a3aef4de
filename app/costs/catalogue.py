"""The port over `genai-prices`: which model a name means, and what it cost at a moment. Offline: prices come with the
package.

The package matches names loosely in places (`claude-3-opus` is all that starts so), which would price a typo, or a new
model that begins like an old one. Here a name is taken only where it is one that the package spells out, or such a name
with a version behind it: a date, a build number, `latest`, `preview`. Everything else is unpriced, and an operator can
say what it costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from app.costs.quantities import normal_quantity
from app.costs.rates import Rates

VERSION = f"genai-prices/{version('genai-prices')}"
CACHED_NAMES = 8192

PROVIDERS = {
    "bedrock": "aws",
    "amazon-bedrock": "aws",
    "vertex": "google",
    "vertex_ai": "google",
    "gemini": "google",
    "xai": "x-ai",
    "mistralai": "mistral",
    "together_ai": "together",
    "moonshot": "moonshotai",
    "fireworks_ai": "fireworks",
}
"""Names of providers, as routers write them in front of a model, that are not the package's own."""
_VENDORS = ("openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "voyageai")
_BEDROCK = re.compile(r"(?:[a-z]{2,6}\.)?(?:anthropic|amazon|meta|mistral|cohere|ai21|deepseek)\.")
# The table says claude-sonnet-3.5; Anthropic's own order for that generation is claude-3-5-sonnet.
_CLAUDE_3 = re.compile(r"claude-(opus|sonnet|haiku)-3(?:[.-]([57]))?(?=$|-)")

_DATE = r"20\d\d-?[01]\d-?[0-3]\d|\d{2}-\d{2}(?:-20\d\d)?|\d{2}-20\d\d"
_AFTER = re.compile(
    rf"(?:[-@:_.](?:{_DATE}|\d{{3,4}}|v\d+(?::\d+)?|latest|preview|exp|experimental|thinking|default|stable))*"
)
_BEFORE = re.compile(r"(?:[a-z0-9_-]+[./])*")
_BUILD = re.compile(r"\d{3,4}|20\d{6}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of the package. `fixed`: its only price list; else it depends on the time."""

    provider: str
    model: str
    info: Any
    fixed: Rates | None

    def at(self, moment: datetime) -> Rates:
        """What it cost then."""
        return self.fixed if self.fixed is not None else _rates_of(self.info.get_prices(moment))


# Price lists live as long as the package's data, so their identity is a key; as many entries as the package has lists.
_COMPILED: dict[int, Rates] = {}


def _rates_of(prices: Any) -> Rates:
    rates = _COMPILED.get(id(prices))
    if rates is None:
        rates = _COMPILED[id(prices)] = compiled(prices)
    return rates


def load() -> None:
    """Read the package's data, about half a second, once a process."""
    _providers()


@lru_cache(CACHED_NAMES)
def find(name: str) -> Listed | None:
    """The model that a name means: `gpt-4o`, `openai/gpt-4o`, `anthropic:claude-opus-4-1`. None: nobody knows."""
    ref = _CLAUDE_3.sub(lambda match: "-".join(filter(None, ("claude-3", match[2], match[1]))), name.lower())
    for provider_id, rest in _readings(ref):
        found = _in_provider(provider_id, rest)
        if found is not None:
            return found
    return None


def _readings(ref: str) -> list[tuple[str, str]]:
    """(provider, its model) in the order in which they are tried."""
    prefix, separator, rest = _split(ref)
    if separator:
        provider = PROVIDERS.get(prefix, prefix)
        if provider in _providers():
            return [(provider, rest)]
    readings = [
        (provider.id, ref)
        for provider in _providers().values()
        if provider.model_match is not None and provider.model_match.is_match(ref)
    ]
    if _BEDROCK.match(ref):
        readings.append(("aws", ref))
    return readings + [(vendor, ref) for vendor in _VENDORS]


def _split(ref: str) -> tuple[str, str, str]:
    """At the first `/` or `:`."""
    cut = re.search(r"[/:]", ref)
    return (ref[: cut.start()], cut[0], ref[cut.end() :]) if cut else (ref, "", "")


def _in_provider(provider_id: str, ref: str) -> Listed | None:
    provider = _providers().get(provider_id)
    info = provider.find_model(ref, all_providers=list(_providers().values())) if provider is not None else None
    if info is None or not (ref == info.id.lower() or is_meant(info.match, ref)):
        return None
    from genai_prices.types import ModelPrice

    fixed = _rates_of(info.prices) if isinstance(info.prices, ModelPrice) else None
    return Listed(provider_id, info.id, info, fixed)


def is_meant(clause: Any, ref: str) -> bool:
    """Whether a matching clause of the package matches the whole name, but for a version."""
    judge = _JUDGES.get(type(clause).__name__)
    return judge is not None and judge(clause, ref)


def _around(literal: str, ref: str, *, before: bool = True) -> bool:
    start = ref.find(literal)
    if start < 0 or (start > 0 and not before) or _BEFORE.fullmatch(ref[:start]) is None:
        return False
    rest = ref[start + len(literal) :]
    digits = re.match(r"\d*", rest)
    assert digits is not None
    if digits[0]:
        # The literal ends inside a number ("…-flash-0" of "…-flash-001"): a build or a date, not another version.
        number = (re.search(r"\d*$", literal) or digits)[0] + digits[0]
        if _BUILD.fullmatch(number) is None:
            return False
        rest = rest[digits.end() :]
    elif literal.endswith(("@", "-")) and rest:
        rest = "-" + rest
    return _AFTER.fullmatch(rest) is not None


_JUDGES: dict[str, Callable[[Any, str], bool]] = {
    "ClauseEquals": lambda clause, ref: bool(clause.equals.lower() == ref),
    # A pattern that ends where the name ends says all of it, unless it only says what must not be there.
    "ClauseRegex": lambda clause, ref: (
        clause.regex.endswith("$") and "(?!" not in clause.regex and clause.is_match(ref)
    ),
    "ClauseStartsWith": lambda clause, ref: _around(clause.starts_with.lower(), ref, before=False),
    "ClauseEndsWith": lambda clause, ref: _around(clause.ends_with.lower(), ref),
    "ClauseContains": lambda clause, ref: _around(clause.contains.lower(), ref),
    "ClauseOr": lambda clause, ref: any(is_meant(part, ref) for part in clause.or_),
    "ClauseAnd": lambda clause, ref: clause.is_match(ref) and any(is_meant(part, ref) for part in clause.and_),
}


def compiled(prices: Any) -> Rates:
    """A price list of the package as ours."""
    units = _units()
    listed = {name: value for name, value in vars(prices).items() if value is not None and name in units}
    starts = sorted({tier.start for value in listed.values() for tier in getattr(value, "tiers", ())})
    return Rates.of(_list_for(listed, None), tuple((start, _list_for(listed, start)) for start in starts))


def _list_for(listed: Mapping[str, Any], start: int | None) -> dict[str, Decimal]:
    """USD a unit once the input has passed `start` tokens (None: before any tier)."""
    units = _units()
    found = {}
    for key, value in listed.items():
        price = getattr(value, "base", value)
        for tier in getattr(value, "tiers", ()):
            if start is not None and tier.start <= start:
                price = tier.price
        quantity, per = units[key]
        found[quantity] = price / per
    return found


@cache
def _units() -> dict[str, tuple[str, int]]:
    """By the package's key of a price: our name of the quantity, and for how many of it the price is."""
    from genai_prices.data_units import unit_data

    return {unit["price_key"]: (normal_quantity(name), unit["per"]) for name, unit in unit_data.items()}


@cache
def _providers() -> dict[str, Any]:
    """Those of the package, in its order."""
    from genai_prices.data import providers

    return {provider.id: provider for provider in providers}
