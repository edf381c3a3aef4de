"""The roll-up gives the same numbers however often, by whomever, and however far it ran."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.db import Database
from app.core.leader import Leader
from app.costs import rollup_sql
from app.costs.rollup import (
    HOUR,
    MAX_SPAN,
    OVERLAP,
    RollupLoop,
    add_dirty,
    day_of,
    hour_of,
    hours_in,
    next_span,
    next_width,
    runs,
)
from app.settings import CostSettings
from tests.core.database import HandClock
from tests.costs.usage_rows import Used, write

DAY = timedelta(days=1)
MOMENTS = st.integers(0, 364 * 86_400).map(lambda second: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second))


def loop(db: Database, clock: HandClock, holder: str = "a", **settings: Any) -> RollupLoop:
    return RollupLoop(db, Leader(db, clock, "costs", holder), clock, CostSettings(**settings))


async def roll_all(rolling: RollupLoop) -> None:
    """Ticks until nothing older waits."""
    while (done := await rolling.roll()) is None or done.more:
        rolling.width = MAX_SPAN


async def table(db: Database, name: str) -> list[dict[str, Any]]:
    async with db.hot() as connection:
        return [dict(row) for row in await connection.fetch(f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4, 5, 6, 7, 8")]


async def now_of(db: Database) -> datetime:
    async with db.hot() as connection:
        found = await connection.fetchval("SELECT now()")
    assert isinstance(found, datetime)
    return found


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=200)), st.integers(1, 168))
def test_a_span_goes_back_a_little_and_moves_on(until: datetime, later: timedelta, width: int) -> None:
    now = until + later
    begin, end = next_span(until, now, width * HOUR)
    assert begin <= until - OVERLAP + HOUR
    assert begin <= hour_of(until)
    assert end <= hour_of(now) + HOUR
    assert end > until or end == hour_of(now) + HOUR
    assert end - begin <= max(width * HOUR, 2 * HOUR)


@given(st.lists(MOMENTS, max_size=40))
def test_runs_cover_exactly_the_hours(moments: list[datetime]) -> None:
    hours = {hour_of(moment) for moment in moments}
    spans = runs(hours)
    assert [hour for span in spans for hour in hours_in(span)] == sorted(hours)
    assert all(first[1] < second[0] for first, second in pairwise(spans))


@pytest.mark.parametrize(
    ("width", "took_s", "next_hours"), [(1, 0.1, 2), (100, 0.1, 168), (8, 1.0, 8), (8, 3.0, 4), (1, 90.0, 1)]
)
def test_spans_grow_while_they_are_quick(width: int, took_s: float, next_hours: int) -> None:
    assert next_width(width * HOUR, took_s) == next_hours * HOUR


def some(rng: Random, now: datetime, count: int) -> list[Used]:
    """Random rows of the last days: retries, several models in an attempt, waste, no price, synthetic, labels."""
    found = []
    for _ in range(count):
        at = now - timedelta(seconds=rng.uniform(0, 3 * 86_400))
        task, outcome = uuid4(), rng.choice(["succeeded", "succeeded", "failed", "cancelled", "suspended", ""])
        for ordinal in range(rng.choice([1, 1, 2, 3])):
            found.append(
                Used(
                    at,
                    None if rng.random() < 0.1 else str(Decimal(rng.randrange(1, 10**6)) / 10**6),
                    outcome,
                    rng.choice(["m", "n"]),
                    pool=rng.choice(["p", "q"]),
                    tenant=rng.choice(["default", "acme"]),
                    ordinal=ordinal,
                    task=task,
                    synthetic=rng.random() < 0.1,
                    labels=rng.choice([None, {"team": "search"}, {"team": "ads", "b": "1"}]),
                )
            )
    return found


async def check(db: Database, rows: Sequence[Used]) -> None:
    """Hours and days add up to what the rows are."""
    for name in ("usage_hours", "usage_days"):
        sums = await table(db, name)
        assert sum(row["cost_usd"] for row in sums) == sum(Decimal(row.cost) for row in rows if row.cost)
        waste = sum(Decimal(row.cost) for row in rows if row.cost and row.outcome in ("failed", "cancelled"))
        assert sum(row["cost_usd"] for row in sums if row["outcome"]) == waste
        assert sum(row["attempts"] for row in sums) == sum(row.ordinal == 0 for row in rows)
        assert sum(row["succeeded"] for row in sums) == sum(
            row.ordinal == 0 and row.outcome == "succeeded" for row in rows
        )
        assert sum(row["unpriced"] for row in sums) == sum(row.cost is None for row in rows)
        assert sum(row["unpriced_tokens"] for row in sums) == 110 * sum(row.cost is None for row in rows)
        assert sum(row["input_tokens"] for row in sums) == 100 * len(rows)


async def test_doubled_late_and_rivalling_passes_give_the_same_numbers(db: Database, clock: HandClock) -> None:
    rng, now = Random(7), await now_of(db)
    rows = some(rng, now, 120)
    await write(db, rows)
    one, two = loop(db, clock, "a"), loop(db, clock, "b")
    assert await one.roll() is not None
    first = await one.roll()
    assert first is not None and first.more, "a history is taken in spans"
    await asyncio.gather(roll_all(one), roll_all(two))
    await check(db, rows)
    before = await table(db, "usage_days"), await table(db, "usage_hours")
    await asyncio.gather(*(rolling.roll() for rolling in (one, two, one)))
    assert before == (await table(db, "usage_days"), await table(db, "usage_hours"))

    late = [Used(now - 2 * DAY, "5", "failed"), Used(now - DAY, "0.25")]
    await write(db, late)
    async with db.hot() as connection:
        await add_dirty(connection, [row.at for row in (*late, *late)])
    await one.roll()
    await check(db, [*rows, *late])
    assert await table_count(db, "usage_dirty") == 0
    fresh = [Used(now, "3"), Used(now - OVERLAP + timedelta(seconds=30), "2")]
    await write(db, fresh)
    await two.roll()
    await check(db, [*rows, *late, *fresh])


async def table_count(db: Database, name: str) -> int:
    async with db.hot() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {name}"))


@pytest.mark.parametrize("broken", ["FILL_HOURS", "CLEAR_DAYS", "DAYS_OF_HOURS", "CLEANED", "MOVED"])
async def test_a_pass_that_breaks_off_anywhere_changes_nothing(
    db: Database, clock: HandClock, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await now_of(db)
    rows = [Used(now - 2 * HOUR), Used(now, "2", "failed")]
    await write(db, rows)
    rolling = loop(db, clock)
    await roll_all(rolling)
    before = [await table(db, name) for name in ("usage_hours", "usage_days")]
    late = Used(now - 5 * HOUR, "7")
    await write(db, [late, Used(now, "1")])
    async with db.hot() as connection:
        await add_dirty(connection, [late.at])
    with monkeypatch.context() as patched:
        patched.setattr(rollup_sql, broken, "SELECT 1 / 0, $1::text, $2::text")
        with pytest.raises(Exception):  # noqa: B017 - whatever asyncpg says of it
            await rolling.roll()
    assert before == [await table(db, name) for name in ("usage_hours", "usage_days")]
    await rolling.roll()
    await check(db, [*rows, late, Used(now, "1")])


async def test_who_adds_usage_never_waits_for_who_rolls_up(db: Database, clock: HandClock) -> None:
    now = await now_of(db)
    await roll_all(loop(db, clock))
    async with db.hot() as held, held.transaction():
        await held.execute("SELECT * FROM usage_rolled FOR UPDATE")
        await held.execute("DELETE FROM usage_dirty")
        assert await loop(db, clock, "b").roll() is None, "another manager is at it"
        async with db.hot() as connection:
            await connection.execute("SET lock_timeout = '100ms'")
            await add_dirty(connection, [now])
            await connection.execute("RESET lock_timeout")
    assert await table_count(db, "usage_dirty") == 1


async def test_hours_end_with_their_retention_and_days_stay_right(db: Database, clock: HandClock) -> None:
    now = await now_of(db)
    old = day_of(now) - 10 * DAY
    rows = [Used(old + number * 5 * HOUR, f"0.{number + 1}") for number in range(48)]
    rows = [row for row in rows if row.at <= now]
    await write(db, rows)
    rolling = loop(db, clock, hours_retention_s=3 * 86_400)
    await roll_all(rolling)
    kept = await table(db, "usage_hours")
    assert min(row["hour"] for row in kept) >= day_of(now) - 3 * DAY
    assert sum(row["cost_usd"] for row in await table(db, "usage_days")) == sum(Decimal(row.cost or 0) for row in rows)

    late = Used(old + HOUR, "9")
    await write(db, [late])
    async with db.hot() as connection:
        await add_dirty(connection, [late.at])
    await loop(db, clock, hours_retention_s=90 * 86_400).roll()
    sums = await table(db, "usage_days")
    assert sum(row["cost_usd"] for row in sums) == sum(Decimal(row.cost or 0) for row in (*rows, late))
    assert min(row["hour"] for row in await table(db, "usage_hours")) >= day_of(now) - 3 * DAY

    await loop(db, clock, hours_retention_s=172_800.0).roll()
    assert min(row["hour"] for row in await table(db, "usage_hours")) >= day_of(now) - 2 * DAY
    assert sum(row["cost_usd"] for row in await table(db, "usage_days")) == sum(row["cost_usd"] for row in sums)


async def test_corrections_recosts_and_models_of_one_attempt(db: Database, clock: HandClock) -> None:
    now = await now_of(db)
    task = uuid4()
    await write(
        db,
        [
            Used(now, None, task=task),
            Used(now, "2", model="n", task=task, ordinal=1),
            Used(now, "1", model="n", task=task, ordinal=2),
            Used(now, "-0.5", model="n", task=task, ordinal=3, kind="correction", tokens=(-50, 0)),
            Used(now, "4", task=task, ordinal=4, kind="recost", tokens=(0, 0)),
        ],
    )
    await roll_all(loop(db, clock))
    found = {row["model"]: row for row in await table(db, "usage_days")}
    assert (found["m"]["attempts"], found["n"]["attempts"]) == (1, 0), "an attempt counts once"
    assert (found["m"]["model_succeeded"], found["n"]["model_succeeded"]) == (1, 1), "and once with each model"
    assert (found["m"]["cost_usd"], found["m"]["unpriced"]) == (4, 0), "priced later"
    assert (found["n"]["cost_usd"], found["n"]["input_tokens"]) == (Decimal("2.5"), 150)


async def test_the_loop_rests_in_proportion_and_only_the_leader_rolls(db: Database, clock: HandClock) -> None:
    now = await now_of(db)
    await write(db, [Used(now - 30 * HOUR), Used(now, None)])
    first, second = loop(db, clock, "a"), loop(db, clock, "b")
    assert await second.tick() == 0.0, "older hours wait; the clock of the test stands still"
    assert await first.tick() is None
    while await second.tick() == 0.0:
        pass
    assert await second.tick() == CostSettings().interval_s
