"""A fleet of 2,000 agents that comes at once: every one gets its place, and the tasks of another pool go on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.support.ledger import Ledger
from tests.support.service import Fleet
from tests.support.waiting import until_async

FLEET, AT_ONCE = 2000, 50


@asynccontextmanager
async def healthy_fleet() -> AsyncIterator[str]:
    """One server that is the health of every agent `<url>/<number>`."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "idle", "running": 0, "slots": 1})

    app = web.Application()
    app.router.add_get("/{number}/health", health)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


async def register_all(client: httpx.AsyncClient, urls: Iterable[str]) -> tuple[set[str], Counter[int]]:
    """Register every URL, AT_ONCE at a time, each until it is accepted; the ids, and how often which answer came."""
    waiting, ids, answers = iter(urls), set[str](), Counter[int]()

    async def some() -> None:
        for url in waiting:
            status = 0
            while status != 201:
                answer = await client.post("/v1/agents", json={"pool": "fleet", "url": url, "slots": 1})
                status = answer.status_code
                answers[status] += 1
                assert status in (201, 429, 503), answer.text
            ids.add(answer.json()["id"])

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return ids, answers


async def submit_steadily(client: httpx.AsyncClient, stop: asyncio.Event) -> list[str]:
    """Tasks one after the other, each waited for, until `stop`; their ids."""
    ids = []
    while not stop.is_set():
        body = {"pool": "work", "payload": len(ids)}
        answer = await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"})
        assert answer.status_code in (200, 202), answer.text
        ids.append(answer.json()["id"])
    return ids


@pytest.mark.timeout(400)
async def test_two_thousand_agents_register_while_tasks_go_on(managers: Fleet, agents: Any, ledger: Ledger) -> None:
    manager = await asyncio.to_thread(managers.manager)
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}"}
    async with (
        healthy_fleet() as fleet,
        httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=120.0, trust_env=False) as client,
    ):
        for pool in ("work", "fleet"):
            assert (await client.put(f"/v1/pools/{pool}", json={"slots": 1, "timeout_s": 60})).status_code == 200
        for _ in range(2):
            await client.post("/v1/agents", json={"pool": "work", "url": (await agents()).url, "slots": 4})
        stop, began = asyncio.Event(), time.monotonic()
        steady = [asyncio.create_task(submit_steadily(client, stop)) for _ in range(4)]
        ids, answers = await register_all(client, (f"{fleet}/{number}" for number in range(FLEET)))
        registered_s = time.monotonic() - began

        async def all_work() -> bool:
            found = (await client.get("/v1/pools/fleet")).json()["agents"]
            return bool(found.get("idle", 0) == FLEET)

        await until_async(all_work, "every agent of the fleet is known to work", 180)
        working_s = time.monotonic() - began
        stop.set()
        submitted = [task_id for some in await asyncio.gather(*steady) for task_id in some]

        async def balancer_knows() -> bool:
            shown = (await client.get("/v1/pools/fleet/balancer", params={"agents": 0})).json()
            return bool(shown["agents_total"] == FLEET)

        await until_async(balancer_knows, "the balancer knows all of them")
    assert len(ids) == FLEET
    await asyncio.to_thread(ledger.wait_final, len(submitted))
    await asyncio.to_thread(ledger.assert_succeeded_once, submitted)
    (slowest,) = await asyncio.to_thread(ledger.rows, "SELECT max(finished_at - created_at) AS s FROM tasks")
    print(
        f"\n{FLEET} agents registered in {registered_s:.1f} s ({FLEET / registered_s:.0f}/s), all work after"
        f" {working_s:.1f} s; answers {dict(answers)}; {len(submitted)} tasks meanwhile, the slowest took"
        f" {slowest['s'].total_seconds():.2f} s"
    )
    assert len(submitted) >= 50
