"""Round robin, least connections and the power of two choices: the order of their choices."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from app.dispatch.balancers.base import MAX_SCAN
from app.dispatch.balancers.least_connections import LeastConnections
from app.dispatch.balancers.p2c import P2C
from app.dispatch.balancers.round_robin import RoundRobin

from .offers import TASK, agent, choices, idle, join_all, offer


class First(random.Random):
    """Chooses the first of a list: makes a strategy's random start a known one."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def test_round_robin_takes_turns_whatever_the_order_of_the_offer() -> None:
    balancer = RoundRobin(First())
    offers = [idle("abc"), idle("cba"), idle("bca"), idle("abc")]
    assert [balancer.choose(TASK, offered, 0.0) for offered in offers] == ["a", "b", "c", "a"]


def test_round_robin_goes_on_where_agents_are_full_join_or_leave() -> None:
    balancer = RoundRobin(First())
    offers = [idle("bd"), idle("bcd"), idle("abe"), idle("abe"), idle("c")]
    assert [balancer.choose(TASK, offered, 0.0) for offered in offers] == ["b", "c", "e", "a", "c"]


def test_round_robin_starts_anywhere() -> None:
    starts = {RoundRobin(random.Random(seed)).choose(TASK, idle("abcd"), 0.0) for seed in range(40)}
    assert starts == set("abcd")


NAMES = [f"a{n:04}" for n in range(1_000)]


@pytest.mark.parametrize("known", [True, False])
def test_round_robin_takes_exact_turns_in_a_large_pool(known: bool) -> None:
    """Members are known by `joined`, or met in offers until all are."""
    balancer = RoundRobin(random.Random(1))
    if known:
        join_all(balancer, idle(NAMES))
    else:
        choices(balancer, idle(NAMES), 2_000)
    start = choices(balancer, idle(NAMES), 1)[0]
    place = NAMES.index(str(start)) + 1
    assert choices(balancer, idle(NAMES), 2_500) == [NAMES[(place + n) % 1_000] for n in range(2_500)]


def test_round_robin_passes_over_the_full_and_those_who_left() -> None:
    balancer, free = RoundRobin(First()), NAMES[::2]
    join_all(balancer, idle(NAMES))
    for name in NAMES[::4]:
        balancer.left(name, 0.0)
    turn = [name for name in free if name not in NAMES[::4]]
    assert len(turn) > MAX_SCAN
    start = turn.index(str(choices(balancer, idle(turn), 1)[0])) + 1
    assert choices(balancer, idle(turn), 600) == [turn[(start + n) % len(turn)] for n in range(600)]


def test_round_robin_gives_all_a_turn_where_few_of_a_large_pool_are_free() -> None:
    """One in ninety is free: the walk is in vain and a draw decides, over nobody more often than another."""
    balancer, names = RoundRobin(random.Random(1)), [f"a{n:05}" for n in range(9_000)]
    join_all(balancer, idle(names))
    free = names[::90]
    picked = Counter(choices(balancer, idle(free), 10_000))
    assert len(free) > MAX_SCAN
    assert set(picked) == set(free)
    assert max(picked.values()) < 2 * min(picked.values())


def test_least_connections_compares_shares_not_counts() -> None:
    offered = offer(agent("small", in_flight=1, slots=2), agent("large", in_flight=3, slots=10))
    assert LeastConnections(random.Random(1)).choose(TASK, offered, 0.0) == "large"


def test_least_connections_breaks_a_tie_by_the_longest_wait() -> None:
    balancer = LeastConnections(First())
    assert choices(balancer, idle("abc"), 3) == ["a", "b", "c"]
    assert balancer.choose(TASK, offer(agent("a", in_flight=1), agent("b"), agent("c")), 0.0) == "b"
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
        offered = offer(*(agent(name, in_flight=busy[name], slots=slots) for name, slots in sizes.items()))
        chosen = balancer.choose(TASK, offered, 0.0)
        busy[chosen] += 1
    assert busy == {"a": 1, "b": 2, "c": 4}


def test_least_connections_takes_the_least_of_a_draw_from_many() -> None:
    """Half of 1,000 agents are idle: 64 drawn hold one of them, all but certainly."""
    offered = offer(*(agent(name, in_flight=n % 2) for n, name in enumerate(NAMES)))
    chosen = choices(LeastConnections(random.Random(1)), offered, 200)
    assert {int(str(name)[1:]) % 2 for name in chosen} == {0}
    assert len(set(chosen)) > 150


@pytest.mark.parametrize(
    ("one", "other", "chosen"),
    [
        (agent("a", in_flight=1, slots=2), agent("b", in_flight=3, slots=10), {"b"}),
        (agent("a"), agent("b", in_flight=1), {"a"}),
        (agent("a", in_flight=1, slots=3), agent("b", in_flight=2, slots=6), {"a", "b"}),
    ],
)
def test_p2c_takes_the_smaller_share_of_two(one, other, chosen) -> None:  # type: ignore[no-untyped-def]
    assert set(choices(P2C(random.Random(1)), offer(one, other), 40)) == chosen


def test_p2c_looks_at_two_only() -> None:
    """Of one idle agent among nine busy ones it is 2 in 10 to draw the idle one."""
    offered = offer(agent("idle"), *(agent(f"a{n}", in_flight=2) for n in range(9)))
    picked = Counter(choices(P2C(random.Random(1)), offered, 5_000))
    assert picked["idle"] == pytest.approx(1_000, rel=0.1)


def test_p2c_keeps_the_greatest_load_low() -> None:
    """1,000 tasks on 1,000 agents: one random choice leaves some agent with 5 or 6, two leave none above 3."""
    busy, balancer = Counter[str](), P2C(random.Random(1))
    views = {name: agent(name, slots=100) for name in NAMES}
    offered = offer(*views.values())
    for _ in range(1_000):
        chosen = balancer.choose(TASK, offered, 0.0)
        busy[chosen] += 1
        views[chosen].in_flight += 1
    assert max(busy.values()) <= 3
