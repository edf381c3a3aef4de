"""kill -9 of a manager between an action's effect and its account, and after their commit."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.db import plain_url
from tests.alerts.answers import put_rule, set_phase
from tests.api.verbs import until
from tests.support.pools import define_pool
from tests.support.service import Fleet, Manager

QUIET = {"YARD_ALERTS_INTERVAL_S": "300"}


async def start(managers: Fleet, **environment: str) -> Manager:
    return await asyncio.to_thread(lambda: managers.manager(**QUIET, **environment))


async def ended(manager: Manager) -> bool:
    return manager.process.poll() is not None


async def answered(client: httpx.Client) -> list[dict[str, Any]]:
    listed = await asyncio.to_thread(lambda: client.get("/v1/alert-actions").json()["items"])
    return [item for item in listed if item["status"] == "running"]


@pytest.mark.parametrize("point", ["responses.effect", "responses.committed"])
async def test_one_effect_and_one_account(managers: Fleet, point: str) -> None:
    doomed = await start(managers, YARD_FAILPOINTS=point)
    with doomed.client() as client:
        await asyncio.to_thread(define_pool, client, "echo")
    connection = await asyncpg.connect(plain_url(managers.backing.database_url))
    try:
        await put_rule(connection, "immediate_intervention")
        await set_phase(connection, "firing")
        await until(lambda: ended(doomed))
        committed = point == "responses.committed"
        assert await connection.fetchval("SELECT count(*) FROM restraints") == committed
        assert await connection.fetchval("SELECT count(*) FROM alert_actions") == committed
        survivor = await start(managers)
        with survivor.client() as client:
            (account,) = await until(lambda: answered(client))
            assert [row["id"] for row in await connection.fetch("SELECT id::text FROM restraints")] == [account["id"]]
    finally:
        await connection.close()
