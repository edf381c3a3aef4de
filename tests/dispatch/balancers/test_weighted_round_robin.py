"""Smooth weighted round robin: nginx's sequence, and fairness while weights and members change."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dispatch.balancers.base import MAX_SCAN
from app.dispatch.balancers.offer import FreeAgents
from app.dispatch.balancers.weighted_round_robin import WeightedRoundRobin

from .offers import TASK, agent, choices, idle, join_all, offer


def weighted(weights: dict[str, int]) -> FreeAgents:
    return offer(*(agent(agent_id, weight=weight) for agent_id, weight in weights.items()))


@pytest.mark.parametrize(
    ("weights", "sequence"),
    [
        ({"a": 5, "b": 1, "c": 1}, "aabacaa"),
        ({"c": 1, "a": 5, "b": 1}, "aabacaa"),  # the order of the offer is irrelevant
        ({"a": 1, "b": 1, "c": 1}, "abc"),
        ({"a": 2, "b": 1}, "aba"),
        ({"a": 3, "b": 2}, "ababa"),
        ({"a": 4, "b": 2, "c": 1}, "abacaba"),
    ],
)
def test_the_sequence_repeats_exactly(weights: dict[str, int], sequence: str) -> None:
    picked = choices(WeightedRoundRobin(random.Random(1)), weighted(weights), len(sequence) * 50)
    assert picked == list(sequence * 50)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10), min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_full_cycle_gives_each_its_weight(weights: dict[str, int]) -> None:
    picked = choices(WeightedRoundRobin(random.Random(1)), weighted(weights), sum(weights.values()))
    assert Counter(picked) == weights


def test_nobody_pays_for_an_old_weight() -> None:
    """In the old currency `a` would owe 30 and be passed over for the next 39 choices."""
    balancer = WeightedRoundRobin(random.Random(1))
    choices(balancer, weighted({"a": 10, "b": 10, "c": 10, "d": 10}), 1)
    picked = choices(balancer, weighted({"a": 1, "b": 1, "c": 1, "d": 1}), 7)
    assert picked == list("bcdabcd")


def test_a_newcomer_neither_floods_nor_starves() -> None:
    """Forty leave, each right after its turn: those who stay hold 1.6 turns of credit each, the mean."""
    balancer, old = WeightedRoundRobin(random.Random(1)), [f"old{n}" for n in range(50)]
    for _ in range(40):
        chosen = balancer.choose(TASK, idle(old), 0.0)
        old.remove(chosen)
        balancer.left(chosen, 0.0)
    picked = Counter(choices(balancer, idle([*old, "new"]), 11))
    assert picked == Counter([*old, "new"])


def test_a_full_agent_neither_saves_nor_owes() -> None:
    balancer = WeightedRoundRobin(random.Random(1))
    choices(balancer, idle("abc"), 3)
    choices(balancer, idle("ab"), 100)
    assert Counter(choices(balancer, idle("abc"), 30)) == {"a": 10, "b": 10, "c": 10}


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_any_history_leaves_the_future_fair(seed: int) -> None:
    """After 200 choices among random offers, weights and leavers, ten cycles are fair to n turns."""
    events, balancer, names = random.Random(seed), WeightedRoundRobin(random.Random(1)), "abcdef"
    for _ in range(200):
        present = events.sample(names, events.randint(1, 6))
        balancer.choose(TASK, weighted({name: events.randint(1, 10) for name in present}), 0.0)
        if events.random() < 0.1:
            balancer.left(events.choice(names), 0.0)
    weights = {name: events.randint(1, 10) for name in names}
    cycle = sum(weights.values())
    picked = Counter(choices(balancer, weighted(weights), cycle * 10))
    assert all(abs(picked[name] - 10 * weight) <= len(names) for name, weight in weights.items())


def many(count: int) -> dict[str, int]:
    return {f"a{n:04}": 1 + n % 10 for n in range(count)}


@pytest.mark.parametrize("known", [True, False])
def test_a_large_pool_shares_in_proportion_to_one_turn_a_member(known: bool) -> None:
    """Whole rounds of a pool too large to compare: each gets its share to within one turn, joined before or not."""
    weights = many(500)
    balancer, offered = WeightedRoundRobin(random.Random(1)), weighted(weights)
    if known:
        join_all(balancer, offered)
    else:
        choices(balancer, offered, 2_000)  # enough draws to have met all
    rounds = 30
    picked = Counter(choices(balancer, offered, rounds * sum(weights.values()) // 10))
    assert all(abs(picked[name] - rounds * weight / 10) <= 1.5 for name, weight in weights.items())


def test_a_large_pool_interleaves() -> None:
    """100 equal agents take half of a round's visits each: in any 50 turns nobody has two, and the order is mixed."""
    offered = idle(f"a{n:03}" for n in range(100))
    balancer = WeightedRoundRobin(random.Random(1))
    join_all(balancer, offered)
    picked = choices(balancer, offered, 400)
    assert all(len(set(picked[n : n + 45])) == 45 for n in range(350))
    skipped = [int(str(later)[1:]) - int(str(former)[1:]) for former, later in pairwise(picked)]
    assert 0.2 < skipped.count(1) / len(skipped) < 0.8


def test_a_large_pool_with_few_free_still_shares_in_proportion() -> None:
    """70 of 5,000 are offered: nearly every walk is in vain, and draws decide."""
    weights = many(5_000)
    balancer = WeightedRoundRobin(random.Random(1))
    join_all(balancer, weighted(weights))
    free = {name: weights[name] for name in sorted(weights)[::71]}
    assert len(free) > MAX_SCAN
    picked = Counter(choices(balancer, weighted(free), 14_000))
    heavy, light = (
        sum(picked[name] for name, weight in free.items() if weight in band)
        / sum(w for w in free.values() if w in band)
        for band in ({8, 9, 10}, {1, 2, 3})
    )
    assert heavy == pytest.approx(light, rel=0.15)


def test_a_large_pool_heeds_a_changed_weight() -> None:
    weights = many(200)
    balancer = WeightedRoundRobin(random.Random(1))
    join_all(balancer, weighted(weights))
    choices(balancer, weighted(weights), 500)
    weights["a0000"] = 10
    picked = Counter(choices(balancer, weighted(weights), 5 * sum(weights.values()) // 10))
    assert picked["a0000"] in {4, 5, 6}


def test_a_pool_between_few_and_many_stays_in_proportion() -> None:
    """The number of free agents crosses MAX_SCAN from choice to choice."""
    weights = {f"a{n:02}": 1 + n % 10 for n in range(80)}
    events, balancer = random.Random(4), WeightedRoundRobin(random.Random(1))
    join_all(balancer, weighted(weights))
    picked = Counter[str]()
    for _ in range(8_800):
        free = events.sample(sorted(weights), events.choice([40, 75]))
        picked[balancer.choose(TASK, weighted({name: weights[name] for name in free}), 0.0)] += 1
    assert all(picked[name] / weight == pytest.approx(20, rel=0.35) for name, weight in weights.items() if weight > 2)
