"""The lease row on a real PostgreSQL: one holder at a time, handed over when it expires or resigns."""

from __future__ import annotations

import asyncio

from app.core.db import Database
from app.core.leader import Leader
from tests.core.database import HandClock


def contender(db: Database, clock: HandClock, holder: str, name: str = "health") -> Leader:
    return Leader(db, clock, name, holder, lease_s=30.0)


async def expire(db: Database) -> None:
    async with db.hot() as connection:
        await connection.execute("UPDATE leases SET expires_at = now() - interval '1 s'")


async def test_of_many_that_ask_at_once_exactly_one_leads(db: Database, clock: HandClock) -> None:
    leaders = [contender(db, clock, f"m{n}") for n in range(8)]
    assert sum(await asyncio.gather(*(leader.leads() for leader in leaders))) == 1
    clock.forward(11)
    assert sum(await asyncio.gather(*(leader.leads() for leader in leaders))) == 1


async def test_names_are_leases_of_their_own(db: Database, clock: HandClock) -> None:
    assert await contender(db, clock, "a", "health").leads()
    assert await contender(db, clock, "b", "processes").leads()


async def test_an_expired_lease_goes_to_whoever_asks_next(db: Database, clock: HandClock) -> None:
    first, second = contender(db, clock, "a"), contender(db, clock, "b")
    assert await first.leads() and not await second.leads()
    await expire(db)
    clock.forward(11)
    assert await second.leads()
    assert not await first.leads()


async def test_a_renewed_lease_stays(db: Database, clock: HandClock) -> None:
    first, second = contender(db, clock, "a"), contender(db, clock, "b")
    for _ in range(5):
        assert await first.leads() and not await second.leads()
        clock.forward(11)
    async with db.hot() as connection:
        assert await connection.fetchval("SELECT expires_at > now() + interval '25 s' FROM leases")


async def test_between_renewals_nobody_asks_the_database(db: Database, clock: HandClock) -> None:
    first = contender(db, clock, "a")
    assert await first.leads()
    await expire(db)
    second = contender(db, clock, "b")
    assert await second.leads()
    clock.forward(9.9)  # a third of the lease has not passed: trusted, as its expiry is far
    assert await first.leads()
    clock.forward(0.2)
    assert not await first.leads()


async def test_who_resigns_is_followed_at_once(db: Database, clock: HandClock) -> None:
    first, second = contender(db, clock, "a"), contender(db, clock, "b")
    assert await first.leads() and not await second.leads()
    await first.resign()
    clock.forward(11)
    assert await second.leads()
    assert not await first.leads()
    await first.resign()  # nothing of its own to give: the other's lease stays
    clock.forward(11)
    assert await second.leads()
