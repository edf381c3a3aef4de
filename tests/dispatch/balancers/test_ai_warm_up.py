"""Which agents count as new: those that join a pool at work, not the first of a pool, nor all after a restart."""

from __future__ import annotations

import pytest

from app.dispatch.balancers.ai.record import WARM_UP_S
from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.base import AgentView, TaskView
from app.dispatch.balancers.offer import FreeAgents
from tests.dispatch.balancers.learners import DONE, FAILED, agents, balancer_of, task, teach


def test_a_newcomer_gets_less_until_it_is_warm() -> None:
    views = agents(1)
    balancer, new = balancer_of(*views), AgentView("new", 4, 0, version="v0")
    views[0].in_flight = 1
    balancer.joined(new, 100.0)
    offer = FreeAgents([*views, new])
    assert balancer.choose(task(), offer, 100.0) == "a0"
    assert balancer.choose(task(), offer, 161.0) == "new"


def share(balancer: AiOptimized, views: list[AgentView], count: int, now: float) -> list[int]:
    """How many of so many tasks each agent gets, where none of them ends."""
    offer, by_id = FreeAgents(views), {view.id: view for view in views}
    for n in range(count):
        one = TaskView(f"s{n}", "log")
        chosen = balancer.choose(one, offer, now)
        assert chosen is not None
        by_id[chosen].in_flight += 1
        balancer.started(chosen, one, now)
    return [view.in_flight for view in views]


@pytest.mark.parametrize("apart_s", [0.0, 1e-6, 0.001, 3.0, 10.0])
@pytest.mark.parametrize("replayed", [False, True])
def test_the_first_agents_of_a_pool_share_evenly(apart_s: float, replayed: bool) -> None:
    views, balancer, start = agents(5, slots=100), balancer_of(), 1_000.0
    for n, view in enumerate(views):
        balancer.joined(view, start + n * apart_s)
    if replayed:
        for n in range(500):
            one = TaskView(f"t{n}", "log")
            balancer.finished(views[n % 5].id, one, DONE, start - 500.0 + n)
    assert share(balancer, views, 50, start + 5 * apart_s) == [10] * 5


def test_a_replay_leaves_the_warm_up_of_a_newcomer() -> None:
    views, new = agents(5), AgentView("new", 4, 0, version="v0")
    balancer = balancer_of(*views)
    balancer.joined(new, 100.0)
    teach(balancer, "new", DONE, 20, now=-500.0)
    teach(balancer, "new", FAILED, 5, now=-400.0)
    balancer.finished("new", task(), DONE, -300.0)  # a trial, by its time
    assert not balancer.ejected(100.0)
    assert balancer.learned(130.0)["agents"]["new"]["warm_up"] == 2.0


def test_agents_replaced_one_by_one_all_warm_up() -> None:
    """Also the last of a quick rollout, beside which there are only new ones."""
    balancer = balancer_of(*agents(5))
    for n in range(5):
        balancer.joined(AgentView(f"b{n}", 4, 0, version="new"), 100.0 + n)
        balancer.left(f"a{n}", 100.0 + n)
    assert all(agent["warm_up"] > 2.5 for agent in balancer.learned(105.0)["agents"].values())


def test_a_pool_that_was_empty_begins_anew() -> None:
    balancer = balancer_of(*agents(1))
    balancer.left("a0", 500.0)
    for n, view in enumerate(agents(3)):
        balancer.joined(view, 1_000.0 + n * WARM_UP_S / 3)
    assert {agent["warm_up"] for agent in balancer.learned(1_060.0)["agents"].values()} == {1.0}
