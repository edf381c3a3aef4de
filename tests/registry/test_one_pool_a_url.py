"""An executor belongs to one pool: the same URL in a second one would count its slots twice."""

from __future__ import annotations

import asyncio

import pytest

from app.core.db import Database
from app.registry import queries
from app.registry.records import AgentRecord
from app.registry.service import AgentUrlTaken
from tests.registry.desk import Desk


@pytest.fixture
async def desk(db: Database) -> Desk:
    made = Desk(db)
    await made.pool("p")
    await made.pool("q")
    return made


@pytest.mark.parametrize("status", ["starting", "idle", "busy", "maintenance"])
async def test_a_url_is_taken_while_its_agent_lives(desk: Desk, status: str) -> None:
    agent = await desk.agent(1, "p")
    await desk.sql("UPDATE agents SET status = $1", status)
    before = await desk.read(agent.id)
    with pytest.raises(AgentUrlTaken, match="'p'") as caught:
        await desk.agent(1, "q")
    assert (caught.value.status, caught.value.code) == (409, "agent_url_taken")
    assert await queries.agents(desk.db) == [before], "nothing was written"
    assert (await desk.agent(1, "p")).id == agent.id, "its own pool may register it again"


@pytest.mark.parametrize("status", ["failed", "draining"])
async def test_a_url_whose_agent_leaves_moves_to_the_new_pool(desk: Desk, status: str) -> None:
    old, other = await desk.agent(1, "p"), await desk.agent(2, "p")
    await desk.sql("UPDATE agents SET status = $1", status)
    new = await desk.agent(1, "q")
    read = await desk.read(old.id)
    assert (read.status, read.status_reason) == ("gone", "its URL moved to the pool q")
    assert read.updated_at > old.updated_at, "so that every manager reads it"
    assert (new.pool, new.status) == ("q", "idle") and new.id != old.id
    assert await desk.status(other.id) == status


async def test_the_url_of_a_removed_agent_is_free(desk: Desk) -> None:
    await desk.registry.remove((await desk.agent(1, "p")).id)
    assert (await desk.agent(1, "q")).pool == "q"


async def test_silence_frees_a_url_whose_new_owner_answers_the_probes(desk: Desk) -> None:
    agent = await desk.agent(1, "p")
    await desk.sql("UPDATE agents SET heartbeat_at = now() - interval '59 s'")
    with pytest.raises(AgentUrlTaken):
        await desk.agent(1, "q")
    await desk.sql("UPDATE agents SET heartbeat_at = now() - interval '61 s'")
    assert (await desk.agent(1, "q")).pool == "q"
    assert await desk.status(agent.id) == "gone"


async def test_one_that_never_sent_a_heartbeat_counts_from_its_registration(desk: Desk) -> None:
    """A probe may be answered by the newcomer, so only the agent's own words protect its URL."""
    agent = await desk.agent(1, "p")
    await desk.sql("UPDATE agents SET registered_at = now() - interval '59 s'")
    with pytest.raises(AgentUrlTaken):
        await desk.agent(1, "q")
    assert await desk.status(agent.id) == "idle"
    await desk.sql("UPDATE agents SET registered_at = now() - interval '61 s'")
    assert (await desk.agent(1, "q")).pool == "q"


async def test_of_two_that_come_together_one_gets_the_url(desk: Desk) -> None:
    for port in range(1, 11):
        found = await asyncio.gather(desk.agent(port, "p"), desk.agent(port, "q"), return_exceptions=True)
        got = [item for item in found if isinstance(item, AgentRecord)]
        refused = [item for item in found if isinstance(item, AgentUrlTaken)]
        assert (len(got), len(refused)) == (1, 1), found
        assert f"'{got[0].pool}'" in refused[0].detail
    assert len(await queries.agents(desk.db)) == 10
