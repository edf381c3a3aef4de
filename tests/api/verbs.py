"""What a caller of the API does, in one line each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiohttp import web

from app.wiring import Yard

TABLES = ("api_keys", "pools", "agents", "tasks", "events", "attempts", "usage", "queue_tags")
FINAL = ("succeeded", "failed", "cancelled", "expired")


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key or a token."""
    return {"Authorization": f"Bearer {key}"}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that `answer` is the problem+json of `code`; its body."""
    assert answer.status_code == status, f"{answer.status_code}, not {status}: {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"] == f"urn:yardmaster:problem:{code}"
    return body


async def put_pool(client: httpx.AsyncClient, name: str = "echo", **fields: Any) -> dict[str, Any]:
    """Define a pool whose retries are quick."""
    quick = {"initial_s": 0.01, "max_s": 0.05, "factor": 2, "jitter": 0}
    answer = await client.put(f"/v1/pools/{name}", json={"retry": quick, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def register(client: httpx.AsyncClient, url: str, pool: str = "echo", **fields: Any) -> dict[str, Any]:
    """Register an agent; the answer, which holds its token."""
    answer = await client.post("/v1/agents", json={"pool": pool, "url": url, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def submit(client: httpx.AsyncClient, payload: Any = None, pool: str | None = "echo", **fields: Any) -> str:
    """Submit a task; its id."""
    answer = await client.post("/v1/tasks", json={"pool": pool, "payload": payload, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def run(client: httpx.AsyncClient, payload: Any = None, **fields: Any) -> dict[str, Any]:
    """Submit a task and wait until it is final; the task."""
    body = {"pool": "echo", "payload": payload, **fields}
    answer = await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def read(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """A task as it is now."""
    answer = await client.get(f"/v1/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def until(check: Callable[[], Awaitable[Any]], within_s: float = 60.0) -> Any:
    """The first true answer of `check`; fails when there is none in time."""
    async with asyncio.timeout(within_s):
        while not (found := await check()):
            await asyncio.sleep(0.01)
    return found


async def until_status(client: httpx.AsyncClient, task_id: str, *statuses: str) -> dict[str, Any]:
    """The task once it has one of `statuses`."""

    async def there() -> dict[str, Any] | None:
        task = await read(client, task_id)
        return task if task["status"] in statuses else None

    return dict(await until(there))


async def new_key(client: httpx.AsyncClient, *scopes: str, tenant: str = "default", **fields: Any) -> str:
    """A key with exactly these scopes."""
    answer = await client.post("/v1/keys", json={"name": "test", "tenant": tenant, "scopes": scopes, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


async def rows(yard: Yard) -> dict[str, int]:
    """How many rows each table has."""
    async with yard.db.hot() as connection:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


@dataclass
class Gate:
    """A handler that holds every call until `open` is set; `order` keeps the payloads as they arrived."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    order: list[Any] = field(default_factory=list)

    async def __call__(self, _: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        self.order.append(body["payload"])
        await self.open.wait()
        return web.json_response({"result": body["payload"]})


@dataclass
class Failing:
    """A handler that answers `status` `times` times, then echoes."""

    times: int
    status: int = 500
    body: dict[str, Any] = field(default_factory=lambda: {"error": {"code": "boom", "message": "it broke"}})
    tried: int = 0

    async def __call__(self, _: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        self.tried += 1
        if self.tried <= self.times:
            return web.json_response(self.body, status=self.status)
        return web.json_response({"result": body["payload"]})


async def agent_status(client: httpx.AsyncClient, agent_id: str) -> str:
    return str((await client.get(f"/v1/agents/{agent_id}")).json()["status"])
