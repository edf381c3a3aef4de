"""One bad agent, or one bad caller, costs the others nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
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


async def test_tasks_that_become_due_take_turns_like_new_ones(backing: Any) -> None:
    """Thousands due at once, woken in several passes, give their tenant no head start over another's."""
    from app.core.db import Database
    from app.settings import DatabaseSettings
    from app.tasks import queue
    from tests.tasks.queue_driver import claim, insert, tasks

    db = Database(DatabaseSettings(url=backing.database_url))
    await db.start()
    try:
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        await insert(db, *tasks(900, tenant="a", run_at=soon))
        await insert(db, *tasks(300, tenant="b"))
        await asyncio.sleep(0.6)
        async with db.hot() as connection:
            for _ in range(3):
                await queue.wake_due(connection, 300)
        await insert(db, *tasks(100, tenant="b"))
        tenants = [task.tenant for task in await claim(db, 400)]
        assert 180 <= tenants.count("b") <= 220
    finally:
        await db.stop()


async def test_an_agent_that_starts_anew_need_not_wait_out_its_pause(
    app: tuple[httpx.AsyncClient, Yard], agents: Any
) -> None:
    client, yard = app
    answers = [429]

    async def once_full(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if answers:
            return web.json_response({}, status=answers.pop(), headers={"Retry-After": "60"})
        return web.json_response({"result": 1})

    agent = await agents(handler=once_full)
    await _pool(client, "round_robin", agent.url)
    task = (await client.post("/v1/tasks", json={"pool": "p"})).json()
    while not agent.calls:
        await asyncio.sleep(0.01)
    await client.post("/v1/agents", json={"pool": "p", "url": agent.url})
    await yard.registry.seen(list(yard.view.agents))
    async with asyncio.timeout(10):
        while (await client.get(f"/v1/tasks/{task['id']}")).json()["status"] != "succeeded":
            await asyncio.sleep(0.05)


async def test_pinned_tasks_follow_each_other_without_waiting_for_a_poll(
    app: tuple[httpx.AsyncClient, Yard], agents: Any
) -> None:
    client, yard = app
    yard.dispatch._settings.poll_interval_s = 30.0
    agent = await agents()
    await client.put("/v1/pools/p", json={"slots": 1})
    registered = (await client.post("/v1/agents", json={"pool": "p", "url": agent.url})).json()
    await client.post(f"/v1/agents/{registered['id']}/heartbeat", json={"status": "idle"})
    tasks = [{"pool": "p", "agent_id": registered["id"]} for _ in range(10)]
    assert (await client.post("/v1/tasks/batch", json={"tasks": tasks})).status_code == 202
    async with asyncio.timeout(10):
        while len(agent.calls) < 10:
            await asyncio.sleep(0.02)
