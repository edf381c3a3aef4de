"""Emergency mode over several managers: together they run no more than the cap, and all of them shed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import httpx

from app.core.db import plain_url
from tests.api.verbs import Gate, put_pool, refused, register, submit, until
from tests.support.service import Fleet, Manager
from tests.support.stub_agent import StubAgent


def client_of(manager: Manager) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}"}
    return httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=30, trust_env=False)


async def test_two_managers_share_a_cap(managers: Fleet, agents: Callable[..., Awaitable[StubAgent]]) -> None:
    first, other = [await asyncio.to_thread(managers.manager) for _ in range(2)]
    gate = Gate()
    connection = await asyncpg.connect(plain_url(managers.backing.database_url))

    async def running() -> int:
        return int(await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'running'"))

    async def run(wanted: int) -> None:
        await until(lambda: _equals(running, wanted))

    async with client_of(first) as here, client_of(other) as there:
        await put_pool(here, slots=1)
        for _ in range(5):
            await register(here, (await agents(handler=gate)).url)
        body = {"pool": "echo", "max_running": 3, "min_priority": 0, "reason": "The provider is down."}
        assert (await here.put("/v1/emergency-mode", json=body)).status_code == 201
        low = {"pool": "echo", "priority": -1}
        await until(lambda: _refuses(there, low))
        refused(await here.post("/v1/tasks", json=low), 503, "emergency_mode")
        for number in range(10):
            await submit((here, there)[number % 2], number)
        await run(3)
        for number in range(4):  # whatever comes, and however often the managers look
            await submit((here, there)[number % 2], number)
        assert await running() == 3
        assert (await there.delete("/v1/emergency-mode")).status_code == 200
        await run(5)
        gate.open.set()
    await connection.close()


async def _equals(found: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await found() == wanted


async def _refuses(client: httpx.AsyncClient, body: dict[str, object]) -> bool:
    return (await client.post("/v1/tasks", json=body)).status_code == 503
