"""What balancers learned, shared between two managers over real Redis; ejections written where all see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client import REGISTRY

from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.base import TaskView
from app.dispatch.learning import REPEATED
from app.dispatch.stats import StatsLoop
from app.wiring import Yard
from tests.api.verbs import put_pool, register, until
from tests.dispatch.balancers.offers import FAILED
from tests.dispatch.twins import POOL, RESULTS, Two, twin
from tests.support.service import Backing

App = tuple[httpx.AsyncClient, Yard]


@pytest.fixture
async def two(backing: Backing) -> AsyncIterator[Two]:
    """Both know each other and four agents of the pool."""
    async with AsyncExitStack() as stack:
        first, second = await twin(stack, backing), await twin(stack, backing)
        await put_pool(first.client, POOL, balancer="ai_optimized")
        made = [await register(first.client, f"http://127.0.0.1:9/{n}", POOL, version="1.0") for n in range(4)]
        pair = Two(first, second, backing.redis_url, sorted(agent["id"] for agent in made))
        stack.push_async_callback(pair.redis.aclose)

        async def ready() -> bool:
            met = not any(one.yard.membership.alone for one in (first, second))
            return met and await first.knows(4) and await second.knows(4)

        await until(ready)
        yield pair


async def test_what_one_learned_reaches_the_other(two: Two) -> None:
    two.first.teach(two.agents[0], 2.0)
    assert await two.second.samples() == 0
    await two.tick()
    assert await two.second.samples() == RESULTS
    assert await two.first.samples() == RESULTS, "its own is not told back to it"
    two.second.teach(two.agents[1], 2.0)
    await two.tick()
    assert [await two.first.samples(), await two.second.samples()] == [2 * RESULTS] * 2
    for _ in range(3):
        await two.tick()
    assert [await two.first.samples(), await two.second.samples()] == [2 * RESULTS] * 2, "not added again"


async def test_it_is_shared_by_the_loops_of_themselves(two: Two) -> None:
    two.first.teach(two.agents[0], 2.0)

    async def learned() -> bool:
        return await two.second.samples() == RESULTS

    await until(learned)


async def test_a_slow_agent_is_slow_for_both(two: Two) -> None:
    for _ in range(RESULTS):
        for agent_id in two.agents:
            two.first.teach(agent_id, 8.0 if agent_id == two.agents[0] else 1.0, 1)
    await two.tick()
    slow_for = []
    for one in (two.first, two.second):
        slowness = {agent["id"]: agent["learned"]["slowness"] for agent in (await one.shown())["agents"]}
        slow_for.append(slowness[two.agents[0]] / max(slowness[other] for other in two.agents[1:]))
    assert slow_for[0] > 1.2, slow_for
    assert slow_for[1] > 1.2, slow_for


async def test_redis_away_in_the_middle_costs_nothing_but_the_sharing(two: Two) -> None:
    two.first.teach(two.agents[0], 2.0)
    await two.tick()

    class Away:
        async def run(self, call: object) -> None:
            return None

    nerve = two.second.yard.learning._nerve
    two.second.yard.learning._nerve = Away()  # type: ignore[assignment]
    two.second.teach(two.agents[1], 2.0, 16)
    two.second.teach(two.agents[1], 0.001, 5, ok=False)
    await two.second.yard.learning.tick()
    assert await two.second.samples() == RESULTS + 21, "what was told before stays"
    ejected = (await two.first.client.get(f"/v1/agents/{two.agents[1]}")).json()
    assert ejected["ejected_until"] is not None, "the rest of the tick is done"
    two.second.yard.learning._nerve = nerve
    await two.tick()
    assert await two.first.samples() == RESULTS + 21


async def test_what_redis_has_lost_is_shared_again_though_nothing_is_new(two: Two) -> None:
    two.first.teach(two.agents[0], 2.0, 37)
    await two.tick()
    assert await two.second.samples() == 37
    await two.redis.flushdb()
    for _ in range(REPEATED):
        await two.tick()
    assert await two.redis.hexists(two.key, str(two.first.yard.me))
    assert await two.second.samples() == 37


async def test_without_news_the_summary_stays_before_the_key_expires(two: Two) -> None:
    two.first.teach(two.agents[0], 2.0, 37)
    await two.tick()
    await two.redis.expire(two.key, 30)
    for _ in range(REPEATED):
        await two.first.yard.learning.tick()
    assert await two.redis.ttl(two.key) > 30


@pytest.mark.parametrize(
    "damaged", [b"", b"\xff\xfe", b"[]", b"7", b'{"v":1,"agents":7,"types":[]}', b'{"types":{"w":0}}']
)
async def test_a_damaged_summary_is_ignored_and_the_others_are_read(two: Two, damaged: bytes) -> None:
    two.first.teach(two.agents[0], 2.0)
    await two.first.yard.learning.tick()
    live = str(uuid4())
    two.second.yard.membership.live = (*two.second.yard.membership.live, live)
    await two.redis.hset(two.key, live, damaged)
    await two.second.yard.learning.tick()
    shown = await two.second.shown()
    assert (shown["errors"], await two.second.samples()) == (0, RESULTS)


async def test_a_dead_managers_summary_is_removed_and_forgotten(two: Two) -> None:
    dead = str(uuid4())
    two.first.teach(two.agents[0], 2.0)
    await two.first.yard.learning.tick()
    theirs = await two.redis.hget(two.key, str(two.first.yard.me))
    await two.redis.hset(two.key, dead, theirs)
    await two.second.yard.learning.tick()
    assert await two.second.samples() == RESULTS, "not twice"
    assert dead.encode() not in await two.redis.hkeys(two.key)
    assert str(two.first.yard.me).encode() in await two.redis.hkeys(two.key)


async def test_a_summary_that_is_no_json_is_not_shared_and_counted(two: Two) -> None:
    strategy = two.first.yard.placer.strategies.pools[POOL]

    class Odd(AiOptimized):
        def summary(self, now: float) -> dict[str, Any]:
            return {"v": object()}

    strategy.learner = Odd(two.first.yard.placer._rng)
    await two.redis.delete(two.key)  # what its loop may have shared before
    two.first.teach(two.agents[0], 2.0)
    await two.tick()
    assert strategy.guarded.errors >= 1
    assert str(two.first.yard.me).encode() not in await two.redis.hkeys(two.key)


async def ejection_of(client: httpx.AsyncClient, agent_id: str) -> tuple[datetime, str] | None:
    agent = (await client.get(f"/v1/agents/{agent_id}")).json()
    if agent["ejected_until"] is None:
        return None
    return datetime.fromisoformat(agent["ejected_until"]), agent["ejected_reason"]


async def updated_at(yard: Yard, agent_id: str) -> datetime:
    async with yard.db.hot() as connection:
        return await connection.fetchval("SELECT updated_at FROM agents WHERE id = $1", UUID(agent_id))  # type: ignore[no-any-return]


async def test_an_ejection_is_written_once_seen_by_all_and_counted(two: Two) -> None:
    await put_pool(two.first.client, POOL, balancer="round_robin")

    async def changed() -> bool:
        return (await two.first.shown())["strategy"] == "round_robin"

    await until(changed)
    out = two.agents[2]
    assert await ejection_of(two.second.client, out) is None
    agent = two.first.yard.view.agents[UUID(out)]
    for number in range(5):
        two.first.yard.placer.finished(POOL, agent, TaskView(str(number), "work"), FAILED)
    await two.first.yard.learning.tick()
    found = await ejection_of(two.second.client, out)
    assert found is not None and found[1] == "5 failures in a row"
    written = await updated_at(two.first.yard, out)
    for _ in range(5):
        await two.tick()
    assert await updated_at(two.first.yard, out) == written
    assert [await ejection_of(two.second.client, other) for other in two.agents if other != out] == [None] * 3

    async def everybody_sees() -> bool:
        return all(one.yard.view.agents[UUID(out)].ejected_until is not None for one in (two.first, two.second))

    await until(everybody_sees)


async def test_an_ejection_is_extended_by_a_longer_one_only(two: Two) -> None:
    registry, out = two.first.yard.registry, two.agents[0]
    await registry.note_ejections([(UUID(out), 100.0, "longest")])
    first = await ejection_of(two.second.client, out)
    await registry.note_ejections([(UUID(out), 10.0, "shorter")])
    second = await ejection_of(two.second.client, out)
    await registry.note_ejections([(UUID(out), 200.0, "longer")])
    third = await ejection_of(two.second.client, out)
    assert first is not None and second is not None and third is not None
    assert first[0] == second[0] < third[0]
    assert third[1] == "longer"


async def test_an_agent_whose_trial_is_due_is_no_news(two: Two) -> None:
    """`ai_optimized` names it until the trial succeeds, which may be for ever in an idle pool."""
    learning, out = two.first.yard.learning, two.agents[0]
    strategy = two.first.yard.placer.strategies.pools[POOL]

    class HalfOpen(AiOptimized):
        def ejected(self, now: float) -> dict[str, tuple[float, str]]:
            return {out: (0.0, "one attempt at a time until one succeeds")}

    strategy.guarded.balancer = HalfOpen(two.first.yard.placer._rng)
    assert strategy.ejected(0.0)
    for _ in range(3):
        learning._told = {}  # as after more than a second
        await learning.tick()
    assert await ejection_of(two.first.client, out) is None


async def test_the_metric_counts_ejected_agents_apart(app: App, agents: Any) -> None:
    client, yard = app
    await put_pool(client, balancer="round_robin")
    made = [await register(client, (await agents()).url) for _ in range(4)]

    async def all_work() -> bool:
        return yard.view.working(POOL) == 4

    await until(all_work)
    await yard.registry.note_ejections([(UUID(made[0]["id"]), 100.0, "x"), (UUID(made[1]["id"]), -1.0, "over")])
    await yard.view.refresh()
    await StatsLoop(yard.db, yard.clock, yard.view).tick()

    def count(status: str) -> float | None:
        return REGISTRY.get_sample_value("ai_agents_total", {"type": POOL, "status": status})

    assert (count("ejected"), count("idle"), count("busy")) == (1.0, 3.0, 0.0)
    again = await client.post("/v1/agents", json={"pool": POOL, "url": made[0]["url"]})
    assert (again.json()["id"], again.json()["ejected_until"]) == (made[0]["id"], None), "it has started anew"
    assert again.json()["ejected_reason"] == ""
