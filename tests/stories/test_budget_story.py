"""64 dispatchers in two managers spend one budget, while attempts fail and managers are killed: never too much, never
too little, and nothing is left reserved."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.core.db import plain_url
from tests.support.ledger import Ledger
from tests.support.pools import define_pool, register
from tests.support.service import Backing, Fleet, fleet
from tests.support.stub_agent import StubAgent
from tests.support.waiting import until_async

LIMIT, ESTIMATE = Decimal("100.00"), Decimal("1.00")
SLOTS = 64
QUICK = {
    "YARD_DISPATCH_LEASE_S": "2",
    "YARD_DISPATCH_HEARTBEAT_INTERVAL_S": "0.2",
    "YARD_DISPATCH_GRACE_S": "1",
    "YARD_DISPATCH_REJOIN_PATIENCE_S": "0.2",
    # The estimate stays what this story says it is.
    "YARD_COSTS_INTERVAL_S": "3600",
}
_numbers = itertools.count(1)
_SAMPLE = """
SELECT a.spent, a.spent + a.reserved AS committed FROM budget_accounts a JOIN budgets b ON b.id = a.budget_id
WHERE b.name = $1
"""
_DRIFT = """
SELECT a.reserved - COALESCE((SELECT sum(x.amount) FROM tasks t CROSS JOIN LATERAL
  unnest(t.holds, t.hold_amounts) AS x(account, amount) WHERE x.account = a.id), 0) AS drift
FROM budget_accounts a
"""
_OPEN = """
SELECT count(*) FILTER (WHERE status = 'running' OR (status = 'queued' AND parked_by IS NULL)) AS moving,
  count(*) FILTER (WHERE status = 'queued' AND parked_by IS NOT NULL) AS parked FROM tasks WHERE pool = $1
"""
_COSTS = "SELECT sum(cost_usd) AS cost FROM usage WHERE pool = $1 GROUP BY task_id, fence"

plans = st.fixed_dictionaries(
    {
        # Cents that an attempt really costs; above 100 it passes its estimate.
        "cents": st.lists(st.integers(1, 180), min_size=130, max_size=150),
        "seed": st.integers(0, 2**32),
        "kills": st.integers(1, 2),
    }
)


async def spends(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Costs what its payload says; some first attempts fail, some without a word of what they cost."""
    wanted = body["payload"]
    await asyncio.sleep(wanted["ms"] / 1000)
    usage = [{"model": "gpt-4o", "input_tokens": 0, "output_tokens": wanted["cents"] * 1000}]
    if body["attempt"] <= wanted["failures"]:
        if wanted["silent"]:
            return web.Response(status=500)
        return web.json_response({"error": {"code": "e", "message": "m"}, "usage": usage}, status=500)
    return web.json_response({"result": None, "usage": usage})


class Watch:
    """Looks at the account all the time. `most` that was committed."""

    def __init__(self, url: str, budget: str) -> None:
        self._url, self._budget, self.most = url, budget, Decimal(0)

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[Watch]:
        task = asyncio.create_task(self._look())
        yield self
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _look(self) -> None:
        connection = await asyncpg.connect(plain_url(self._url))
        try:
            while True:
                for row in await connection.fetch(_SAMPLE, self._budget):
                    self.most = max(self.most, row["committed"])
                await asyncio.sleep(0.01)
        finally:
            await connection.close()


