"""The view of what holds pools back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.db import Database
from app.limits import restraint_service as service
from app.limits.restraint_view import EmergencyMode, RestraintView
from app.limits.restraints import LOWEST, Restraint
from tests.core.database import HandClock


async def begin(db: Database, pool: str | None = None, left_s: float = 60.0, **fields: Any) -> Restraint:
    async with db.hot() as connection:
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        made = await service.begin(
            connection,
            uuid4(),
            "emergency",
            pool,
            fields,
            reason="why",
            source="person",
            by="k",
            expires_at=now + timedelta(seconds=left_s),
        )
    assert made is not None
    return made


async def test_it_knows_what_stands_after_a_refresh_and_tells_of_changes(db: Database, clock: HandClock) -> None:
    view = RestraintView(db, clock)
    changes: list[int] = []
    view.on_change = lambda: changes.append(1)
    await view.refresh()
    assert view.of("p") is None and view.least("p") == LOWEST and not changes
    everywhere = await begin(db, min_priority=3)
    await begin(db, "p", max_share=0.5, require_approval=True)
    await view.refresh()
    await view.refresh()
    assert len(changes) == 1
    assert (view.least("p"), view.least("q")) == (3, 3)
    assert view.asks_people("p") and not view.asks_people("q")
    async with db.hot() as connection:
        assert await service.end(connection, everywhere.id, "k")
        assert not await service.end(connection, everywhere.id, "k")
    await view.refresh()
    assert view.least("p") == LOWEST and view.of("q") is None and len(changes) == 2


async def test_what_expires_is_over_without_a_read(db: Database, clock: HandClock) -> None:
    view = RestraintView(db, clock)
    await begin(db, min_priority=1, left_s=30)
    await begin(db, min_priority=5, left_s=10)
    await view.refresh()
    assert view.least("p") == 5
    clock.forward(11)
    assert view.least("p") == 1
    clock.forward(20)
    assert view.of("p") is None


async def test_the_loop_looks_again_when_the_first_one_is_over(db: Database, clock: HandClock) -> None:
    view = RestraintView(db, clock)
    assert await view.tick() is None
    await begin(db, min_priority=1, left_s=30)
    assert await view.tick() is None
    await begin(db, min_priority=1, left_s=0.9)
    again = await view.tick()
    assert again is not None and 0 <= again <= 0.9


async def test_a_refusal_says_by_which_and_until_when(db: Database, clock: HandClock) -> None:
    view = RestraintView(db, clock)
    made = await begin(db, "p", min_priority=5, left_s=60)
    await view.refresh()
    view.admit("p", 5)
    view.admit("q", -1000)
    with pytest.raises(EmergencyMode) as caught:
        view.admit("p", 4)
    assert caught.value.headers["Retry-After"] in ("59", "60")
    assert caught.value.extra == {"pool": "p", "min_priority": 5, "expires_at": made.expires_at}
    assert "why" in caught.value.detail


async def test_what_people_switch_on_takes_the_place_of_what_they_had(db: Database) -> None:
    async with db.hot() as connection:
        later = await connection.fetchval("SELECT clock_timestamp() + interval '1 hour'")
        for least, replaced in ((1, False), (2, True)):
            async with connection.transaction():
                made = await service.put(
                    connection, None, {"min_priority": least}, reason="r", by="k", expires_at=later
                )
            assert made[1] is replaced
        found = await service.standing(connection)
        assert [item.min_priority for item in found] == [2]
        await connection.execute("UPDATE restraints SET expires_at = clock_timestamp()")
        await service.sweep(connection, 3600)
        assert await connection.fetchval("SELECT count(*) FROM restraints WHERE ended_at IS NULL") == 0
        await service.sweep(connection, -3600)
        assert await connection.fetchval("SELECT count(*) FROM restraints") == 0


async def test_it_tells_of_what_has_expired_at_once_and_once(db: Database, clock: HandClock) -> None:
    view = RestraintView(db, clock)
    changes: list[int] = []
    view.on_change = lambda: changes.append(view.least("p"))
    made = await begin(db, "p", min_priority=5, left_s=10)
    await view.refresh()
    assert changes == [5]
    clock.forward(11)
    assert view.of("p") is None
    assert changes == [5], "not within the question"
    await asyncio.sleep(0)
    assert changes == [5, LOWEST]
    async with db.hot() as connection:
        await service.end(connection, made.id, "k")
    await view.refresh()
    assert len(changes) == 2


async def test_a_refresh_tells_of_what_was_found_to_be_over_before_it(db: Database, clock: HandClock) -> None:
    view = RestraintView(db, clock)
    changes: list[int] = []
    made = await begin(db, "p", max_running=1, left_s=10)
    await view.refresh()
    view.on_change = lambda: changes.append(1)
    async with db.hot() as connection:
        await service.end(connection, made.id, "k")
    clock.forward(11)
    refreshed = asyncio.ensure_future(view.refresh())
    assert view.of("p") is None
    await refreshed
    assert changes == [1]
