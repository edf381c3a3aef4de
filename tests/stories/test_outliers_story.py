"""Agents that fail while the others work: they get nothing for a while, and the tasks get done."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from aiohttp import web

from tests.support.ledger import Ledger
from tests.support.service import Fleet, Manager
from tests.support.waiting import until_async

RETRY = {"initial_s": 0.02, "max_s": 0.1, "factor": 1.0, "jitter": 0.0}
AGENTS = 8
MOST_OUT = 2
"""30 % of eight, rounded down."""


@dataclass
class Moody:
    """Answers the payload after `seconds`; while `bad` 500, at once if it is a `hole`."""

    seconds: float = 0.03
    bad: bool = False
    hole: bool = False

    async def __call__(self, _: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not (self.bad and self.hole):
            await asyncio.sleep(self.seconds)
        if self.bad:
            return web.json_response({"error": {"code": "broken", "message": "not today"}}, status=500)
        return web.json_response({"result": body["payload"]})


@asynccontextmanager
async def pool_of(
    manager: Manager, agents: Any, moods: Iterable[Moody], balancer: str
) -> AsyncIterator[tuple[httpx.AsyncClient, list[str]]]:
    """A pool with an agent of two slots for each mood; a client and the agents' ids."""
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}"}
    async with httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=60.0, trust_env=False) as client:
        body = {"balancer": balancer, "retry": RETRY, "max_attempts": 20}
        assert (await client.put("/v1/pools/work", json=body)).status_code == 200
        ids = []
        for mood in moods:
            url = (await agents(handler=mood)).url
            answer = await client.post("/v1/agents", json={"pool": "work", "url": url, "slots": 2})
            ids.append(str(answer.json()["id"]))

        async def all_work() -> bool:
            found = (await client.get("/v1/pools/work")).json()["agents"]
            return bool(found.get("idle", 0) + found.get("busy", 0) == len(ids))

        await until_async(all_work, "all agents work")
        yield client, ids


async def submit(client: httpx.AsyncClient, count: int) -> None:
    body = {"tasks": [{"pool": "work", "payload": number} for number in range(count)]}
    answer = await client.post("/v1/tasks/batch", json=body)
    assert answer.status_code == 202, answer.text


async def attempts_of(ledger: Ledger) -> Counter[tuple[str, str]]:
    """Attempts by agent and outcome."""
    query = "SELECT agent_id, outcome, count(*) AS n FROM attempts GROUP BY 1, 2"
    rows = await asyncio.to_thread(ledger.rows, query)
    return Counter({(str(row["agent_id"]), row["outcome"]): row["n"] for row in rows})


async def ejected(client: httpx.AsyncClient) -> set[str]:
    """Who is ejected now, by the list of agents."""
    items = (await client.get("/v1/agents", params={"pool": "work", "page_size": 500})).json()["items"]
    now = datetime.now(UTC)
    return {
        item["id"] for item in items if item["ejected_until"] and datetime.fromisoformat(item["ejected_until"]) > now
    }


async def nothing() -> None:
    """Look at nothing."""


async def done(ledger: Ledger, count: int, look: Callable[[], Any] = nothing) -> None:
    """Until so many tasks have succeeded and no other is left; `look` is called again and again meanwhile."""

    async def all_done() -> bool:
        await look()
        statuses = await asyncio.to_thread(ledger.statuses)
        assert statuses.keys() <= {"queued", "running", "succeeded"}, statuses
        return statuses == Counter(succeeded=count)

    await until_async(all_done, f"{count} tasks are done", 90)


def yard_agents(manager: Manager) -> str:
    """What `yard agents` prints."""
    environment = manager.backing.environment(
        YARD_URL=manager.url, YARD_API_KEY=manager.backing.admin_key, COLUMNS="250"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "app.cli", "agents"], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout


async def test_agents_that_always_fail_are_ejected_but_never_too_many(
    managers: Fleet, agents: Any, ledger: Ledger
) -> None:
    # An ejection that outlasts the story, however slow the machine is.
    manager = await asyncio.to_thread(managers.manager, YARD_BALANCER_OUTLIER_BASE_S="300")
    moods = [Moody(bad=number < 2) for number in range(AGENTS)]
    async with pool_of(manager, agents, moods, "round_robin") as (client, ids):
        most: set[str] = set()

        async def look() -> None:
            nonlocal most
            out = await ejected(client)
            assert len(out) <= MOST_OUT
            shown = (await client.get("/v1/pools/work/balancer")).json()["agents"]
            assert sum(agent["ejected_s"] is not None for agent in shown) <= MOST_OUT
            most = max(most, out, key=len)

        await submit(client, 300)
        await done(ledger, 300, look)

        async def both_are_out() -> bool:
            return await ejected(client) == set(ids[:2])

        await until_async(both_are_out, "the registry says who is ejected")
        failures = {agent_id: (await attempts_of(ledger))[agent_id, "failed"] for agent_id in ids}
        assert all(5 <= failures[agent_id] <= 10 for agent_id in ids[:2]), f"five in a row, then no more: {failures}"
        assert not any(failures[agent_id] for agent_id in ids[2:])
        printed = await asyncio.to_thread(yard_agents, manager)
        assert printed.count("ejected") == 2 and "5 failures in a row" in printed, printed
        listed = (await client.get(f"/v1/agents/{ids[0]}")).json()
        assert (listed["status"], listed["ejected_reason"]) == ("idle", "5 failures in a row")

        for mood in moods[2:4]:
            mood.bad = True
        before = await attempts_of(ledger)
        await submit(client, 300)
        await done(ledger, 600, look)
        after = await attempts_of(ledger)
        assert len(most) == MOST_OUT
        assert await ejected(client) == set(ids[:2]), "no others are: two of eight are the most"
        assert all(after[agent_id, "failed"] > before[agent_id, "failed"] + 10 for agent_id in ids[2:4])
        assert [after[agent_id, "failed"] for agent_id in ids[:2]] == list(failures.values())[:2]


async def test_a_black_hole_gets_little_and_once_it_is_healed_its_share(
    managers: Fleet, agents: Any, ledger: Ledger
) -> None:
    """An agent that fails at once is always free: whoever looks at free slots only feeds it everything."""
    manager = await asyncio.to_thread(managers.manager)
    moods = [Moody(bad=number == 0, hole=number == 0) for number in range(AGENTS)]
    async with pool_of(manager, agents, moods, "ai_optimized") as (client, ids):
        hole = ids[0]

        await submit(client, 500)
        await done(ledger, 500)
        attempts = await attempts_of(ledger)
        into_it = attempts[hole, "failed"]
        print(f"\nthe black hole got {into_it} of {attempts.total()} attempts")
        assert 1 <= into_it < 0.1 * attempts.total()

        moods[0].bad = False
        submitted = 500

        async def works_again() -> bool:
            nonlocal submitted
            await submit(client, 20)
            submitted += 20
            return (await attempts_of(ledger))[hole, "succeeded"] >= 5

        await until_async(works_again, "the healed agent gets tasks", 90)
        await done(ledger, submitted)
        shown = (await client.get("/v1/pools/work/balancer")).json()["agents"]
        assert {agent["id"]: agent["learned"]["breaker"] for agent in shown}[hole] == "closed"
