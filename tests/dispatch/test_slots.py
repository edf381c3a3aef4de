"""Slots: one owner each, an even split, the least movement; and the table against a naive model."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.dispatch.slots import AgentSlots, NoFreeSlotError, SlotTable, owned

ids = st.text(min_size=1, max_size=6)
managers = st.lists(ids, min_size=1, max_size=9, unique=True)
counts = st.integers(0, 200)


def split(agent_id: str, slots: int, live: list[str]) -> dict[str, int]:
    return {manager: owned(agent_id, slots, live, manager) for manager in live}


@given(ids, counts, managers)
def test_every_slot_has_one_owner_and_the_split_is_even(agent_id: str, slots: int, live: list[str]) -> None:
    shares = split(agent_id, slots, live).values()
    assert sum(shares) == slots
    assert max(shares) - min(shares) <= 1


@given(ids, counts, managers, st.randoms())
def test_the_order_of_the_managers_is_irrelevant(
    agent_id: str, slots: int, live: list[str], order: random.Random
) -> None:
    shuffled = [*live, *live]
    order.shuffle(shuffled)
    assert split(agent_id, slots, live) == {name: owned(agent_id, slots, shuffled, name) for name in live}


@given(ids, counts, managers, ids)
def test_only_the_slots_of_the_one_that_comes_or_goes_move(
    agent_id: str, slots: int, live: list[str], newcomer: str
) -> None:
    stayers = [name for name in live if name != newcomer]
    if not stayers:
        return
    before, after = split(agent_id, slots, stayers), split(agent_id, slots, [*stayers, newcomer])
    assert all(after[name] <= before[name] for name in stayers)
    moved = sum(before[name] - after[name] for name in stayers)
    assert moved == after[newcomer] <= -(-slots // len(after))


@given(ids, counts, managers)
def test_a_stranger_owns_nothing(agent_id: str, slots: int, live: list[str]) -> None:
    assert owned(agent_id, slots, [name for name in live if name != "me"], "me") == 0
    assert owned(agent_id, slots, [], "me") == 0


def test_remainders_are_even_over_many_agents() -> None:
    live = [f"manager-{n}" for n in range(3)]
    totals = Counter[str]()
    for n in range(3000):
        totals.update(split(f"agent-{n}", 1, live))
    assert all(abs(total - 1000) < 100 for total in totals.values())  # 3.9 standard deviations


def test_the_rule_is_the_same_in_every_process_and_release() -> None:
    """Managers of two releases run side by side during a rollout: the rule must not change unnoticed."""
    live = ["m1", "m2", "m3"]
    got = {agent_id: tuple(split(agent_id, 4, live).values()) for agent_id in "abcdef"}
    assert got == {
        "a": (1, 1, 2),
        "b": (1, 2, 1),
        "c": (1, 2, 1),
        "d": (1, 2, 1),
        "e": (1, 1, 2),
        "f": (2, 1, 1),
    }


def ids_in(table: SlotTable, pool: str) -> list[str]:
    return [agent.id for agent in table.offer(pool)]


@pytest.fixture
def table() -> SlotTable:
    fresh = SlotTable()
    fresh.set_managers(["me"], "me", active=True)
    for agent_id, facts in {"a": AgentSlots("p", 2), "b": AgentSlots("p", 3), "c": AgentSlots("q", 1)}.items():
        fresh.put(agent_id, facts)
    return fresh


def test_a_table_starts_with_what_it_owns(table: SlotTable) -> None:
    assert (table.free_in("p"), table.free_in("q"), table.free_in("none")) == (5, 1, 0)
    assert sorted(ids_in(table, "p")) == ["a", "b"]
    assert (table.owned("b"), table.free("b"), table.in_flight("b")) == (3, 3, 0)


def test_take_and_give_back(table: SlotTable) -> None:
    table.take("c")
    assert (table.free_in("q"), ids_in(table, "q"), table.in_flight("c")) == (0, [], 1)
    with pytest.raises(NoFreeSlotError, match="agent c"):
        table.take("c")
    assert table.in_flight("c") == 1
    table.give_back("c")
    assert (table.free_in("q"), ids_in(table, "q")) == (1, ["c"])


@pytest.mark.parametrize("agent_id", ["unknown", "a"])
def test_giving_back_what_was_not_taken_changes_nothing(table: SlotTable, agent_id: str) -> None:
    table.give_back(agent_id)
    assert (table.in_flight(agent_id), table.free_in("p")) == (0, 5)


def test_an_unknown_agent_cannot_be_taken(table: SlotTable) -> None:
    with pytest.raises(NoFreeSlotError):
        table.take("unknown")
    assert table.in_flight("unknown") == 0


def test_a_newcomer_waits_while_the_others_already_count_it(table: SlotTable) -> None:
    table.set_managers(["me", "old"], "me", active=False)
    assert (table.owned("b"), table.free_in("p"), ids_in(table, "p")) == (0, 0, [])
    table.set_managers(["old", "me"], "me", active=True)
    assert table.owned("b") in (1, 2)
    assert table.owned("a") == 1


def test_attempts_may_exceed_what_is_owned_after_a_change(table: SlotTable) -> None:
    table.take("a")
    table.take("a")
    table.set_managers(["me", "new"], "me", active=True)
    assert (table.owned("a"), table.in_flight("a"), table.free("a")) == (1, 2, 0)
    table.give_back("a")
    assert table.free("a") == 0
    table.give_back("a")
    assert table.free("a") == 1


def test_attempts_on_a_removed_agent_are_found_again_if_it_returns(table: SlotTable) -> None:
    table.take("a")
    table.take("a")
    table.remove("a")
    table.remove("b")
    assert (table.free("a"), table.in_flight("a"), table.free_in("p")) == (0, 2, 0)
    table.give_back("a")
    table.put("a", AgentSlots("p", 2))
    assert (table.in_flight("a"), table.free("a")) == (1, 1)


def test_an_ineligible_agent_offers_nothing_but_keeps_its_attempts(table: SlotTable) -> None:
    table.take("b")
    table.remove("a")
    table.put("b", AgentSlots("p", 3, eligible=False))
    assert (table.owned("b"), table.in_flight("b"), table.free("b"), table.free_in("p")) == (3, 1, 0, 0)
    table.put("b", AgentSlots("p", 3))
    assert ids_in(table, "p") == ["b"]


class TableAgainstModel(RuleBasedStateMachine):
    """The model recomputes everything from the facts at every question."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable()
        self.agents: dict[str, AgentSlots] = {}
        self.live: list[str] = []
        self.active = False
        self.running = Counter[str]()

    def model_owned(self, agent_id: str) -> int:
        if not self.active or agent_id not in self.agents:
            return 0
        return owned(agent_id, self.agents[agent_id].slots, self.live, "me")

    def model_free(self, agent_id: str) -> int:
        facts = self.agents.get(agent_id)
        if facts is None or not facts.eligible:
            return 0
        return max(0, self.model_owned(agent_id) - self.running[agent_id])

    @rule(
        agents=st.dictionaries(
            st.sampled_from("abcde"),
            st.builds(AgentSlots, st.sampled_from("pq"), st.integers(0, 6), st.booleans()),
        )
    )
    def set_agents(self, agents: dict[str, AgentSlots]) -> None:
        for agent_id in self.agents.keys() - agents.keys():
            self.table.remove(agent_id)
        for agent_id, facts in agents.items():
            self.table.put(agent_id, facts)
        self.agents = agents

    @rule(live=st.lists(st.sampled_from(["me", "m1", "m2", "m3"]), unique=True), active=st.booleans())
    def set_managers(self, live: list[str], active: bool) -> None:
        self.live, self.active = live, active
        self.table.set_managers(live, "me", active=active)

    @rule(agent_id=st.sampled_from("abcdex"))
    def take(self, agent_id: str) -> None:
        if self.model_free(agent_id):
            self.table.take(agent_id)
            self.running[agent_id] += 1
        else:
            with pytest.raises(NoFreeSlotError):
                self.table.take(agent_id)

    @rule(agent_id=st.sampled_from("abcdex"))
    def give_back(self, agent_id: str) -> None:
        self.table.give_back(agent_id)
        self.running[agent_id] = max(0, self.running[agent_id] - 1)

    @precondition(lambda self: self.running)
    @rule()
    def finish_all(self) -> None:
        for agent_id in list(self.running.elements()):
            self.give_back(agent_id)

    @invariant()
    def agrees(self) -> None:
        for agent_id in "abcdex":
            assert self.table.owned(agent_id) == self.model_owned(agent_id)
            assert self.table.in_flight(agent_id) == self.running[agent_id]
            assert self.table.free(agent_id) == self.model_free(agent_id)
        for pool in "pq":
            free = {name: self.model_free(name) for name in self.agents if self.agents[name].pool == pool}
            assert self.table.free_in(pool) == sum(free.values())
            assert sorted(ids_in(self.table, pool)) == sorted(name for name in free if free[name])
            for agent in self.table.offer(pool):
                assert agent.slots == self.model_owned(agent.id)
                assert agent.in_flight == self.running[agent.id]


TestTableAgainstModel = TableAgainstModel.TestCase
TestTableAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
