"""What every balancer keeps, whatever its strategy; the seam's text is in `balancers/base.py`."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.dispatch.balancers.base import Outcome, TaskView

from .offers import DONE, TASK, Pool, choices, idle
from .subjects import GUARDED_BAD, SUBJECTS, reachable_strings, subject

every_subject = pytest.mark.parametrize("name", SUBJECTS)
outcomes = st.builds(Outcome, ok=st.booleans(), seconds=st.floats(0, 600), counted=st.booleans())
tasks = st.builds(TaskView, id=st.just("t"), type=st.sampled_from(["log", "scan"]), complexity=st.floats(0, 1))


@every_subject
def test_one_agent_is_the_only_choice(name: str) -> None:
    assert set(choices(subject(name), idle(["only"]), 20)) <= {"only", None}


@every_subject
def test_ten_thousand_agents(name: str) -> None:
    balancer, offer = subject(name), idle(f"a{n}" for n in range(10_000))
    assert set(choices(balancer, offer, 5)) <= {agent.id for agent in offer} | {None}


@every_subject
def test_the_offer_comes_back_unchanged(name: str) -> None:
    offer = idle("abc")
    choices(subject(name), offer, 30)
    assert offer == idle("abc")


@every_subject
def test_a_strategy_of_ours_never_keeps_a_task_waiting(name: str) -> None:
    if name != GUARDED_BAD:
        assert None not in choices(subject(name), idle("abc"), 30)


@every_subject
def test_equal_idle_agents_all_get_work(name: str) -> None:
    balancer, order = subject(name), random.Random(1)
    pool = Pool(balancer)
    for agent_id in "abcd":
        pool.join(agent_id, slots=1)
    for _ in range(40):
        while pool.place(TASK, order) is not None:
            pass
        if pool.running:
            pool.finish(0)
    assert set(pool.finished) | {agent_id for agent_id, _ in pool.running} == set("abcd")


@every_subject
def test_what_happens_after_a_restart_is_tolerated(name: str) -> None:
    balancer = subject(name)
    balancer.finished("before", TASK, DONE, 1.0)
    balancer.left("stranger", 2.0)
    balancer.started("unasked", TASK, 3.0)
    balancer.finished("unasked", TASK, DONE, 4.0)
    balancer.finished("unasked", TASK, DONE, 5.0)
    assert set(choices(balancer, idle("ab"), 10)) <= {"a", "b", None}


@every_subject
def test_work_is_conserved(name: str) -> None:
    order, pool = random.Random(3), Pool(subject(name))
    for n in range(6):
        pool.join(f"a{n}", slots=1 + n % 3, weight=1.0 + n)
    waiting = 300
    while waiting or pool.running:
        waiting -= waiting > 0 and pool.place(TASK, order) is not None
        assert len(pool.running) <= sum(pool.slots.values())
        if pool.running and (order.random() < 0.4 or not waiting):
            pool.finish(order.randrange(len(pool.running)), Outcome(order.random() < 0.8, order.random()))
    assert pool.finished.total() == 300


def churned(name: str, seed: int) -> tuple[Pool, list[str | None], set[str]]:
    """A pool after 400 random events, its choices in order, and the ids of those who left."""
    events, pool = random.Random(seed), Pool(subject(name, seed))
    chosen: list[str | None] = []
    gone: set[str] = set()
    for n in range(400):
        what = events.random()
        if what < 0.15:
            pool.join(f"agent-{n}", slots=events.randint(1, 3), weight=events.randint(1, 10))
        elif what < 0.25 and pool.slots:
            leaver = events.choice(sorted(pool.slots))
            pool.leave(leaver)
            gone.add(leaver)
        elif what < 0.5 and pool.running:
            pool.finish(events.randrange(len(pool.running)), Outcome(events.random() < 0.7, events.random()))
        else:
            chosen.append(pool.place(TASK, events))
    return pool, chosen, gone


@every_subject
def test_the_same_seed_makes_the_same_choices(name: str) -> None:
    assert churned(name, 11)[1] == churned(name, 11)[1]


@every_subject
def test_those_who_left_are_forgotten(name: str) -> None:
    pool, _, gone = churned(name, 5)
    while pool.running:
        pool.finish(0)
    for agent_id in list(pool.slots):
        gone.add(agent_id)
        pool.leave(agent_id)
    kept = gone & reachable_strings(pool.balancer)
    assert len(gone) > 40
    assert len(kept) <= 1  # a cursor may stand at one of them


class Churn(RuleBasedStateMachine):
    """Agents join and leave and tasks start and end in any order; `Pool.place` checks every choice."""

    name: ClassVar[str]

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        self.pool = Pool(subject(self.name, seed))
        self.order = random.Random(seed)
        self.joined: list[str] = []

    @rule(slots=st.integers(1, 3), weight=st.integers(1, 10))
    def join(self, slots: int, weight: int) -> None:
        self.joined.append(f"agent-{len(self.joined)}")
        self.pool.join(self.joined[-1], slots, weight)

    @rule(task=tasks)
    def place(self, task: TaskView) -> None:
        free = bool(self.pool.offer())
        placed = self.pool.place(task, self.order) is not None
        assert placed == free or self.name == GUARDED_BAD

    @precondition(lambda self: self.pool.slots)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.pool.leave(data.draw(st.sampled_from(sorted(self.pool.slots))))

    @precondition(lambda self: self.pool.slots)
    @rule(data=st.data(), weight=st.integers(1, 10))
    def weigh(self, data: st.DataObject, weight: int) -> None:
        self.pool.weights[data.draw(st.sampled_from(sorted(self.pool.slots)))] = weight

    @precondition(lambda self: self.pool.running)
    @rule(data=st.data(), outcome=outcomes)
    def finish(self, data: st.DataObject, outcome: Outcome) -> None:
        self.pool.finish(data.draw(st.integers(0, len(self.pool.running) - 1)), outcome)

    @precondition(lambda self: self.joined)
    @rule(data=st.data(), outcome=outcomes)
    def finish_unstarted(self, data: st.DataObject, outcome: Outcome) -> None:
        self.pool.balancer.finished(data.draw(st.sampled_from(self.joined)), TASK, outcome, self.pool.now)

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            gone = set(self.joined) - set(self.pool.slots) - {agent_id for agent_id, _ in self.pool.running}
            assert len(gone & reachable_strings(self.pool.balancer)) <= 1


@every_subject
def test_agents_and_tasks_come_and_go_in_any_order(name: str) -> None:
    machine = type("ChurnOfOne", (Churn,), {"name": name})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=40, deadline=None))


@every_subject
@settings(max_examples=25, deadline=None)
@given(ids=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8, unique=True))
def test_ids_may_be_any_text(name: str, ids: list[str]) -> None:
    assert set(choices(subject(name), idle(ids), 12)) <= {*ids, None}
