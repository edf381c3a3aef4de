"""What usage cost at a moment: operators' own prices first, then those of `genai-prices` (`catalogue.py`).

Conventions, which are those of genai-prices and of OpenTelemetry: cached input and cache writes are part of
`input_tokens`, reasoning is part of `output_tokens`. Neither is paid twice: a part pays its own price if it has one,
and as the whole does if not (`rates.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson

from app.core.batch import Batcher
from app.core.db import Database
from app.costs import catalogue
from app.costs.quantities import normal_quantity
from app.costs.rates import Rates

TOPIC = "prices"
COLUMNS = "id, model, effective_from, unit_prices, note, created_by, created_at"
_ALL = f"SELECT {COLUMNS} FROM prices ORDER BY model, effective_from, id"  # noqa: S608 - only constants


@dataclass(frozen=True, slots=True)
class Priced:
    """USD, and which price list said so; (None, None): unpriced."""

    cost_usd: Decimal | None
    version: str | None


UNPRICED = Priced(None, None)


@dataclass(frozen=True, slots=True)
class Override:
    """A row of `prices`. `unit_prices` None: from then on the package's price counts again."""

    id: UUID
    model: str
    effective_from: datetime
    unit_prices: Mapping[str, Decimal] | None
    note: str
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Override:
        prices = None if row["unit_prices"] is None else orjson.loads(row["unit_prices"])
        listed = None if prices is None else {normal_quantity(name): Decimal(text) for name, text in prices.items()}
        return cls(**{**dict(row), "unit_prices": listed})

    @property
    def version(self) -> str:
        return f"override/{self.id}"


@dataclass(frozen=True, slots=True)
class InForce:
    """The price list of a model at a moment. `source`: override or genai-prices; `listed_as`: provider/model there."""

    rates: Rates
    source: str
    version: str
    effective_from: datetime | None = None
    listed_as: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Timeline:
    """One model's overrides, one for each moment from which something counts."""

    starts: list[datetime]
    lists: list[tuple[Rates, str] | None]
    rows: list[Override]

    @classmethod
    def of(cls, rows: Iterable[Override]) -> _Timeline:
        """`rows` in order of moment and id: of one moment the latest id is the one that counts."""
        last = {row.effective_from: row for row in rows}
        ordered = [last[moment] for moment in sorted(last)]
        return cls(
            [row.effective_from for row in ordered],
            [None if row.unit_prices is None else (Rates.of(row.unit_prices), row.version) for row in ordered],
            ordered,
        )


class PriceBook:
    """All overrides as of the last `refresh`, over the package's prices. Asking it costs no query."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # One read at a time: an older one must not replace a newer one.
        self._reads: Batcher[None, None] = Batcher(self._read_for, limit=10_000)
        self._timelines: dict[str, _Timeline] = {}

    def price(
        self,
        model: str,
        input_tokens: int,
        output_tokens: int,
        quantities: Mapping[str, int | Decimal | float],
        at: datetime,
    ) -> Priced:
        """What a usage entry cost at `at` (aware). Unpriced: nobody knows the model, or tokens of it have no price.

        `model` and the names of `quantities` are as `quantities.read_usage` gives them.
        """
        timeline = self._timelines.get(model)
        if timeline is not None:
            place = bisect_right(timeline.starts, at) - 1
            own = timeline.lists[place] if place >= 0 else None
            if own is not None:
                cost = own[0].cost(input_tokens, output_tokens, quantities)
                return UNPRICED if cost is None else Priced(cost, own[1])
        listed = catalogue.find(model)
        if listed is None:
            return UNPRICED
        cost = (listed.fixed or listed.at(at)).cost(input_tokens, output_tokens, quantities)
        return UNPRICED if cost is None else Priced(cost, catalogue.VERSION)

    def override(self, model: str, at: datetime) -> Override | None:
        """The operator's own price in force; None: there is none, or it has ended."""
        timeline = self._timelines.get(model)
        place = -1 if timeline is None else bisect_right(timeline.starts, at) - 1
        if timeline is None or place < 0 or timeline.rows[place].unit_prices is None:
            return None
        return timeline.rows[place]

    def in_force(self, model: str, at: datetime) -> InForce | None:
        """The price list of a model; None: unpriced."""
        own = self.override(model, at)
        if own is not None:
            assert own.unit_prices is not None
            return InForce(Rates.of(own.unit_prices), "override", own.version, own.effective_from, note=own.note)
        listed = catalogue.find(model)
        if listed is None or not (rates := listed.at(at)).unit_prices:
            return None
        return InForce(rates, "genai-prices", catalogue.VERSION, listed_as=f"{listed.provider}/{listed.model}")

    async def refresh(self) -> None:
        """Read the overrides, in a read that begins after this call; callers that come together share one."""
        await self._reads.put(None)

    async def tick(self) -> float | None:
        """The loop's pass: what a lost hint would have told."""
        await self.refresh()
        return None

    def follow(self, rows: Iterable[Override]) -> None:
        """Use these overrides, which are in order of model, moment and id."""
        self._timelines = {model: _Timeline.of(group) for model, group in groupby(rows, key=lambda row: row.model)}

    async def _read_for(self, callers: Sequence[None]) -> Sequence[None]:
        async with self._db.read() as connection:
            self.follow([Override.of(dict(row)) for row in await connection.fetch(_ALL)])
        return callers
