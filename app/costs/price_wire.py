"""JSON shapes of `/v1/prices`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.costs.prices import InForce, Override
from app.costs.quantities import MAX_MODEL, MAX_NAMES, normal_model, normal_quantity

MAX_UNIT_USD = 1_000_000
MILLION_PLACES = 6
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

PRICE: dict[str, Any] = {
    "id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10",
    "model": "house/llama-70b",
    "effective_from": "2026-11-20T20:25:00Z",
    "unit_prices": {"input_tokens": "0.0000025", "output_tokens": "0.00001"},
    "note": "contract of November",
    "created_by": "3f9c21ab07",
    "created_at": "2026-11-20T20:25:00Z",
}
IN_FORCE: dict[str, Any] = {
    "model": "gpt-4o",
    "at": "2026-11-20T20:25:00Z",
    "source": "genai-prices",
    "version": "genai-prices/0.2.3",
    "listed_as": "openai/gpt-4o",
    "effective_from": None,
    "unit_prices": {"input_tokens": "0.0000025", "output_tokens": "0.00001", "cached_input_tokens": "0.00000125"},
    "tiers": [],
    "note": "",
}


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its offset, e.g. 2026-11-20T20:25:00Z")
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("between 2000 and 2100") from None
    if not FIRST <= value <= LAST:
        raise ValueError("between 2000 and 2100")
    return value


def _model(name: str) -> str:
    normal = normal_model(name)
    if not normal or normal != name.strip():
        raise ValueError("a model's name is 1 to 200 characters without control characters")
    return normal


PriceTime = Annotated[datetime, AfterValidator(_aware)]
ModelName = Annotated[str, Field(min_length=1, max_length=MAX_MODEL), AfterValidator(_model)]
Quantity = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
Usd = Annotated[Decimal, Field(ge=0, le=MAX_UNIT_USD, max_digits=30, decimal_places=24, allow_inf_nan=False)]
Millions = Annotated[
    Decimal, Field(ge=0, le=MAX_UNIT_USD * 10**6, max_digits=30, decimal_places=18, allow_inf_nan=False)
]


class PriceIn(BaseModel):
    """A price list: `unit_prices` (USD a unit) or `per_million` (USD a million units), by the name of the quantity.

    Cached input and cache writes are part of the input, reasoning is part of the output: a part pays its own price if
    one is named, else as the whole does. Quantities that are not named cost nothing, but tokens without a price leave
    usage unpriced.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"per_million": {"input_tokens": "2.5", "output_tokens": "10"}, "note": "contract of November"},
                {"unit_prices": {"requests": "0.01"}, "effective_from": "2026-11-20T20:25:00Z"},
            ]
        },
    )
    unit_prices: dict[Quantity, Usd] | None = Field(None, min_length=1, max_length=MAX_NAMES)
    per_million: dict[Quantity, Millions] | None = Field(None, min_length=1, max_length=MAX_NAMES)
    effective_from: PriceTime | None = Field(
        None, description="null: now. In the past: what was used since is priced again."
    )
    note: str = Field("", max_length=500, description="For people.")

    @model_validator(mode="after")
    def _one_list(self) -> PriceIn:
        if (self.unit_prices is None) == (self.per_million is None):
            raise ValueError("give either unit_prices or per_million")
        given = self.unit_prices if self.unit_prices is not None else self.per_million or {}
        if len({normal_quantity(name) for name in given}) < len(given):
            raise ValueError("two of the names mean the same quantity")
        return self

    def listed(self) -> dict[str, Decimal]:
        """USD a unit, by our names of the quantities."""
        if self.unit_prices is not None:
            return {normal_quantity(name): price for name, price in self.unit_prices.items()}
        return {
            normal_quantity(name): price.scaleb(-MILLION_PLACES) for name, price in (self.per_million or {}).items()
        }


class PriceOut(BaseModel):
    """`unit_prices` null: from then on the built-in price counts again."""

    model_config = ConfigDict(json_schema_extra={"examples": [PRICE]})
    id: str
    model: str
    effective_from: datetime
    unit_prices: dict[str, str] | None
    note: str
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, row: Override) -> PriceOut:
        return cls(
            id=str(row.id),
            model=row.model,
            effective_from=row.effective_from,
            unit_prices=None if row.unit_prices is None else shown(row.unit_prices),
            note=row.note,
            created_by=row.created_by,
            created_at=row.created_at,
        )


class PricePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [PRICE], "next_page_token": None}]})
    items: list[PriceOut]
    next_page_token: str | None


class TierOut(BaseModel):
    """What the whole of a call costs whose input is more than so many tokens."""

    above_input_tokens: int
    unit_prices: dict[str, str]


class InForceOut(BaseModel):
    """What a model costs at a moment. `source`: override or genai-prices; `listed_as`: where that one has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [IN_FORCE]})
    model: str
    at: datetime
    source: str
    version: str
    listed_as: str | None
    effective_from: datetime | None
    unit_prices: dict[str, str]
    tiers: list[TierOut]
    note: str

    @classmethod
    def of(cls, model: str, at: datetime, found: InForce) -> InForceOut:
        tiers = [TierOut(above_input_tokens=start, unit_prices=shown(prices)) for start, prices in found.rates.tiers]
        return cls(
            model=model,
            at=at,
            source=found.source,
            version=found.version,
            listed_as=found.listed_as,
            effective_from=found.effective_from,
            unit_prices=shown(found.rates.unit_prices),
            tiers=tiers,
            note=found.note,
        )


def shown(unit_prices: Any) -> dict[str, str]:
    """Decimals as people write them: no exponent, no zeros behind."""
    return {name: plain(price) for name, price in unit_prices.items()}


def plain(value: Decimal) -> str:
    """A decimal without an exponent and without zeros behind the point."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
