"""Every manager's copy of the registry: what changed is seen, also when its transaction was slow to commit."""

from __future__ import annotations

import pytest

from app.core.db import Database
from app.registry.view import FULL_EVERY, Changes, RegistryView
from tests.registry.desk import Desk


class Watched(RegistryView):
    """A view that counts its announcements."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.changes = 0
        self.last = Changes()
        self.on_change(self._count)

    def _count(self, changes: Changes) -> None:
        self.changes += 1
        self.last = changes

    async def full(self) -> None:
        """Refresh until everything was read once more."""
        for _ in range(FULL_EVERY):
            await self.refresh()


@pytest.fixture
async def desk(db: Database) -> Desk:
    made = Desk(db)
    await made.pool("p", skills={"parse": 0.4})
    return made


@pytest.fixture
def view(db: Database) -> Watched:
    return Watched(db)


async def test_it_sees_new_changed_and_gone_agents(desk: Desk, view: Watched) -> None:
    await view.refresh()
    agent = await desk.agent()
    await view.refresh()
    assert view.agents_of("p") == {agent.id: agent} and view.working("p") == 1
    assert view.last == Changes({agent.id}, pools=False)
    await desk.registry.drain(agent.id)
    await view.refresh()
    assert view.agents[agent.id].status == "draining" and view.working("p") == 0
    await desk.registry.remove(agent.id)
    await view.refresh()
    assert view.agents == {} and view.agents_of("p") == {}
    assert view.changes == 4


async def test_it_says_nothing_when_nothing_changed(desk: Desk, view: Watched) -> None:
    await desk.agent()
    await view.refresh()
    await view.full()
    assert view.changes == 1


async def test_a_pool_changes_in_place(desk: Desk, view: Watched) -> None:
    await view.refresh()
    await desk.pool("p", slots=7)
    await view.refresh()
    assert view.pools["p"].slots == 7


async def test_a_change_whose_transaction_commits_late_is_not_missed(desk: Desk, view: Watched, db: Database) -> None:
    agent = await desk.agent()
    await view.refresh()
    async with db.hot() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute("UPDATE agents SET status = 'maintenance', updated_at = clock_timestamp()")
        for _ in range(3):
            await view.refresh()  # reads past the time that the row will carry
        assert view.agents[agent.id].status == "idle"
        await transaction.commit()
    await view.refresh()
    assert view.agents[agent.id].status == "maintenance"


async def test_what_carries_an_old_time_or_was_deleted_is_seen_by_the_next_full_read(desk: Desk, view: Watched) -> None:
    agent, lost = await desk.agent(1), await desk.agent(2)
    await view.refresh()
    await desk.sql("UPDATE agents SET version = 'v2', updated_at = now() - interval '1 hour' WHERE id = $1", agent.id)
    await desk.sql("DELETE FROM agents WHERE id = $1", lost.id)
    await view.refresh()
    assert lost.id in view.agents
    await view.full()
    assert view.agents[agent.id].version == "v2" and lost.id not in view.agents
    assert set(view.agents_of("p")) == {agent.id}


async def test_a_restarted_agent_keeps_its_id_and_gets_a_new_token(desk: Desk, view: Watched) -> None:
    first = await desk.agent()
    await view.refresh()
    again, _ = await desk.registry.register("p", first.url, slots=3, weight=5.0, version="v2", labels={})
    await view.refresh()
    seen = view.agents[first.id]
    assert again.id == first.id and (seen.status, seen.slots) == ("starting", 3)
    assert seen.token_digest != first.token_digest


async def test_the_pool_most_skilled_in_a_type_is_found(desk: Desk, view: Watched) -> None:
    await desk.pool("best", skills={"parse": 0.9, "never": 0.0})
    await desk.pool("also", skills={"parse": 0.9})
    await view.refresh()
    found = view.pool_for_type("parse")
    assert found is not None and found.name == "also"
    assert view.pool_for_type("never") is None and view.pool_for_type("unknown") is None
