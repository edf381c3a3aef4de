"""What an attempt is expected to use: from its pool's own history once there is enough, else from a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_UP, Decimal
from typing import NamedTuple, Protocol

from app.core.db import Database
from app.costs.recommend import estimate
from app.costs.records import BudgetRecord

WINDOWS_S = (60.0, 600.0, 6_000.0, 86_400.0)
SAMPLE = 20_000
_GRAIN = Decimal("0.000000001")

# The attempts of the shortest window that holds enough, whatever they used: one that reported nothing cost nothing.
_LEARN = """
WITH tried AS MATERIALIZED (
  SELECT a.task_id, a.fence, a.pool FROM attempts a
  WHERE a.finished_at > now() - make_interval(secs => $1) AND a.counted LIMIT $2
), seen AS (
  SELECT r.*, t.type, CASE WHEN t.complexity <= 0.3 THEN 'low' WHEN t.complexity <= 0.7 THEN 'medium' ELSE 'high' END
    AS band FROM tried r JOIN tasks t ON t.id = r.task_id
), counts AS (
  SELECT pool, type, band, count(*) AS attempts FROM seen GROUP BY 1, 2, 3
), sums AS (
  SELECT s.pool, s.type, s.band, u.model, COALESCE(sum(u.cost_usd), 0) AS usd,
    sum(u.input_tokens + u.output_tokens)::numeric AS tokens
  FROM seen s JOIN usage u ON u.task_id = s.task_id AND u.fence = s.fence AND u.kind = 'reported'
    AND u.model <> '' GROUP BY 1, 2, 3, 4
), told AS (
  SELECT c.pool, c.type, c.band, COALESCE(s.model, '') AS model, c.attempts, COALESCE(s.usd, 0) AS usd,
    COALESCE(s.tokens, 0) AS tokens FROM counts c LEFT JOIN sums s USING (pool, type, band)
), gone AS (
  DELETE FROM cost_estimates e USING counts c
  WHERE e.pool = c.pool AND e.type = c.type AND e.band = c.band
    AND NOT EXISTS (SELECT FROM told n WHERE (n.pool, n.type, n.band, n.model) = (e.pool, e.type, e.band, e.model))
), kept AS (
  INSERT INTO cost_estimates (pool, type, band, model, attempts, usd, tokens, updated_at)
  SELECT pool, type, band, model, attempts, usd, tokens, clock_timestamp() FROM told ORDER BY 1, 2, 3, 4
  ON CONFLICT (pool, type, band, model) DO UPDATE SET attempts = EXCLUDED.attempts, usd = EXCLUDED.usd,
    tokens = EXCLUDED.tokens, updated_at = EXCLUDED.updated_at
)
SELECT (SELECT count(*) FROM tried)
"""
_ALL = "SELECT pool, type, band, model, attempts, usd, tokens, updated_at FROM cost_estimates"


class Need(NamedTuple):
    """Expected of one model in one attempt."""

    usd: Decimal
    tokens: Decimal


class Priced(Protocol):
    @property
    def cost_usd(self) -> Decimal | None: ...


class Prices(Protocol):
    """`prices.PriceBook`, as far as estimates need it."""

    def price(
        self, model: str, input_tokens: int, output_tokens: int, quantities: Mapping[str, Decimal], at: datetime
    ) -> Priced: ...


def band(complexity: float) -> str:
    """The bands of the metrics: low to 0.3, medium to 0.7, high."""
    return "low" if complexity <= 0.3 else "medium" if complexity <= 0.7 else "high"


def amount(budget: BudgetRecord, expected: Mapping[str, Need]) -> Decimal:
    """What an attempt is expected to take of a budget, in its unit."""
    if budget.unit == "requests":
        return Decimal(1)
    model = budget.scope.model
    needs = [need for name, need in expected.items() if model is None or name == model]
    total = sum((need.usd if budget.unit == "usd" else need.tokens for need in needs), Decimal(0))
    return total.quantize(_GRAIN, ROUND_UP)


@dataclass(frozen=True, slots=True)
class _Learned:
    attempts: int
    needs: Mapping[str, Need]


class Estimates:
    """`learn` (one manager's) writes what the last attempts used, `refresh` reads it, `expect` answers from memory.

    An estimate is the mean over the last attempts of the same pool, type and band of complexity, once there are
    `enough`: a single attempt may cost more, and a budget is passed by that at most.
    """

    def __init__(self, db: Database, prices: Prices, default_model: str, enough: int) -> None:
        self._db, self._prices, self._default_model, self._enough = db, prices, default_model, enough
        self._learned: dict[tuple[str, str, str], _Learned] = {}
        self._models: dict[str, str] = {}
        self._tables: dict[tuple[str, str, float], tuple[datetime, Mapping[str, Need]]] = {}

    async def learn(self) -> None:
        """A pass: right when doubled or cut short."""
        async with self._db.hot() as connection:
            for seconds in WINDOWS_S:
                if await connection.fetchval(_LEARN, seconds, SAMPLE) >= SAMPLE:
                    break

    async def refresh(self) -> None:
        """Read what was learned."""
        async with self._db.read() as connection:
            rows = await connection.fetch(_ALL)
        needs: dict[tuple[str, str, str], dict[str, Need]] = {}
        attempts: dict[tuple[str, str, str], int] = {}
        used: dict[str, dict[str, Decimal]] = {}
        for row in rows:
            key = (row["pool"], row["type"], row["band"])
            attempts[key] = row["attempts"]
            mine = needs.setdefault(key, {})
            if row["model"]:
                usd = row["usd"] or self._unpriced(row["model"], int(row["tokens"]), row["updated_at"])
                mine[row["model"]] = Need(usd / row["attempts"], row["tokens"] / row["attempts"])
                of_pool = used.setdefault(row["pool"], {})
                of_pool[row["model"]] = of_pool.get(row["model"], Decimal(0)) + row["tokens"]
        self._learned = {key: _Learned(attempts[key], needs[key]) for key in needs}
        self._models = {pool: max(of, key=lambda model: of[model]) for pool, of in used.items()}
        self._tables.clear()

    def expect(self, pool: str, task_type: str, complexity: float, now: datetime) -> Mapping[str, Need]:
        """By model, what one attempt is expected to use."""
        learned = self._learned.get((pool, task_type, band(complexity)))
        if learned is not None and learned.attempts >= self._enough:
            return learned.needs
        key = (pool, task_type, complexity)
        known = self._tables.get(key)
        if known is None or known[0].date() != now.date():
            if len(self._tables) > 10_000:
                self._tables.clear()
            known = self._tables[key] = (now, self._by_table(pool, task_type, complexity, now))
        return known[1]

    def model_of(self, pool: str) -> str:
        """The model that the pool's tasks use most, else the default."""
        return self._models.get(pool, self._default_model)

    def _unpriced(self, model: str, tokens: int, at: datetime) -> Decimal:
        """What a model without a price is taken to cost: as much as the default one."""
        for name in (model, self._default_model):
            cost = self._prices.price(name, tokens, 0, {}, at).cost_usd
            if cost is not None:
                return Decimal(0) if name == model else cost
        return Decimal(0)

    def _by_table(self, pool: str, task_type: str, complexity: float, now: datetime) -> Mapping[str, Need]:
        tokens = estimate(task_type, complexity, 1.0)
        for model in dict.fromkeys((self.model_of(pool), self._default_model)):
            cost = self._prices.price(model, *tokens, {}, now).cost_usd
            if cost is not None:
                return {model: Need(cost, Decimal(sum(tokens)))}
        return {self.model_of(pool): Need(Decimal(0), Decimal(sum(tokens)))}
