"""When an agent is left alone, tried again and let back, and how many of a pool may be at once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.balancers.ai.breaker import (
    CALM_S,
    CLOSED,
    FIRST_OPEN_S,
    HALF_OPEN,
    JITTER,
    LONGEST_OPEN_S,
    LOST_TRIAL_S,
    OPEN,
    RESERVED_S,
    Breaker,
)
from app.dispatch.balancers.ai.ejection import MOST_EJECTED, Ejections


def opens_after(results: str, usual_rate: float) -> int | None:
    """At which of the results ("x" failed, "." succeeded) the breaker should open, counted from 1."""
    breaker = Breaker()
    for number, result in enumerate(results, 1):
        if breaker.count(result == ".", usual_rate):
            return number
    return None


@pytest.mark.parametrize(
    ("results", "usual_rate", "opens"),
    [
        ("xx", 0.0, 2),  # two in a row, where failures are rare
        ("x.x.x.x.xx", 0.01, 5),
        ("x" + "." * 9 + "x" + "." * 9 + "x", 0.02, None),
        ("xxx", 0.05, 3),
        ("." * 1000 + "xx", 0.0, 1002),  # a good past is no credit
        ("x" * 20, 0.5, None),  # everything fails everywhere: up to
        ("x" * 30, 0.5, 21),  # a point
        ("xx.." * 50, 0.5, None),
    ],
)
def test_cusum(results: str, usual_rate: float, opens: int | None) -> None:
    assert opens_after(results, usual_rate) == opens


@given(st.text("x.", max_size=60), st.floats(-1, 2))
def test_the_score_is_never_negative(results: str, usual_rate: float) -> None:
    breaker = Breaker()
    for result in results:
        breaker.count(result == ".", usual_rate)
        assert breaker.score >= 0.0


def test_each_opening_is_twice_as_long_up_to_a_limit() -> None:
    breaker, rng, now, lengths = Breaker(), random.Random(1), 0.0, []
    for _ in range(8):
        breaker.open(now, rng)
        lengths.append(breaker.remaining_s(now))
        now += lengths[-1]
    for n, length in enumerate(lengths):
        usual = min(LONGEST_OPEN_S, FIRST_OPEN_S * 2**n)
        assert usual <= length <= usual * (1 + JITTER)


def test_calm_is_rewarded() -> None:
    breaker, rng = Breaker(), random.Random(1)
    breaker.open(0.0, rng)
    breaker.open(10.0, rng)
    breaker.close(30.0)
    breaker.open(31.0 + CALM_S, rng)
    assert breaker.remaining_s(31.0 + CALM_S) <= FIRST_OPEN_S * (1 + JITTER)


def test_one_trial_at_a_time() -> None:
    breaker = Breaker()
    breaker.open_for(10.0, 0.0)
    assert (breaker.state(9.0), breaker.admits(9.0)) == (OPEN, False)
    assert (breaker.state(10.0), breaker.admits(10.0)) == (HALF_OPEN, True)
    breaker.began("t1", 10.0)
    assert not breaker.admits(11.0)
    assert not breaker.ended("t0")  # one that was under way before
    assert breaker.ended("t1")
    assert breaker.admits(12.0)
    breaker.close(12.0)
    assert (breaker.state(12.0), breaker.admits(12.0)) == (CLOSED, True)


def test_a_trial_is_reserved_for_the_task_chosen_for_a_while() -> None:
    breaker = Breaker()
    breaker.open_for(10.0, 0.0)
    breaker.reserve("early", 9.0)  # not due yet
    assert breaker.admits(10.0)
    breaker.reserve("t1", 10.0)
    assert not breaker.admits(9.99 + RESERVED_S)
    breaker.began("t2", 11.0)  # chosen before the breaker opened
    assert not breaker.ended("t2")
    assert breaker.admits(10.0 + RESERVED_S)
    breaker.reserve("t3", 10.0 + RESERVED_S)
    breaker.began("t3", 11.0 + RESERVED_S)
    assert not breaker.admits(100.0)  # as it has begun
    assert breaker.ended("t3")


def test_a_trial_that_never_ends_is_given_up() -> None:
    breaker = Breaker()
    breaker.open_for(1.0, 0.0)
    breaker.began("t1", 1.0)
    assert not breaker.admits(LOST_TRIAL_S)
    assert breaker.admits(1.0 + LOST_TRIAL_S)


def test_a_clock_that_steps_back_keeps_no_agent_away_for_longer() -> None:
    breaker = Breaker()
    breaker.open_for(10.0, 100_000.0)
    assert breaker.remaining_s(50.0) == 10.0
    assert breaker.admits(60.0)


@given(
    st.lists(st.tuples(st.sampled_from(["join", "leave", "open", "adopt", "close"]), st.integers(0, 19)), max_size=80),
    st.integers(0, 5),
)
def test_never_more_than_a_share_of_the_pool(steps: list[tuple[str, int]], seed: int) -> None:
    ejections, pool = Ejections(random.Random(seed)), {f"a{n}": Breaker() for n in range(10)}
    for now, (what, n) in enumerate(steps):
        agent_id = f"a{n}"
        if what == "join":
            pool.setdefault(agent_id, Breaker())
        elif agent_id in pool:
            if what == "open":
                ejections.open(agent_id, pool[agent_id], len(pool), now)
            elif what == "adopt":
                ejections.adopt(agent_id, pool[agent_id], 7.0, len(pool), now)
            else:
                ejections.close(agent_id, now)
            if what == "leave":
                del pool[agent_id]
                ejections.shrink(len(pool), now)
        assert len(ejections) <= MOST_EJECTED * len(pool)
        assert {agent_id for agent_id, _ in ejections} == {one for one, breaker in pool.items() if breaker.is_open}
