"""What a pool's launch environment holds is shown only to those who may set it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.settings import ScalingSettings
from tests.conftest import running_app, settings_for
from tests.support.service import Backing

ENV = {"OPENAI_API_KEY": "sk-secret", "MODEL": "small"}
LAUNCH = {"kind": "process", "command": ["sleep", "600"], "env": ENV}


@pytest.fixture
async def admin(backing: Backing) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(backing, scaling=ScalingSettings(allow_process=True))
    async with running_app(settings, backing.admin_key) as (client, _):
        yield client


async def key(admin: httpx.AsyncClient, *scopes: str) -> dict[str, str]:
    answer = await admin.post("/v1/keys", json={"name": "k", "scopes": scopes})
    return {"Authorization": f"Bearer {answer.json()['key']}"}


async def shown(client: httpx.AsyncClient, headers: dict[str, str]) -> list[dict[str, Any]]:
    """The launch of the pool `one`, as each way to read it shows it."""
    read = (await client.get("/v1/pools/one", headers=headers)).json()
    (listed,) = (await client.get("/v1/pools", headers=headers)).json()["items"]
    return [read["launch"], listed["launch"]]


async def test_values_are_shown_to_pool_admins_only(admin: httpx.AsyncClient) -> None:
    made = await admin.put("/v1/pools/one", json={"launch": LAUNCH, "scale": {"min": 0, "max": 2}})
    assert made.json()["launch"] == LAUNCH
    setter, reader = await key(admin, "pools:admin", "tasks:read"), await key(admin, "tasks:read")
    assert await shown(admin, {}) == [LAUNCH] * 2
    assert await shown(admin, setter) == [LAUNCH] * 2
    masked = {**LAUNCH, "env": {"OPENAI_API_KEY": "***", "MODEL": "***"}}
    assert await shown(admin, reader) == [masked] * 2
    assert "sk-secret" not in (await admin.get("/v1/pools", headers=reader)).text


async def test_a_pool_without_secrets_reads_the_same_to_all(admin: httpx.AsyncClient) -> None:
    reader = await key(admin, "tasks:read")
    for launch in ({"kind": "external"}, {"kind": "process", "command": ["true"], "env": {}}):
        await admin.put("/v1/pools/one", json={"launch": launch, "scale": {"min": 0, "max": 0}})
        assert await shown(admin, reader) == [launch] * 2


async def test_the_document_says_so_and_names_the_conflict(admin: httpx.AsyncClient) -> None:
    document = (await admin.get("/openapi.json")).json()
    env = document["components"]["schemas"]["ProcessLaunch"]["properties"]["env"]
    assert "pools:admin" in env["description"] and "***" in env["description"]
    assert "409" in document["paths"]["/v1/agents"]["post"]["responses"]


async def test_a_url_in_two_pools_is_a_conflict(admin: httpx.AsyncClient) -> None:
    for pool in ("one", "two"):
        await admin.put(f"/v1/pools/{pool}", json={})
    body = {"pool": "one", "url": "http://127.0.0.1:9"}
    assert (await admin.post("/v1/agents", json=body)).status_code == 201
    answer = await admin.post("/v1/agents", json={**body, "pool": "two"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "agent_url_taken") and "'one'" in problem["detail"]
    answer = await admin.post("/v1/agents", json={**body, "url": "http://127.1:9"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_agent_url")
