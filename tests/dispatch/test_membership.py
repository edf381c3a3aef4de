"""Who may claim: newcomers wait a lease, silence starts anew. On a real PostgreSQL with a clock moved by hand."""

from __future__ import annotations

from uuid import UUID, uuid4

from app.core.db import Database
from app.dispatch.membership import Membership
from app.dispatch.slots import AgentSlots, SlotTable
from app.settings import DispatchSettings
from tests.core.database import HandClock
from tests.tasks.queue_driver import manager_lives

LEASE_S = 5.0
FOR_EVER_S = -3600.0


class Member:
    """One manager with an agent of four slots."""

    def __init__(self, db: Database, clock: HandClock) -> None:
        self.id, self.slots = uuid4(), SlotTable()
        self.slots.put("agent", AgentSlots("p", 4))
        self.membership = Membership(db, clock, self.slots, DispatchSettings(lease_s=LEASE_S), self.id)

    async def owns(self) -> int:
        """Slots of the agent that are its own after a tick."""
        await self.membership.tick()
        return self.slots.owned("agent")


async def forget(db: Database, manager: UUID) -> None:
    async with db.hot() as connection:
        await connection.execute("DELETE FROM managers WHERE id = $1", manager)


async def test_alone_it_uses_everything_at_once(db: Database, clock: HandClock) -> None:
    member = Member(db, clock)
    assert not member.membership.may_claim
    assert await member.owns() == 4
    assert member.membership.alone and member.membership.may_claim and member.membership.may_rescue


async def test_a_newcomer_among_others_waits_one_lease(db: Database, clock: HandClock) -> None:
    await manager_lives(db, uuid4(), silent_s=FOR_EVER_S)
    member = Member(db, clock)
    for _ in range(4):
        assert await member.owns() == 0
        clock.forward(LEASE_S / 4)
    assert await member.owns() == 2


async def test_those_who_are_there_give_up_their_share_at_once(db: Database, clock: HandClock) -> None:
    first, second = Member(db, clock), Member(db, clock)
    assert await first.owns() == 4
    assert await second.owns() == 0
    assert await first.owns() == 2, "before the newcomer uses it"
    clock.forward(2.4)
    assert (await first.owns(), await second.owns()) == (2, 0)
    clock.forward(2.4)
    assert (await first.owns(), await second.owns()) == (2, 0)
    clock.forward(0.3)
    assert (await first.owns(), await second.owns()) == (2, 2)


async def test_a_dead_manager_leaves_its_share_to_the_others(db: Database, clock: HandClock) -> None:
    other = uuid4()
    await manager_lives(db, other)
    member = Member(db, clock)
    assert await member.owns() == 0
    await manager_lives(db, other, silent_s=LEASE_S + 1)
    assert await member.owns() == 4
    assert member.membership.alone


async def test_a_manager_that_was_silent_starts_anew_and_rescues_nobody_for_a_lease(
    db: Database, clock: HandClock
) -> None:
    member = Member(db, clock)
    await manager_lives(db, uuid4(), silent_s=FOR_EVER_S)
    await member.owns()
    clock.forward(LEASE_S / 2)
    await member.owns()
    clock.forward(LEASE_S / 2)
    assert await member.owns() == 2 and member.membership.may_rescue
    clock.forward(LEASE_S / 2 + 0.1)
    assert await member.owns() == 0, "its slots may have been given away meanwhile"
    assert member.membership.may_claim and not member.membership.may_rescue
    clock.forward(LEASE_S / 2)
    assert await member.owns() == 0
    clock.forward(LEASE_S / 2)
    assert await member.owns() == 2 and member.membership.may_rescue


async def test_it_stops_claiming_before_its_lease_ends(db: Database, clock: HandClock) -> None:
    member = Member(db, clock)
    await member.owns()
    clock.forward(0.79 * LEASE_S)
    assert member.membership.may_claim
    clock.forward(0.02 * LEASE_S)
    assert not member.membership.may_claim and not member.membership.may_rescue


async def test_a_row_that_somebody_forgot_makes_it_a_newcomer_again(db: Database, clock: HandClock) -> None:
    await manager_lives(db, uuid4(), silent_s=FOR_EVER_S)
    member = Member(db, clock)
    await member.owns()
    clock.forward(2)
    await member.owns()
    clock.forward(2)
    await member.owns()
    clock.forward(2)
    assert await member.owns() == 2
    await forget(db, member.id)
    assert await member.owns() == 0


async def test_who_leaves_is_gone_at_once(db: Database, clock: HandClock) -> None:
    first, second = Member(db, clock), Member(db, clock)
    await first.owns()
    await second.owns()
    await first.membership.leave()
    assert await second.owns() == 4


async def test_rows_of_managers_long_dead_are_deleted(db: Database, clock: HandClock) -> None:
    long_dead, just_dead = uuid4(), uuid4()
    await manager_lives(db, long_dead, silent_s=12 * LEASE_S + 1)
    await manager_lives(db, just_dead, silent_s=LEASE_S + 1)
    await Member(db, clock).owns()
    async with db.hot() as connection:
        left = {row["id"] for row in await connection.fetch("SELECT id FROM managers")}
    assert just_dead in left and long_dead not in left
