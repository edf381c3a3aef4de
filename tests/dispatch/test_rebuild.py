"""What a new manager learns from the attempts table before its first choice."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.learning import LearningLoop
from app.wiring import Yard
from tests.api.verbs import put_pool, register, run, until
from tests.dispatch.twins import POOL, twin
from tests.support.service import Backing
from tests.support.stub_agent import StubAgent

App = tuple[httpx.AsyncClient, Yard]


async def test_a_new_manager_knows_what_the_attempts_show(backing: Backing, agents: Any) -> None:
    stubs: list[StubAgent] = [await agents() for _ in range(2)]
    async with AsyncExitStack() as stack:
        before = await twin(stack, backing)
        await put_pool(before.client, POOL, balancer="ai_optimized")
        for number, stub in enumerate(stubs):
            await register(before.client, stub.url, POOL, slots=4, version=f"1.{number}")
        await asyncio.gather(*(run(before.client, n, type="work") for n in range(30)))
        async with before.yard.db.hot() as connection:
            assert await connection.fetchval("SELECT count(*) FROM attempts") == 30
        knew = await before.shown()
        assert await before.samples() == 30
    async with AsyncExitStack() as stack:
        after = await twin(stack, backing)
        knows = await after.shown()
        assert knows["manager_id"] != knew["manager_id"]
        assert knows["types"].keys() == knew["types"].keys() == {"work"}
        for version, cell in knew["types"]["work"].items():
            again = knows["types"]["work"][version]
            assert again["samples"] == cell["samples"]
            # The table's times are the database's clock around the call; with the start of the statement they differ.
            assert again["seconds"] == pytest.approx(cell["seconds"], rel=0.5, abs=0.1)
            assert again["failure_rate"] == pytest.approx(cell["failure_rate"], abs=0.01)
        attempts = {agent["id"]: agent["learned"]["attempts"] for agent in knows["agents"]}
        assert sum(attempts.values()) == pytest.approx(30, rel=0.05)
        assert knows["choices_deferred"] == 0 and knows["last_choices"] == []


@pytest.mark.parametrize(
    ("code", "outcome", "counted", "teaches"),
    [
        (None, "succeeded", True, True),
        ("executor_error", "failed", True, True),
        ("timeout", "failed", True, True),
        ("executor_rejected", "failed", True, False),
        ("executor_too_large", "failed", True, False),
        ("result_unstorable", "failed", True, False),
        (None, "refused", False, False),
        (None, "cancelled", False, False),
        ("executor_error", "failed", False, False),
        (None, "lost", False, False),
    ],
)
async def test_a_rebuild_learns_from_what_is_the_agents_doing_only(
    app: App, code: str | None, outcome: str, counted: bool, teaches: bool
) -> None:
    client, yard = app
    final = code in ("executor_rejected", "executor_too_large", "result_unstorable")
    agent_id = await ended_attempts(client, yard, 25, "25 minutes", code, outcome, counted, final=final)
    loop = fresh_learning(yard)
    balancer = fresh_balancer(yard)
    await loop.rebuild()
    types = balancer.learned(yard.clock.monotonic())["types"].get(POOL, {})
    samples = sum(cell["samples"] for cell in types.values())
    assert samples == (25 if teaches else 0)
    failing = sum(cell["failure_rate"] for cell in types.values())
    assert (failing > 0.3) == (teaches and outcome == "failed")
    assert yard.placer.strategies.pools[POOL].members == {agent_id}


async def test_what_a_living_manager_saw_it_shares_itself(app: App) -> None:
    """Else a newcomer would learn it twice: from the table and from that manager."""
    client, yard = app
    await ended_attempts(client, yard, 5, "1 minute", None, "succeeded", True)
    balancer, dead = fresh_balancer(yard), uuid4()
    for manager, samples in ((yard.me, 0), (dead, 5)):
        async with yard.db.hot() as connection:
            await connection.execute("UPDATE attempts SET manager_id = $1", manager)
        await fresh_learning(yard).rebuild()
        cells = balancer.learned(yard.clock.monotonic())["types"].get(POOL, {}).values()
        assert sum(cell["samples"] for cell in cells) == samples


async def test_attempts_of_long_ago_and_of_agents_that_are_gone_teach_nothing(app: App) -> None:
    client, yard = app
    await ended_attempts(client, yard, 5, "31 minutes", None, "succeeded", True)
    balancer = fresh_balancer(yard)
    await fresh_learning(yard).rebuild()
    assert balancer.learned(yard.clock.monotonic())["types"].get(POOL, {}) == {}
    async with yard.db.hot() as connection:
        await connection.execute("UPDATE attempts SET finished_at = now(), agent_id = $1", uuid4())
    await fresh_learning(yard).rebuild()
    assert balancer.learned(yard.clock.monotonic())["types"].get(POOL, {}) == {}


async def test_a_rebuild_ejects_nobody(app: App) -> None:
    client, yard = app
    await ended_attempts(
        client, yard, 25, "1 minute", "executor_error", "failed", True, balancer="round_robin", agents=8
    )
    await fresh_learning(yard).rebuild()
    assert dict(yard.placer.strategies.pools[POOL].ejected(yard.clock.monotonic())) == {}


async def test_without_the_table_it_starts_without_memory(app: App) -> None:
    client, yard = app
    await ended_attempts(client, yard, 5, "1 minute", None, "succeeded", True)
    balancer = fresh_balancer(yard)
    async with yard.db.hot() as connection:
        await connection.execute("ALTER TABLE attempts RENAME TO elsewhere")
    await fresh_learning(yard).rebuild()
    assert balancer.learned(yard.clock.monotonic())["types"].get(POOL, {}) == {}
    async with yard.db.hot() as connection:
        await connection.execute("ALTER TABLE elsewhere RENAME TO attempts")
    await fresh_learning(yard).rebuild()
    assert sum(cell["samples"] for cell in balancer.learned(yard.clock.monotonic())["types"][POOL].values()) == 5


async def ended_attempts(
    client: httpx.AsyncClient,
    yard: Yard,
    count: int,
    ago: str,
    code: str | None,
    outcome: str,
    counted: bool,
    balancer: str = "ai_optimized",
    agents: int = 1,
    *,
    final: bool = False,
) -> str:
    """So many attempts on one agent, as the table keeps them; the agent's id once the balancer knows of it.

    `final`: the first attempt was the last, though more were allowed.
    """
    await put_pool(client, POOL, balancer=balancer)
    made = [await register(client, f"http://127.0.0.1:9/{n}", POOL) for n in range(agents)]
    body = {"pool": POOL, "run_at": "2100-01-01T00:00:00Z"}
    answer = await client.post("/v1/tasks/batch", json={"tasks": [body] * count})
    tasks = [UUID(task["id"]) for task in answer.json()["tasks"]]

    async def known() -> bool:
        return len(yard.placer.strategies.pools[POOL].members) == agents

    await until(known)
    async with yard.db.hot() as connection:
        await connection.execute(
            f"""INSERT INTO attempts (task_id, fence, attempt, pool, agent_id, started_at, finished_at, outcome,
              counted, error_code)
            SELECT i.id, 1, 1, $2, $3, e.at - interval '2 seconds', e.at, $4, $5, $6
            FROM unnest($1::uuid[]) AS i(id), (SELECT now() - interval '{ago}' AS at) AS e""",
            tasks, POOL, UUID(made[0]["id"]), outcome, counted, code,
        )  # fmt: skip
        if final:
            await connection.execute("UPDATE tasks SET status = 'failed', fence = 1 WHERE id = ANY($1)", tasks)
    return str(made[0]["id"])


def fresh_learning(yard: Yard) -> LearningLoop:
    return LearningLoop(yard.db, yard.nerve, yard.clock, yard.membership, yard.registry, yard.placer)


def fresh_balancer(yard: Yard) -> AiOptimized:
    """The pool's balancer, without memory."""
    balancer = yard.placer.strategies.pools[POOL].guarded.balancer
    assert isinstance(balancer, AiOptimized)
    return balancer
