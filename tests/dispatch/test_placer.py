"""Placing: pins, going back to the agent that may still work on it, going elsewhere after a failure."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from app.dispatch.balancers.base import MAX_SCAN, Offer, TaskView
from app.dispatch.balancers.guarded import Guarded
from app.dispatch.balancers.passive import Passive
from app.dispatch.executors.base import Refused
from app.dispatch.placer import Placer
from app.dispatch.slots import SlotTable
from app.limits.restraints import Hold
from app.registry.records import AgentRecord
from app.registry.view import Changes
from app.settings import BalancerSettings, DispatchSettings
from tests.core.database import HandClock
from tests.dispatch.records import agent_record, pool_record, ready_task, view_of
from tests.support.waiting import until_async

PATIENCE_S = 5.0


def placer_over(agents: list[AgentRecord], balancer: str = "round_robin") -> tuple[Placer, SlotTable]:
    slots = SlotTable()
    slots.set_managers(["me"], "me", active=True)
    view = view_of([pool_record(balancer=balancer)], agents)
    placer = Placer(view, slots, HandClock(), DispatchSettings(rejoin_patience_s=PATIENCE_S), BalancerSettings(), 1000)
    placer.follow_registry()
    return placer, slots


def test_a_placed_task_takes_a_slot_until_it_is_released() -> None:
    agent = agent_record(slots=2)
    placer, slots = placer_over([agent])
    assert [placer.place(ready_task()) for _ in range(3)] == [agent, agent, None]
    placer.release(agent)
    assert slots.free_in("p") == 1
    assert placer.place(ready_task()) == agent


@pytest.mark.parametrize("status", ["starting", "failed", "maintenance", "draining"])
def test_agents_that_do_not_work_get_nothing(status: str) -> None:
    idle, other = agent_record(slots=3), agent_record(slots=3, status=status)
    placer, _ = placer_over([idle, other])
    assert [placer.place(ready_task()) for _ in range(4)] == [idle, idle, idle, None]


def test_a_pinned_task_waits_for_its_agent() -> None:
    mine, other = agent_record(), agent_record()
    placer, _ = placer_over([mine, other])
    task = ready_task(pinned_agent_id=mine.id)
    assert placer.place(task) == mine
    assert placer.place(task) is None, "its slot is taken; the other agent is no substitute"
    placer.release(mine)
    assert placer.place(task) == mine


def test_a_rescued_task_goes_back_to_the_agent_that_may_still_work_on_it() -> None:
    agents = [agent_record() for _ in range(5)]
    for former in agents:
        placer, _ = placer_over(agents)
        assert placer.place(ready_task(rejoin=True, agent_id=former.id)) == former


def test_it_waits_for_that_agent_while_patience_lasts_then_goes_elsewhere() -> None:
    former, other = agent_record(), agent_record()
    placer, _ = placer_over([former, other])
    assert placer.place(ready_task(pinned_agent_id=former.id)) == former  # its only slot is in use
    assert placer.place(ready_task(rejoin=True, agent_id=former.id, waited_s=PATIENCE_S - 0.1)) is None
    assert placer.place(ready_task(rejoin=True, agent_id=former.id, waited_s=PATIENCE_S + 0.1)) == other


@pytest.mark.parametrize("status", ["failed", "draining"])
def test_it_does_not_wait_for_an_agent_that_works_no_more(status: str) -> None:
    former, other = agent_record(status=status), agent_record()
    placer, _ = placer_over([former, other])
    assert placer.place(ready_task(rejoin=True, agent_id=former.id)) == other
    placer.release(other)
    assert placer.place(ready_task(rejoin=True, agent_id=agent_record().id)) == other


def test_a_retry_goes_elsewhere_if_there_is_an_elsewhere() -> None:
    first, second = agent_record(slots=4), agent_record(slots=4)
    placer, _ = placer_over([first, second])
    retry = ready_task(attempt=1, agent_id=first.id)
    assert [placer.place(retry) for _ in range(5)] == [second] * 4 + [first]


def test_a_task_without_a_former_agent_avoids_nobody() -> None:
    first, second = agent_record(slots=10), agent_record(slots=10)
    placer, _ = placer_over([first, second])
    placed = Counter(agent.id for _ in range(10) if (agent := placer.place(ready_task())))
    assert placed == {first.id: 5, second.id: 5}


def test_a_refused_task_goes_elsewhere_though_the_attempt_did_not_count() -> None:
    first, second = agent_record(slots=10), agent_record(slots=10)
    placer, _ = placer_over([first, second])
    placed = {agent.id for _ in range(5) if (agent := placer.place(ready_task(attempt=0, agent_id=first.id)))}
    assert placed == {second.id}


async def test_an_agent_that_refused_is_offered_nothing_for_a_while_and_then_again() -> None:
    agent, warm = agent_record(slots=4), asyncio.Event()
    placer, slots = placer_over([agent])
    placer.on_warm = lambda _pool: warm.set()
    placer.refused(agent, Refused("full", retry_after_s=0.2))
    assert placer.place(ready_task()) is None and slots.free_in(agent.pool) == 0
    placer.follow_registry()
    assert slots.free_in(agent.pool) == 0  # what the registry says does not shorten the pause
    await asyncio.wait_for(warm.wait(), 5)
    assert placer.place(ready_task()) == agent


class Broken(Passive):
    """Raises, or names an agent that was not offered."""

    def __init__(self, answer: str | None) -> None:
        self._answer = answer

    def choose(self, task: TaskView, offer: Offer, now: float) -> str | None:
        if self._answer is None:
            raise RuntimeError("a bug in a strategy")
        return self._answer


@pytest.mark.parametrize("answer", [None, "somebody else"])
def test_a_broken_balancer_costs_a_worse_choice_and_no_task(answer: str | None) -> None:
    agents = [agent_record(slots=2) for _ in range(3)]
    placer, _ = placer_over(agents)
    placer.strategies.pools["p"].guarded = Guarded(Broken(answer))
    placed = Counter(agent.id for _ in range(6) if (agent := placer.place(ready_task())))
    assert placed == {agent.id: 2 for agent in agents}


def test_a_strategy_this_release_does_not_know_falls_back() -> None:
    agents = [agent_record() for _ in range(3)]
    placer, _ = placer_over(agents, balancer="from-the-future")
    assert {agent.id for _ in range(3) if (agent := placer.place(ready_task()))} == {agent.id for agent in agents}


def test_a_large_pool_offers_a_bounded_sample_and_uses_every_agent() -> None:
    agents = [agent_record() for _ in range(MAX_SCAN + 50)]
    placer, slots = placer_over(agents, balancer="least_connections")
    placed = {agent.id for _ in agents if (agent := placer.place(ready_task()))}
    assert len(placed) == len(agents) and slots.free_in("p") == 0


def test_tasks_of_an_unknown_pool_stay_queued() -> None:
    placer, _ = placer_over([agent_record()])
    assert placer.place(ready_task("nowhere")) is None


async def test_a_cap_leaves_agents_that_are_not_ejected_and_is_dealt_anew_when_that_changes() -> None:
    first, second = sorted((agent_record(slots=2), agent_record(slots=2)), key=lambda agent: agent.key)
    slots, clock = SlotTable(), HandClock()
    slots.set_managers(["me"], "me", active=True)
    view = view_of([pool_record()], [first, second])
    hold = Hold((), max_running=2)
    placer = Placer(view, slots, clock, DispatchSettings(), BalancerSettings(), 1000, lambda _pool: hold)

    def offered() -> tuple[int, ...]:
        return tuple(facts.slots for agent in (first, second) if (facts := slots.facts(agent.key)) is not None)

    placer.follow_registry()
    assert offered() == (1, 1)
    ejected = replace(first, ejected_until=clock.now() + timedelta(seconds=0.05))
    view.agents[first.id] = view.by_pool["p"][first.id] = ejected
    placer.follow_registry(Changes({first.id}))
    assert offered() == (0, 2)
    clock.forward(1)

    async def anew() -> bool:
        return offered() == (1, 1)

    await until_async(anew, "its time is over, though no row says so")
    placer.close()