async def story(backing: Backing, running: Fleet, plan: dict[str, Any]) -> None:
    rng, pool = random.Random(plan["seed"]), f"spending-{next(_numbers)}"
    ledger = Ledger(backing.database_url)
    agent = await StubAgent(handler=spends).start()

    async def rows(query: str, *values: Any) -> list[asyncpg.Record]:
        return await asyncio.to_thread(ledger.rows, query, *values)

    try:
        await rows(
            "INSERT INTO cost_estimates (pool, type, band, model, attempts, usd, tokens) "
            "VALUES ($1, $1, 'medium', 'gpt-4o', 1000, $2, 1)",
            pool,
            ESTIMATE * 1000,
        )
        managers = [await asyncio.to_thread(running.manager, **QUICK) for _ in range(2)]
        with managers[0].client() as client:
            define_pool(client, pool, slots=SLOTS, max_attempts=4, retry={"initial_s": 0.05, "max_s": 0.1})
            budget = {"scope": {"pool": pool}, "window": {"kind": "total"}, "unit": "usd", "limit": str(LIMIT)}
            await asyncio.to_thread(lambda: client.put(f"/v1/budgets/{pool}", json=budget).raise_for_status())
            await asyncio.to_thread(register, client, pool, agent.url, SLOTS)
            tasks = [
                {
                    "pool": pool,
                    "payload": {
                        "cents": cents,
                        "ms": rng.randrange(5, 60),
                        "failures": int(rng.random() < 0.15),
                        "silent": rng.random() < 0.3,
                    },
                }
                for cents in plan["cents"]
            ]
            async with Watch(backing.database_url, pool).looking() as watch:
                sent = await asyncio.to_thread(client.post, "/v1/tasks/batch", json={"tasks": tasks})
                assert sent.status_code == 202, sent.text
                for _ in range(plan["kills"]):
                    await asyncio.sleep(rng.uniform(0.05, 0.6))
                    await asyncio.to_thread(managers[1].kill)
                    managers[1] = await asyncio.to_thread(running.manager, **QUICK)

                async def at_rest() -> bool:
                    (row,) = await rows(_OPEN, pool)
                    return bool(row["moving"] == 0)

                await until_async(at_rest, "nothing moves any more", 120.0)
            await check(rows, pool, watch)
            await asyncio.to_thread(
                lambda: client.put(f"/v1/budgets/{pool}", json={**budget, "limit": "1000"}).raise_for_status()
            )

            async def all_done() -> bool:
                (row,) = await rows("SELECT count(*) AS n FROM tasks WHERE pool = $1 AND status = 'succeeded'", pool)
                return bool(row["n"] == len(tasks))

            await until_async(all_done, "with more money all is done", 120.0)
        await settled(rows, pool)
    finally:
        await agent.stop()
        for manager in running.managers:
            if manager.process.poll() is None:
                await asyncio.to_thread(manager.stop)


async def check(rows: Any, pool: str, watch: Watch) -> None:
    """While the limit stood: not passed but by what attempts cost above their estimate, and not left unused."""
    costs = [row["cost"] for row in await rows(_COSTS, pool)]
    error = sum((max(Decimal(0), cost - ESTIMATE) for cost in costs), Decimal(0))
    assert watch.most <= LIMIT + error
    (account,) = await rows(_SAMPLE, pool)
    (left,) = await rows(_OPEN, pool)
    if left["parked"]:
        assert account["committed"] > LIMIT - ESTIMATE, "what is left would have covered another"
    refusals = await rows(
        "SELECT e.data FROM events e JOIN tasks t ON t.id = e.task_id WHERE e.type = 'task.parked' AND t.pool = $1",
        pool,
    )
    for row in refusals:
        told = orjson.loads(row["data"])
        assert Decimal(told["needed"]) > Decimal(told["left"]), "nothing is refused that the rest covers"


async def settled(rows: Any, pool: str) -> None:
    """In the end what was booked is what was used, and nothing is reserved."""

    async def nothing_reserved() -> bool:
        (row,) = await rows(
            "SELECT a.reserved FROM budget_accounts a JOIN budgets b ON b.id = a.budget_id WHERE b.name = $1", pool
        )
        return bool(row["reserved"] == 0)

    await until_async(nothing_reserved, "nothing is reserved", 90.0)
    assert [row["drift"] for row in await rows(_DRIFT)] == [0] * len(await rows(_DRIFT))
    (account,) = await rows(_SAMPLE, pool)
    assert account["spent"] == sum(row["cost"] for row in await rows(_COSTS, pool))


@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plan=plans)
def test_a_budget_is_exact_in_both_directions(backing: Backing, tmp_path: Path, plan: dict[str, Any]) -> None:
    with fleet(backing, tmp_path) as running:
        asyncio.run(story(backing, running, plan))
