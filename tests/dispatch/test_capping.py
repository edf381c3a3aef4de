"""A cap on a pool, as slots of its agents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.capping import spread
from app.dispatch.slots import owned

slots = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 20), max_size=12)


@given(st.integers(-5, 200), slots)
def test_what_is_left_is_the_cap_and_no_agent_has_more_than_it_has(cap: int, agents: dict[str, int]) -> None:
    dealt = spread(cap, list(agents.items()))
    assert dealt.keys() == agents.keys()
    assert sum(dealt.values()) == min(max(0, cap), sum(agents.values()))
    assert all(0 <= dealt[agent] <= agents[agent] for agent in agents)
    # Nobody has two more than one who could have more.
    short = [dealt[agent] for agent in agents if dealt[agent] < agents[agent]]
    assert not short or max(dealt.values()) - min(short) <= 1


@given(st.integers(0, 50), slots, st.randoms(use_true_random=False))
def test_every_manager_comes_to_the_same_whatever_the_order(cap: int, agents: dict[str, int], random: object) -> None:
    shuffled = list(agents.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert spread(cap, shuffled) == spread(cap, list(agents.items()))


@given(st.integers(0, 30), slots, st.integers(1, 5))
def test_managers_together_own_the_cap(cap: int, agents: dict[str, int], count: int) -> None:
    managers = [f"m{number}" for number in range(count)]
    dealt = spread(cap, list(agents.items()))
    shares = [owned(agent, given, managers, me) for agent, given in dealt.items() for me in managers]
    assert sum(shares) == min(cap, sum(agents.values()))


@given(st.integers(-5, 200), slots, st.sets(st.text("abcdef", min_size=1, max_size=4)))
def test_the_last_get_what_the_others_have_no_room_for(cap: int, agents: dict[str, int], last: set[str]) -> None:
    dealt = spread(cap, list(agents.items()), last)
    assert dealt.keys() == agents.keys()
    assert sum(dealt.values()) == min(max(0, cap), sum(agents.values()))
    if any(dealt[agent] for agent in agents if agent in last):
        assert all(dealt[agent] == agents[agent] for agent in agents if agent not in last)
