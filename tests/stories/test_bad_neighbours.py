"""One bad agent, or one bad caller, costs the others nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.wiring import Yard
from tests.support.service import free_port


async def _pool(client: httpx.AsyncClient, balancer: str, *urls: str) -> None:
    assert (await client.put("/v1/pools/p", json={"slots": 4, "balancer": balancer})).status_code == 200
    for url in urls:
        agent = (await client.post("/v1/agents", json={"pool": "p", "url": url})).json()
        beat = await client.post(f"/v1/agents/{agent['id']}/heartbeat", json={"status": "idle"})
        assert beat.status_code == 200


async def _all_end(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    tasks = [{"pool": "p", "payload": {"n": n}} for n in range(count)]
    accepted = (await client.post("/v1/tasks/batch", json={"tasks": tasks})).json()["tasks"]
    async with asyncio.timeout(30):
        while True:
            found = (await client.get("/v1/tasks", params={"pool": "p", "page_size": 500})).json()["items"]
            if len(found) == len(accepted) and all(task["finished_at"] for task in found):
                return list(found)
            await asyncio.sleep(0.05)


async def _slow(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(0.05)
    return web.json_response({"result": body["payload"]})


async def _full(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({}, status=429, headers={"Retry-After": "1"})


@pytest.mark.parametrize("balancer", ["least_connections", "ai_optimized", "round_robin"])
async def test_a_dead_agent_beside_a_healthy_one_fails_no_task(
    app: tuple[httpx.AsyncClient, Yard], agents: Any, balancer: str
) -> None:
    client, _ = app
    healthy = await agents(handler=_slow)
    await _pool(client, balancer, healthy.url, f"http://127.0.0.1:{free_port()}")
    ended = await _all_end(client, 60)
    assert {task["status"] for task in ended} == {"succeeded"}
    assert {task["attempt"] for task in ended} == {1}


@pytest.mark.parametrize("balancer", ["least_connections", "ai_optimized"])
async def test_an_agent_that_refuses_gets_a_pause_and_its_tasks_go_elsewhere(
    app: tuple[httpx.AsyncClient, Yard], agents: Any, balancer: str
) -> None:
    client, _ = app
    healthy, full = await agents(handler=_slow), await agents(handler=_full)
    await _pool(client, balancer, healthy.url, full.url)
    ended = await _all_end(client, 60)
    assert {(task["status"], task["attempt"]) for task in ended} == {("succeeded", 1)}
    assert len(full.calls) <= 20  # its four slots, now and after each pause, not once a task


async def test_an_agent_that_goes_silent_gives_its_tasks_up_before_the_run_timeout(
    app: tuple[httpx.AsyncClient, Yard], agents: Any
) -> None:
    client, yard = app

    async def hang(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body["attempt"] == 1:
            await asyncio.sleep(60)
        return web.json_response({"result": "second"})

    stuck = await agents(handler=hang)
    await _pool(client, "round_robin", stuck.url)
    task = (await client.post("/v1/tasks", json={"pool": "p"})).json()
    while not stuck.calls:
        await asyncio.sleep(0.01)
    (agent_id,) = yard.view.agents
    await yard.registry.set_status([agent_id], "failed", "silent", only_from=("idle", "busy"))
    async with asyncio.timeout(10):
        while (await client.get(f"/v1/tasks/{task['id']}")).json()["error"] is None:
            await asyncio.sleep(0.05)
    error = (await client.get(f"/v1/tasks/{task['id']}")).json()["error"]
    assert error["code"] == "executor_lost"


@pytest.mark.parametrize("content_type", ["APPLICATION/JSON", "application/Json", "application/vnd.x+JSON"])
@pytest.mark.parametrize("payload", ["NaN", "1e400", "1" + "0" * 30, '"a\\u0000b"', '"\\ud800"', "[" * 900 + "]" * 900])
async def test_no_spelling_of_the_content_type_gets_around_the_strict_parser(
    client: httpx.AsyncClient, content_type: str, payload: str
) -> None:
    await client.put("/v1/pools/p", json={})
    answer = await client.post(
        "/v1/tasks", content=f'{{"pool": "p", "payload": {payload}}}', headers={"Content-Type": content_type}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_row_that_the_database_refuses_fails_alone(app: tuple[httpx.AsyncClient, Yard]) -> None:
    client, yard = app
    await client.put("/v1/pools/p", json={})
    good = [client.post("/v1/tasks", json={"pool": "p"}) for _ in range(20)]
    # Past every check of ours: what a bug, or a check that we lack, would let through.
    from app.auth.callers import Caller
    from app.tasks.submission import Submission

    bad = yard.tasks.submit(
        Caller("x", "default", frozenset({"admin"})), [Submission("p", None, {}, thread_id="a\x00b")]
    )
    *answers, error = await asyncio.gather(*good, bad, return_exceptions=True)
    assert [answer.status_code for answer in answers] == [202] * 20  # type: ignore[union-attr]
    assert isinstance(error, Exception)


async def test_a_task_that_comes_back_does_not_drag_the_queue_back(backing: Any) -> None:
    """A has 1,000 queued, half of them claimed; one of A's returns; then B comes: both take turns."""
    from app.core.db import Database
    from app.settings import DatabaseSettings
    from app.tasks import queue
    from app.tasks.queue import Settled
    from tests.tasks.queue_driver import claim, insert, tasks

    db = Database(DatabaseSettings(url=backing.database_url))
    await db.start()
    try:
        await insert(db, *tasks(1000, tenant="a"))
        claimed = await claim(db, 500)
        first = claimed[0]
        async with db.hot() as connection:
            returned = Settled(first.id, 1, "queued", "returned", "task.returned", "{}", delay_s=0.0, counted=False)
            assert await queue.settle(connection, [returned])
        await insert(db, *tasks(1000, tenant="b"))
        tenants = [task.tenant for task in await claim(db, 400)]
        assert 180 <= tenants.count("a") <= 220
    finally:
        await db.stop()
