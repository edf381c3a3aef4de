"""One balancer a pool: built, replaced and dropped as pools change, never in the way of dispatch, whatever it does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY

from app.dispatch.balancers.base import Outcome
from app.dispatch.balancers.offer import FreeAgents
from app.dispatch.placer import Placer, task_view
from app.dispatch.slots import SlotTable
from app.dispatch.strategies import FALLBACK, Strategies
from app.registry.records import AgentRecord, PoolRecord
from app.registry.view import Changes, RegistryView
from app.settings import BalancerSettings, DispatchSettings
from app.wiring import Yard
from tests.api.verbs import put_pool, register, run, until
from tests.core.database import HandClock
from tests.dispatch import foreign
from tests.dispatch.balancers.offers import DONE, FAILED, TASK, agent, idle
from tests.dispatch.foreign import WritesDown
from tests.dispatch.records import agent_record, pool_record, ready_task, view_of

App = tuple[httpx.AsyncClient, Yard]


@pytest.fixture
def foreign_ones(tmp_path: Path) -> Iterator[None]:
    """The strategies of `foreign.py` are installed."""
    with foreign.installed(tmp_path):
        yield


def strategies_of(*pools: PoolRecord, settings: BalancerSettings | None = None) -> Strategies:
    made = Strategies(HandClock(), settings or BalancerSettings(), lambda _agent_id, _seconds: None)
    made.follow({pool.name: pool for pool in pools})
    return made


def errors_counted(pool: str, reason: str) -> float:
    return REGISTRY.get_sample_value("yard_balancer_errors_total", {"pool": pool, "reason": reason}) or 0.0


def no_weights() -> BalancerSettings:
    """Settings that no start would accept: `weighted_score` cannot be built with them."""
    names = ("success", "response", "free", "compatibility", "complexity")
    return BalancerSettings.model_construct(**{f"score_{name}": 0.0 for name in names})


@pytest.mark.parametrize(
    ("balancer", "settings", "reason"),
    [
        ("from-the-future", None, "unknown_strategy"),
        ("explodes", None, "build_raised"),
        ("weighted_score", no_weights(), "build_raised"),
    ],
)
def test_what_cannot_be_built_falls_back_and_is_counted(
    foreign_ones: None, balancer: str, settings: BalancerSettings | None, reason: str
) -> None:
    pool = pool_record(f"p-{balancer}", balancer=balancer)
    before = errors_counted(pool.name, reason)
    strategies = strategies_of(pool, settings=settings)
    assert errors_counted(pool.name, reason) == before + 1
    strategy = strategies.pools[pool.name]
    assert (strategy.name, strategy.runs) == (balancer, FALLBACK)
    assert strategies.choose(pool.name, TASK, idle(["a"])) == "a"
    strategies.follow({pool.name: pool})
    assert strategies.pools[pool.name] is strategy, "it is not built again at every change of the registry"
    assert errors_counted(pool.name, reason) == before + 1


@pytest.mark.parametrize(
    "balancer", ["round_robin", "weighted_round_robin", "least_connections", "p2c", "prequal", "weighted_score"]
)
def test_those_that_do_not_eject_get_it_done_for_them(balancer: str) -> None:
    told: list[tuple[str, float]] = []
    strategies = Strategies(HandClock(), BalancerSettings(), lambda *what: told.append(what))
    strategies.follow({"p": pool_record(balancer=balancer)})
    for name in "abcdefgh":
        strategies.joined("p", agent(name))
    for _ in range(20):
        for name in "abcd":
            strategies.finished("p", name, TASK, FAILED if name in "ab" else DONE)
    assert [agent_id for agent_id, _ in told] == ["a", "b"]
    assert strategies.pools["p"].ejected(1000.0).keys() == {"a", "b"}


def test_one_that_ejects_itself_is_asked() -> None:
    told: list[str] = []
    strategies = Strategies(HandClock(), BalancerSettings(), lambda agent_id, _: told.append(agent_id))
    strategies.follow({"p": pool_record(balancer="ai_optimized")})
    for name in "abcdefgh":
        strategies.joined("p", agent(name))
    for _ in range(20):
        for name in "abcd":
            strategies.finished("p", name, TASK, FAILED if name == "a" else DONE)
    assert strategies.pools["p"].ejected(1000.0).keys() == {"a"}
    assert told == [], "it keeps tasks from it, and gives it a trial, by itself"


def test_results_of_agents_that_left_and_of_pools_that_are_gone_are_dropped() -> None:
    told: list[str] = []
    strategies = Strategies(HandClock(), BalancerSettings(), lambda agent_id, _: told.append(agent_id))
    strategies.follow({"p": pool_record()})
    for name in "abcdefgh":
        strategies.joined("p", agent(name))
    strategies.left("p", "a")
    for _ in range(20):
        strategies.finished("p", "a", TASK, FAILED)
    assert told == [] and strategies.pools["p"].members == set("bcdefgh")
    strategies.follow({})
    assert strategies.pools == {}
    strategies.finished("p", "b", TASK, DONE)
    strategies.started("p", "b", TASK)
    strategies.left("p", "b")
    assert strategies.choose("p", TASK, idle("b")) is None


@pytest.mark.parametrize("balancer", ["raises", "talks_nonsense"])
def test_whatever_a_strategy_does_every_question_is_answered(foreign_ones: None, balancer: str) -> None:
    strategies = strategies_of(pool_record(balancer=balancer))
    strategy = strategies.pools["p"]
    assert strategy.runs == balancer and strategy.learner is not None and strategy.outliers is None
    strategies.joined("p", agent("a"))
    assert strategies.choose("p", TASK, idle("a")) == "a"
    strategies.started("p", "a", TASK)
    strategies.finished("p", "a", TASK, DONE)
    strategies.replay("p", "a", TASK, Outcome(True, 1.0), 0.0)
    for question in (
        lambda: strategy.merge([{}], 0.0),
        lambda: strategy.shown(0.0) == ({}, ()),
        lambda: strategy.ejected(0.0) == {},
    ):
        before = strategy.guarded.errors
        assert question() in (None, True)
        assert strategy.guarded.errors == before + 1
    assert strategy.guarded.last_error is not None
    strategies.left("p", "a")
    assert strategy.members == set()


def test_only_members_are_ejected(foreign_ones: None) -> None:
    class NamesAnybody(WritesDown):
        def ejected(self, now: float) -> dict[str, tuple[float, str]]:
            return {"a": (5.0, "slow"), "nobody": (5.0, "who?")}

    strategies = strategies_of(pool_record(balancer="writes_down"))
    strategies.joined("p", agent("a"))
    strategy = strategies.pools["p"]
    strategy.guarded.balancer, strategy.outliers = NamesAnybody(), None
    assert strategy.ejected(0.0) == {"a": (5.0, "slow")}


async def test_a_strategy_that_always_raises_stops_no_task_and_says_so(
    foreign_ones: None, app: App, agents: object
) -> None:
    client, yard = app
    await put_pool(client, balancer="raises")
    for _ in range(2):
        await register(client, (await agents()).url, slots=2)  # type: ignore[operator]
    before = {reason: errors_counted("echo", reason) for reason in ("choose_raised", "notify_raised")}
    done = await asyncio.gather(*(run(client, number) for number in range(8)))
    assert [task["result"] for task in done] == list(range(8))
    await yard.learning.tick()
    shown = (await client.get("/v1/pools/echo/balancer")).json()
    assert (shown["strategy"], shown["runs"], shown["agents_total"]) == ("raises", "raises", 2)
    assert shown["errors"] >= 8 * 3 and "RuntimeError" in shown["last_error"]
    for reason, count in before.items():
        assert errors_counted("echo", reason) >= count + 8
    assert sum(item["learned"] != {} for item in shown["agents"]) == 0


async def test_one_strategy_that_talks_nonsense_does_not_keep_the_others_from_sharing(
    foreign_ones: None, app: App, agents: object
) -> None:
    client, yard = app
    await put_pool(client, "aa_first", balancer="talks_nonsense")
    await put_pool(client, balancer="round_robin")
    await register(client, (await agents()).url, "aa_first")  # type: ignore[operator]
    made = [await register(client, (await agents()).url) for _ in range(4)]  # type: ignore[operator]
    await run(client, pool="aa_first")

    async def known() -> bool:
        return len(yard.placer.strategies.pools["echo"].members) == 4

    await until(known)
    for _ in range(5):
        yard.placer.finished("echo", yard.view.agents[UUID(made[0]["id"])], TASK, FAILED)
    await yard.learning.tick()
    ejected = (await client.get(f"/v1/agents/{made[0]['id']}")).json()
    assert ejected["ejected_until"] is not None
    assert (await client.get("/v1/pools/aa_first/balancer")).status_code == 200


class Yardlet:
    """A placer over a registry that the test changes by hand."""

    def __init__(self, agents: list[AgentRecord], balancer: str = "round_robin") -> None:
        self.slots = SlotTable()
        self.slots.set_managers(["me"], "me", active=True)
        self.view: RegistryView = view_of([pool_record(balancer=balancer)], agents)
        self.placer = Placer(self.view, self.slots, HandClock(), DispatchSettings(), BalancerSettings(), 1000)
        self.placer.follow_registry()

    def change(self, pool: PoolRecord) -> None:
        self.view.pools[pool.name] = pool
        self.placer.follow_registry(Changes(pools=True))

    def remove(self, *agents: AgentRecord) -> None:
        for record in agents:
            del self.view.agents[record.id], self.view.by_pool[record.pool][record.id]
        self.placer.follow_registry(Changes({record.id for record in agents}))

    def eject(self, record: AgentRecord) -> None:
        for _ in range(5):
            self.placer.finished("p", record, task_view(ready_task()), FAILED)
        assert not self.slots.free(record.key)

    def used(self) -> set[str]:
        """Agents that tasks are placed on, one round."""
        placed = [self.placer.place(ready_task()) for _ in range(len(self.view.agents))]
        for record in placed:
            if record is not None:
                self.placer.release(record)
        return {record.key for record in placed if record is not None}


def test_a_pools_new_balancer_is_told_of_the_agents_there_are(foreign_ones: None) -> None:
    agents = [agent_record(slots=9) for _ in range(3)]
    yardlet = Yardlet(agents)
    yardlet.change(pool_record(balancer="writes_down"))
    strategy = yardlet.placer.strategies.pools["p"]
    balancer = strategy.guarded.balancer
    assert isinstance(balancer, WritesDown)
    ids = {record.key for record in agents}
    assert Counter(balancer.seen) == Counter(("joined", agent_id) for agent_id in ids)
    assert strategy.members == ids
    yardlet.change(pool_record(balancer="writes_down", slots=5))
    assert yardlet.placer.strategies.pools["p"] is strategy, "another change of the pool leaves it alone"
    yardlet.change(pool_record(balancer="p2c"))
    assert yardlet.placer.strategies.pools["p"].members == ids
    assert yardlet.used() <= ids


def test_an_agent_that_starts_anew_leaves_and_joins(foreign_ones: None) -> None:
    record = agent_record()
    yardlet = Yardlet([record], balancer="writes_down")
    balancer = yardlet.placer.strategies.pools["p"].guarded.balancer
    assert isinstance(balancer, WritesDown)
    balancer.seen.clear()
    anew = agent_record(id=record.id, registered_at=record.registered_at.replace(year=2027))
    yardlet.view.agents[record.id] = yardlet.view.by_pool["p"][record.id] = anew
    yardlet.placer.follow_registry(Changes({record.id}))
    assert balancer.seen == [("left", record.key), ("joined", record.key)]


def test_a_removed_pool_s_balancer_is_dropped_with_its_agents() -> None:
    agents = [agent_record() for _ in range(2)]
    yardlet = Yardlet(agents)
    del yardlet.view.pools["p"]
    yardlet.placer.follow_registry(Changes(pools=True))
    assert yardlet.placer.strategies.pools == {}
    assert yardlet.placer.place(ready_task()) is None
    yardlet.remove(*agents)
    assert list(yardlet.slots.offer("p")) == list(FreeAgents())
    yardlet.view.pools["p"] = pool_record()
    yardlet.placer.follow_registry(Changes(pools=True))
    assert yardlet.placer.strategies.pools["p"].members == set()


async def test_ejected_agents_return_when_the_pool_becomes_too_small_to_do_without_them() -> None:
    agents = [agent_record() for _ in range(10)]
    yardlet = Yardlet(agents)
    for record in agents[:3]:
        yardlet.eject(record)
    assert yardlet.used() == {record.key for record in agents[3:]}
    warm: list[str] = []
    yardlet.placer.on_warm = warm.append
    yardlet.remove(*agents[5:])
    assert len(yardlet.used()) == 4, "one of five may stay ejected"
    yardlet.remove(*agents[3:5])
    assert yardlet.used() == {record.key for record in agents[:3]}, "of three none"
    assert warm == ["p"] * 3, "the loop is told that tasks can be placed again"
    yardlet.placer.close()


async def test_a_new_balancer_has_ejected_nobody() -> None:
    agents = [agent_record() for _ in range(4)]
    yardlet = Yardlet(agents)
    yardlet.eject(agents[0])
    yardlet.change(pool_record(balancer="p2c"))
    assert yardlet.used() == {record.key for record in agents}
    yardlet.placer.close()
