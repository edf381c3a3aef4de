"""Smooth weighted round robin: nginx's sequence, and fairness while weights and members change."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dispatch.balancers.base import AgentView
from app.dispatch.balancers.weighted_round_robin import WeightedRoundRobin

from .offers import TASK, agent, choices, idle


def weighted(weights: dict[str, int]) -> list[AgentView]:
    return [agent(agent_id, weight=weight) for agent_id, weight in weights.items()]


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
    picked = choices(WeightedRoundRobin(), weighted(weights), len(sequence) * 50)
    assert picked == list(sequence * 50)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10), min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_full_cycle_gives_each_its_weight(weights: dict[str, int]) -> None:
    picked = choices(WeightedRoundRobin(), weighted(weights), sum(weights.values()))
    assert Counter(picked) == weights


def test_nobody_pays_for_an_old_weight() -> None:
    """In the old currency `a` would owe 30 and be passed over for the next 39 choices."""
    balancer = WeightedRoundRobin()
    choices(balancer, weighted({"a": 10, "b": 10, "c": 10, "d": 10}), 1)
    picked = choices(balancer, weighted({"a": 1, "b": 1, "c": 1, "d": 1}), 7)
    assert picked == list("bcdabcd")


def test_a_newcomer_neither_floods_nor_starves() -> None:
    """Forty leave, each right after its turn: those who stay hold 1.6 turns of credit each, the mean."""
    balancer, old = WeightedRoundRobin(), [f"old{n}" for n in range(50)]
    for _ in range(40):
        chosen = balancer.choose(TASK, idle(old), 0.0)
        old.remove(chosen)
        balancer.left(chosen, 0.0)
    picked = Counter(choices(balancer, idle([*old, "new"]), 11))
    assert picked == Counter([*old, "new"])


def test_a_full_agent_neither_saves_nor_owes() -> None:
    balancer = WeightedRoundRobin()
    choices(balancer, idle("abc"), 3)
    choices(balancer, idle("ab"), 100)
    assert Counter(choices(balancer, idle("abc"), 30)) == {"a": 10, "b": 10, "c": 10}


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_any_history_leaves_the_future_fair(seed: int) -> None:
    """After 200 choices among random offers, weights and leavers, ten cycles are fair to n turns."""
    events, balancer, names = random.Random(seed), WeightedRoundRobin(), "abcdef"
    for _ in range(200):
        offer = [agent(name, weight=events.randint(1, 10)) for name in events.sample(names, events.randint(1, 6))]
        balancer.choose(TASK, offer, 0.0)
        if events.random() < 0.1:
            balancer.left(events.choice(names), 0.0)
    weights = {name: events.randint(1, 10) for name in names}
    cycle = sum(weights.values())
    picked = Counter(choices(balancer, weighted(weights), cycle * 10))
    assert all(abs(picked[name] - 10 * weight) <= len(names) for name, weight in weights.items())
