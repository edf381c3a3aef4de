"""Tasks that a balancer keeps queued for a better agent hold up neither those behind them nor other pools."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
from aiohttp import web

from app.dispatch.balancers.base import AgentView, Offer, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.balancers.passive import Passive
from app.wiring import Yard
from tests.api.verbs import put_pool, register, submit, until, until_status

App = tuple[httpx.AsyncClient, Yard]
KEPT = 300


class Keeps(Passive):
    """Keeps tasks of type "kept" queued while it is told to; everything else goes to whoever is free."""

    def __init__(self) -> None:
        self.keeping = True
        self.asked = 0

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        self.asked += task.type == "kept"
        agents: list[AgentView] = list(offer)
        return None if self.keeping and task.type == "kept" else agents[0].id


async def at_once(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"result": body["type"]})


async def pool_that_keeps(client: httpx.AsyncClient, yard: Yard, agents: Any) -> Keeps:
    await put_pool(client)
    agent = await register(client, (await agents(handler=at_once)).url, slots=4)

    async def works() -> bool:
        known = yard.view.agents.get(UUID(agent["id"]))
        return known is not None and known.works and yard.slots.free_in("echo") == 4

    await until(works)
    keeps = Keeps()
    yard.placer.strategies.pools["echo"].guarded = Guarded(keeps)
    body = {"pool": "echo", "type": "kept", "payload": None}
    answer = await client.post("/v1/tasks/batch", json={"tasks": [body] * KEPT})
    assert answer.status_code == 202
    return keeps


async def test_another_type_passes_those_that_are_kept(app: App, agents: Any) -> None:
    client, yard = app
    keeps = await pool_that_keeps(client, yard, agents)
    passing = [await submit(client, type="passes") for _ in range(10)]
    for task_id in passing:
        assert (await until_status(client, task_id, "succeeded"))["attempt"] == 1
    async with yard.db.hot() as connection:
        assert await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'queued'") == KEPT
    keeps.keeping = False

    async def all_done() -> bool:
        async with yard.db.hot() as connection:
            query = "SELECT count(*) FROM tasks WHERE status = 'succeeded'"
            return bool(await connection.fetchval(query) == KEPT + len(passing))

    await until(all_done)


async def test_another_pools_work_asks_nothing_about_those_that_are_kept(app: App, agents: Any) -> None:
    client, yard = app
    keeps = await pool_that_keeps(client, yard, agents)
    await put_pool(client, "busy")
    await register(client, (await agents(handler=at_once)).url, "busy", slots=4)
    before, began = keeps.asked, yard.clock.monotonic()
    done = await asyncio.gather(*(submit(client, pool="busy") for _ in range(200)))
    for task_id in done:
        await until_status(client, task_id, "succeeded")
    passes = (yard.clock.monotonic() - began) / 0.1 + 2
    assert keeps.asked - before <= 5 * passes, "a few a moment, whatever else is going on"
