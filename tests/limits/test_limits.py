"""Setting limits, and the view that follows them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from app.core.db import Database
from app.limits import temporary
from app.limits.gcra import Rate
from app.limits.service import LimitMisplaced, LimitNotFound, Limits
from app.limits.view import LimitsView


def fields(**given: Any) -> dict[str, Any]:
    empty = {"rate_per_s": None, "burst": None, "concurrency": None, "policy": "queue", "weight": None}
    return {**empty, **given}


async def test_a_limit_is_used_at_once_here_and_after_a_refresh_elsewhere(db: Database) -> None:
    here, there = LimitsView(db), LimitsView(db)
    limits = Limits(db, here)
    await there.refresh()
    await limits.put("tenant", "acme", fields(rate_per_s=0.5, weight=2.0))
    await limits.put("pool", "p", fields(rate_per_s=7.0, burst=3, concurrency=1, policy="reject"))
    assert here.rates == {("tenant", "acme"): Rate(0.5, 1), ("pool", "p"): Rate(7.0, 3)}
    assert there.rates == {}
    await there.tick()
    assert there.limits == here.limits
    await limits.put("pool", "p", fields(concurrency=1))
    assert ("pool", "p") not in here.rates
    assert here.limits["pool", "p"].policy == "queue"
    await limits.delete("tenant", "acme")
    assert list(here.limits) == [("pool", "p")]


async def test_lists_are_in_order_and_filtered(db: Database) -> None:
    limits = Limits(db, LimitsView(db))
    for kind, name in (("tenant", "b"), ("pool", "z"), ("tenant", "a"), ("key", "k")):
        await limits.put(kind, name, fields(rate_per_s=1.0))
    listed = [(item.kind, item.name) for item in await limits.page(None, None, 10)]
    assert listed == [("key", "k"), ("pool", "z"), ("tenant", "a"), ("tenant", "b")]
    assert [item.name for item in await limits.page(None, ("pool", "z"), 1)] == ["a"]
    assert [item.name for item in await limits.page("tenant", None, 10)] == ["a", "b"]


@pytest.mark.parametrize(("kind", "given"), [("pool", "weight"), ("key", "weight"), ("key", "concurrency")])
async def test_what_a_kind_cannot_have_is_refused(db: Database, kind: str, given: str) -> None:
    with pytest.raises(LimitMisplaced):
        await Limits(db, LimitsView(db)).put(kind, "n", fields(**{given: 2}))


async def test_what_is_not_there(db: Database) -> None:
    limits = Limits(db, LimitsView(db))
    with pytest.raises(LimitNotFound):
        await limits.get("tenant", "nobody")
    with pytest.raises(LimitNotFound):
        await limits.delete("tenant", "nobody")


async def test_a_temporary_rate_lets_no_more_come_at_once_than_the_operator_does(db: Database) -> None:
    view = LimitsView(db)
    limits = Limits(db, view)
    await limits.put("pool", "p", fields(rate_per_s=5.0, burst=2))
    async with db.hot() as connection:
        until = await connection.fetchval("SELECT clock_timestamp() + interval '1 hour'")
        await temporary.begin(connection, uuid4(), "pool", "p", 1.0, until, least_burst=10)
        await temporary.begin(connection, uuid4(), "pool", "q", 1.0, until, least_burst=10)
    await view.refresh()
    assert view.rates == {("pool", "p"): Rate(1.0, 2), ("pool", "q"): Rate(1.0, 10)}
