"""Round robin and least connections: the order of their choices."""

from __future__ import annotations

import random
from collections import Counter

from app.dispatch.balancers.least_connections import LeastConnections
from app.dispatch.balancers.round_robin import RoundRobin

from .offers import TASK, agent, choices, idle


class First(random.Random):
    """Chooses the first of a list: makes a strategy's random start a known one."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def test_round_robin_takes_turns_whatever_the_order_of_the_offer() -> None:
    balancer = RoundRobin(First())
    offers = [idle("abc"), idle("cba"), idle("bca"), idle("abc")]
    assert [balancer.choose(TASK, offer, 0.0) for offer in offers] == ["a", "b", "c", "a"]


def test_round_robin_goes_on_where_agents_are_full_join_or_leave() -> None:
    balancer = RoundRobin(First())
    offers = [idle("bd"), idle("bcd"), idle("abe"), idle("abe"), idle("c")]
    assert [balancer.choose(TASK, offer, 0.0) for offer in offers] == ["b", "c", "e", "a", "c"]


def test_round_robin_starts_anywhere() -> None:
    starts = {RoundRobin(random.Random(seed)).choose(TASK, idle("abcd"), 0.0) for seed in range(40)}
    assert starts == set("abcd")


def test_least_connections_compares_shares_not_counts() -> None:
    offer = [agent("small", in_flight=1, slots=2), agent("large", in_flight=3, slots=10)]
    assert LeastConnections(random.Random(1)).choose(TASK, offer, 0.0) == "large"


def test_least_connections_breaks_a_tie_by_the_longest_wait() -> None:
    balancer = LeastConnections(First())
    assert choices(balancer, idle("abc"), 3) == ["a", "b", "c"]
    assert balancer.choose(TASK, [agent("a", in_flight=1), agent("b"), agent("c")], 0.0) == "b"
    assert choices(balancer, idle("abc"), 3) == ["a", "c", "b"]


def test_least_connections_tries_a_newcomer_before_equals() -> None:
    balancer = LeastConnections(First())
    choices(balancer, idle("ab"), 5)
    assert choices(balancer, idle("abz"), 1) == ["z"]


def test_least_connections_forgets_the_turn_of_one_that_left() -> None:
    balancer = LeastConnections(First())
    choices(balancer, idle("ab"), 3)
    balancer.left("a", 0.0)
    assert choices(balancer, idle("ab"), 1) == ["a"]


def test_least_connections_fills_agents_evenly() -> None:
    balancer, busy = LeastConnections(random.Random(2)), Counter[str]()
    sizes = {"a": 2, "b": 4, "c": 8}
    for _ in range(7):
        offer = [agent(name, in_flight=busy[name], slots=slots) for name, slots in sizes.items()]
        chosen = balancer.choose(TASK, offer, 0.0)
        busy[chosen] += 1
    assert busy == {"a": 1, "b": 2, "c": 4}
