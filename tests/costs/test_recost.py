"""Recosting on a real database: the sum is right whatever happened on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import uuid_utils

from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.costs.price_service import Prices
from app.costs.prices import PriceBook
from app.costs.recost import Recosts

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CENT, TWO_CENTS = {"input_tokens": Decimal("0.01")}, {"input_tokens": Decimal("0.02")}
_INSERT = """
INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities, at, kind,
  cost_usd, price_version) VALUES ($1, $2, $3, 'acme', 'p', $4, $5, 0, '{}', $6, $7, $8, 'old')
"""


def new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)


async def use(
    db: Database,
    model: str,
    tokens: int,
    at: datetime,
    cost: str | None,
    *,
    of: tuple[UUID, int] | None = None,
    kind: str = "reported",
) -> UUID:
    """A row of usage: of a task of its own, or one more of an attempt."""
    task_id, ordinal = of or (new_id(), 0)
    async with db.hot() as connection:
        paid = None if cost is None else Decimal(cost)
        await connection.execute(_INSERT, task_id, 1, ordinal, model, tokens, at, kind, paid)
    return task_id


async def rows(db: Database, query: str, *args: Any) -> list[dict[str, Any]]:
    async with db.read() as connection:
        return [dict(row) for row in await connection.fetch(query, *args)]


async def costs(db: Database) -> dict[UUID, Decimal | None]:
    """What each task cost in all."""
    found = await rows(db, "SELECT task_id, sum(cost_usd) AS usd FROM usage GROUP BY task_id")
    return {row["task_id"]: row["usd"] for row in found}


def parts(db: Database, **options: Any) -> tuple[Prices, Recosts]:
    book = PriceBook(db)
    return Prices(db, book, Clock(), settle_s=0.0), Recosts(db, book, lag_s=0.0, **options)


async def open_jobs(db: Database) -> int:
    return len(await rows(db, "SELECT FROM recosts WHERE finished_at IS NULL"))


async def test_what_was_used_since_is_a_new_row_and_the_rest_stays(db: Database) -> None:
    prices, recosts = parts(db)
    before = await use(db, "m", 10, START - timedelta(seconds=1), "0.5")
    first = await use(db, "m", 10, START, "0.5")
    unpriced = await use(db, "m", 7, START + timedelta(days=40), None)
    other = await use(db, "n", 10, START, "0.5")
    right = await use(db, "m", 10, START + timedelta(minutes=5), "0.10")
    await prices.put("m", CENT, START, "was wrong", "me")
    await recosts.tick()
    assert await costs(db) == {
        before: Decimal("0.5"), first: Decimal("0.10"), unpriced: Decimal("0.07"), other: Decimal("0.5"),
        right: Decimal("0.10"),
    }  # fmt: skip
    written = await rows(db, "SELECT * FROM usage WHERE kind = 'recost' ORDER BY at")
    assert [row["task_id"] for row in written] == [first, unpriced]
    row = written[0]
    assert (row["cost_usd"], row["of_ordinal"], row["ordinal"]) == (Decimal("-0.40"), 0, 1)
    assert (row["input_tokens"], row["tenant"], row["at"], row["model"]) == (0, "acme", START, "m")
    assert row["price_version"].startswith("override/")
    dirty = await rows(db, "SELECT hour FROM usage_dirty ORDER BY hour")
    assert [row["hour"] for row in dirty] == [START, START + timedelta(days=40)]
    jobs = await rows(db, "SELECT rows, delta_usd, finished_at FROM recosts")
    assert [(job["rows"], job["delta_usd"], job["finished_at"] is not None) for job in jobs] == [
        (2, Decimal("-0.33"), True)
    ]


async def test_a_second_price_corrects_the_correction(db: Database) -> None:
    prices, recosts = parts(db)
    task = await use(db, "m", 10, START, "0.5")
    await use(db, "m", 10, START, None, of=(task, 1))
    await use(db, "m", 1, START, "0.0", of=(task, 2), kind="correction")
    await prices.put("m", CENT, START, "", "me")
    await recosts.tick()
    assert await costs(db) == {task: Decimal("0.21")}
    await prices.put("m", TWO_CENTS, START, "", "me")
    await prices.put("m", TWO_CENTS, START, "", "me")
    await recosts.tick()
    assert await costs(db) == {task: Decimal("0.42")}
    chains = await rows(
        db, "SELECT of_ordinal, count(*) AS n FROM usage WHERE kind = 'recost' GROUP BY 1 ORDER BY of_ordinal"
    )
    assert [(row["of_ordinal"], row["n"]) for row in chains] == [(0, 2), (1, 2), (2, 2)]


async def test_a_price_counts_up_to_the_next_one(db: Database) -> None:
    prices, recosts = parts(db)
    early = await use(db, "m", 10, START, "9")
    late = await use(db, "m", 10, START + timedelta(days=2), "9")
    await prices.put("m", TWO_CENTS, START + timedelta(days=1), "", "me")
    await recosts.tick()
    await prices.put("m", CENT, START - timedelta(days=1), "", "me")
    await recosts.tick()
    assert await costs(db) == {early: Decimal("0.10"), late: Decimal("0.20")}
    assert await open_jobs(db) == 0


async def test_an_ended_price_falls_back_and_takes_no_cost_away(db: Database) -> None:
    prices, recosts = parts(db)
    own = await use(db, "house-model", 10, START + timedelta(days=1), "0.10")
    known = await use(db, "gpt-4o", 1_000_000, START + timedelta(days=1), "7")
    for model in ("house-model", "gpt-4o"):
        await prices.put(model, CENT, START, "", "me")
        await prices.end(model, START + timedelta(hours=1), "me")
    await recosts.tick()
    assert await costs(db) == {own: Decimal("0.10"), known: Decimal("2.5")}


async def test_cut_short_it_goes_on_where_it_was(db: Database) -> None:
    """The third batch is killed after its rows were written, before it could commit."""
    tasks = [await use(db, "m", 10, START + timedelta(seconds=7 * n), "0.5") for n in range(10)]
    told: dict[UUID, Decimal] = {}
    calls = 0

    async def follow(connection: HotConnection, deltas: Mapping[UUID, Decimal]) -> None:
        nonlocal calls
        calls += 1
        assert await connection.fetchval("SELECT count(*) FROM usage WHERE kind = 'recost'") >= 2 * min(calls, 3)
        if calls == 3:
            raise ConnectionResetError
        told.update({task: told.get(task, Decimal(0)) + delta for task, delta in deltas.items()})

    prices, recosts = parts(db, batch=2, on_recost=follow)
    await prices.put("m", CENT, START, "", "me")
    with pytest.raises(ConnectionResetError):
        await recosts.tick()
    half = await rows(db, "SELECT FROM usage WHERE kind = 'recost'")
    assert (len(half), await open_jobs(db)) == (4, 1)
    _, another = parts(db, batch=2, on_recost=follow)
    await another.tick()
    assert await costs(db) == dict.fromkeys(tasks, Decimal("0.10"))
    assert told == dict.fromkeys(tasks, Decimal("-0.40"))
    assert await open_jobs(db) == 0


async def test_two_managers_and_two_jobs_of_one_span_count_once(db: Database) -> None:
    tasks = [await use(db, "m", 10, START + timedelta(milliseconds=n // 3), "0.5") for n in range(40)]
    prices, one = parts(db, batch=5)
    _, two = parts(db, batch=5)
    await prices.put("m", TWO_CENTS, START - timedelta(days=1), "", "me")
    await prices.put("m", CENT, START, "", "me")
    while await open_jobs(db):
        await asyncio.gather(one.tick(), two.tick(), one.run_once(), two.run_once())
    assert await costs(db) == dict.fromkeys(tasks, Decimal("0.10"))
    sums = await rows(db, "SELECT sum(delta_usd) AS usd FROM recosts")
    assert sums[0]["usd"] == Decimal("-0.40") * len(tasks)


async def test_a_price_from_now_on_covers_managers_that_have_not_heard_of_it(db: Database) -> None:
    """A row priced by the old list moments after the change is put right; nothing is done before that time is over."""
    book = PriceBook(db)
    prices, recosts = Prices(db, book, Clock(), settle_s=3600.0), Recosts(db, book, lag_s=0.0)
    made = await prices.put("m", CENT, None, "", "me")
    stale = await use(db, "m", 10, made.effective_from, "0.5")
    future = await prices.put("n", CENT, made.effective_from + timedelta(days=1), "", "me")
    assert future.effective_from > made.effective_from
    await recosts.tick()
    await recosts.tick()
    assert await costs(db) == {stale: Decimal("0.10")}
    assert [row["model"] for row in await rows(db, "SELECT model FROM recosts WHERE finished_at IS NULL")] == ["m"]
