"""Ratings of models: what operators say, what people thought, what attempts showed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import Invalid, NotFound
from app.costs import catalogue
from app.costs.advice import ModelOption
from app.costs.prices import PriceBook
from app.costs.recommend import Advice, Wanted, recommend
from app.costs.scores import TABLE, Measured, Rating, Said, rate

RECENT = timedelta(days=7)
MOST_ROWS = 20_000
"""Observations are of the newest usage rows of the last week, at most so many."""
FRESH_S = 30.0
UNKNOWN = Said(0.5, 0.5)

_SCORES = "SELECT model, quality, speed, efficiency, good, bad FROM model_scores"
_PUT = """
INSERT INTO model_scores (model, quality, speed, efficiency, updated_at)
VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (model) DO UPDATE SET quality = EXCLUDED.quality, speed = EXCLUDED.speed, efficiency = EXCLUDED.efficiency,
  updated_at = EXCLUDED.updated_at
"""
_FEEDBACK = """
INSERT INTO model_scores AS s (model, good, bad) VALUES ($1, $2, $3)
ON CONFLICT (model) DO UPDATE SET good = s.good + EXCLUDED.good, bad = s.bad + EXCLUDED.bad
"""
# Ids of tasks are in the order of time, so the newest usage is read from the end of the primary key. How long an
# attempt took says something of a model only where it used no other.
_MEASURED = """
WITH recent AS (
  SELECT task_id, fence, model, type, outcome FROM usage
  WHERE task_id >= $1 AND kind = 'reported' AND model <> '' AND NOT synthetic AND outcome IN ('succeeded', 'failed')
  ORDER BY task_id DESC LIMIT $2
), used AS (
  SELECT task_id, fence, model, min(type) AS type, min(outcome) AS outcome FROM recent GROUP BY task_id, fence, model
), tried AS (
  SELECT u.model, u.type, u.outcome,
    CASE WHEN u.outcome = 'succeeded' AND count(*) OVER (PARTITION BY u.task_id, u.fence) = 1
      THEN ln(greatest(0.001, extract(epoch FROM a.finished_at - a.started_at)::float8)) END AS log_s
  FROM used u LEFT JOIN attempts a ON a.task_id = u.task_id AND a.fence = u.fence
)
SELECT model, type, count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
  count(*) FILTER (WHERE outcome = 'failed') AS failed, count(log_s) AS timed, coalesce(avg(log_s), 0) AS mean_log_s
FROM tried GROUP BY model, type
"""


class ModelNotFound(NotFound):
    code, title = "model_not_found", "Nobody has rated this model"


MILLION = 1_000_000


class NoModelFits(Invalid):
    """`extra["errors"]` says of each candidate why not."""

    code, title = "no_model_fits", "No model fits"


class Models:
    """Rate models, and recommend one. What was measured is read again after 30 seconds."""

    def __init__(self, db: Database, book: PriceBook, clock: Clock) -> None:
        self._db, self._book, self._clock = db, book, clock
        self._measured: list[Measured] = []
        self._fresh_until = -1.0
        self._reading = asyncio.Lock()

    async def put(self, model: str, quality: float, speed: float, efficiency: float) -> Rating:
        """Say how good (0..1) and fast (0..1) a model is, and how many tokens it needs (1: as many as estimated)."""
        async with self._db.hot() as connection:
            await connection.execute(_PUT, model, quality, speed, efficiency)
        return (await self.ratings())[model]

    async def feedback(self, model: str, good: bool) -> Rating:
        """One person's opinion; raises ModelNotFound."""
        if model not in await self._said():
            raise ModelNotFound(f"Nobody has rated {model!r}. Rate it first: PUT /v1/models/{model}")
        async with self._db.hot() as connection:
            await connection.execute(_FEEDBACK, model, int(good), int(not good))
        return (await self.ratings())[model]

    async def ratings(self) -> dict[str, Rating]:
        """Every rated model's scores, by name in order."""
        said = await self._said()
        ratings = rate(said, _named_as_rated(await self._observed(), said))
        return dict(sorted(ratings.items()))

    async def recommend(self, wanted: Wanted, candidates: Sequence[str] | None) -> Advice:
        """The best of `candidates` (None: every rated model); raises NoModelFits."""
        ratings = await self.ratings()
        await self._book.refresh()
        at = self._clock.now()
        asked = {name: ratings.get(name) for name in (candidates if candidates is not None else ratings)}
        advice = recommend(wanted, asked, lambda model, input_, output: self._book.price(model, input_, output, {}, at))
        if not advice.options:
            why = [{"path": item.model, "message": item.detail, "reason": item.reason} for item in advice.dropped]
            raise NoModelFits(
                " ".join([f"None of {len(asked)} models fits.", *advice.reasoning[:20]]), extra={"errors": why}
            )
        return advice

    async def options(self) -> list[ModelOption]:
        """Every rated model that has a price, with what a token costs now."""
        at, found = self._clock.now(), []
        for model, rating in (await self.ratings()).items():
            given, made = (self._book.price(model, *tokens, {}, at).cost_usd for tokens in ((MILLION, 0), (0, MILLION)))
            if given is not None and made is not None:
                prices = (given / MILLION, made / MILLION)
                found.append(ModelOption(model, *prices, rating.quality, rating.quality_observations))
        return found

    async def _said(self) -> dict[str, Said]:
        async with self._db.read() as connection:
            rows = await connection.fetch(_SCORES)
        said = dict(TABLE)
        for row in rows:
            known = TABLE.get(row["model"], UNKNOWN)
            said[row["model"]] = Said(
                known.quality if row["quality"] is None else row["quality"],
                known.speed if row["speed"] is None else row["speed"],
                known.efficiency if row["efficiency"] is None else row["efficiency"],
                row["good"],
                row["bad"],
            )
        return said

    async def _observed(self) -> list[Measured]:
        async with self._reading:
            if self._clock.monotonic() >= self._fresh_until:
                async with self._db.read() as connection:
                    rows = await connection.fetch(_MEASURED, _first_id(self._clock.now() - RECENT), MOST_ROWS)
                self._measured = [Measured(*row) for row in rows]
                self._fresh_until = self._clock.monotonic() + FRESH_S
            return self._measured


def _named_as_rated(measured: Sequence[Measured], said: dict[str, Said]) -> list[Measured]:
    """What agents call `openai/gpt-4o` or `gpt-4o-2024-08-06` counts for `gpt-4o` where that one is rated."""
    by_listing = {listed: model for model in said if (listed := _listing(model)) is not None}
    named = []
    for row in measured:
        listing = None if row.model in said else _listing(row.model)
        name = row.model if listing is None else by_listing.get(listing, row.model)
        named.append(Measured(name, row.type, row.succeeded, row.failed, row.timed, row.mean_log_s))
    return named


def _listing(model: str) -> tuple[str, str] | None:
    found = catalogue.find(model)
    return None if found is None else (found.provider, found.model)


def _first_id(at: datetime) -> UUID:
    """The least UUIDv7 of a time."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))
