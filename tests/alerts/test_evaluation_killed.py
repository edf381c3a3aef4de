"""kill -9 of the manager that evaluates: whoever comes after goes on with the same times, and everything comes once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from app.core.db import Database
from tests.alerts.watched import attempts, moves, states
from tests.api.verbs import put_pool, until
from tests.support.service import Fleet, Manager

QUICK = {"YARD_ALERTS_INTERVAL_S": "0.2"}
RULE = {"signal": "success_rate", "comparison": "<", "threshold": 0.9, "for_s": 2}


def client_of(manager: Manager) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {manager.backing.admin_key}"}
    return httpx.AsyncClient(base_url=manager.url, headers=headers, timeout=30, trust_env=False)


async def start(managers: Fleet, **environment: str) -> Manager:
    return await asyncio.to_thread(lambda: managers.manager(**QUICK, **environment))


@pytest.mark.parametrize("point", ["alerts.read", "alerts.judged"])
async def test_killed_between_reading_and_the_commit(managers: Fleet, db: Database, point: str) -> None:
    async with db.hot() as connection:
        await connection.execute("DELETE FROM alert_rules")
    doomed = await start(managers, YARD_FAILPOINTS=f"{point}=3")
    async with client_of(doomed) as client:
        await put_pool(client, "bad")
        await attempts(db, "bad", *["failed"] * 20)
        answer = await client.put("/v1/alert-rules/mine", json=RULE)
        assert answer.status_code == 201, answer.text

        async def dead() -> bool:
            return doomed.process.poll() is not None

        await until(dead)
    before = (await states(db, "mine")).get("bad")
    await start(managers)

    async def fired() -> bool:
        found = (await states(db, "mine")).get("bad")
        return found is not None and found.phase == "firing"

    await until(fired)
    after = (await states(db, "mine"))["bad"]
    assert before is None or after.active_at == before.active_at, "its timer goes on"
    assert await moves(db, "mine") == [("ok", "pending", "violated"), ("pending", "firing", "violated")]


async def test_two_managers_evaluate_and_every_change_comes_once(managers: Fleet, db: Database) -> None:
    async with db.hot() as connection:
        await connection.execute("DELETE FROM alert_rules")
    first, second = await start(managers), await start(managers)
    async with client_of(first) as client, client_of(second) as other:
        for number in range(10):
            await put_pool(client, f"bad{number}")
            await attempts(db, f"bad{number}", *["failed"] * 20)
        await asyncio.gather(
            *((client, other)[number % 2].put(f"/v1/alert-rules/r{number}", json=RULE) for number in range(6))
        )

        async def firing() -> int:
            items = (await client.get("/v1/alerts", params={"phase": "firing", "page_size": 500})).json()["items"]
            return len(items) == 60

        await until(firing)
        await asyncio.to_thread(first.kill)

        async def led() -> bool:
            async with db.read() as connection:
                return bool(
                    await connection.fetchval(
                        "SELECT true FROM leases WHERE name = 'alerts' AND expires_at > now() AND holder <> $1",
                        await connection.fetchval("SELECT id::text FROM managers ORDER BY started_at LIMIT 1"),
                    )
                )

        await until(led)
        for number in range(6):
            await other.delete(f"/v1/alert-rules/r{number}")

        async def resolved() -> bool:
            items = (await other.get("/v1/alerts", params={"phase": "resolved", "page_size": 500})).json()["items"]
            return len(items) == 60

        await until(resolved)
    for number in range(6):
        found = await moves(db, f"r{number}")
        assert sorted(found) == sorted(
            [("ok", "pending", "violated"), ("pending", "firing", "violated"), ("firing", "resolved", "rule_changed")]
            * 10
        )
