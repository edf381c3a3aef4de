"""What managers tell each other: what is written is understood, and nothing that is read does harm."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.balancers.ai import exchange
from app.dispatch.balancers.ai.costs import MAX_TYPES
from app.dispatch.balancers.ai.exchange import MAX_AGENTS, Numbers, agents, cells
from app.dispatch.balancers.ai_optimized import AiOptimized
from app.dispatch.balancers.base import AgentView, Outcome, TaskView

NAMES = ["a0", "a1", "log", "scan", "v0", "v1", "agents", "types", "v", ""]
garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
near_misses = st.fixed_dictionaries(
    {"v": st.sampled_from([1, 2, None])},
    optional={
        "seq": st.integers() | garbage,
        "agents": st.dictionaries(st.sampled_from(["a0", "a1", "a9"]), st.lists(st.floats() | garbage, max_size=7)),
        "types": st.dictionaries(
            st.sampled_from(["log", "new"]),
            st.dictionaries(st.sampled_from(["v0", "v9"]), st.lists(st.floats() | garbage, min_size=4, max_size=4)),
        ),
    },
)


def pool(count: int = 4, versions: int = 2, seed: int = 1) -> AiOptimized:
    balancer = AiOptimized(random.Random(seed))
    for n in range(count):
        balancer.joined(AgentView(f"a{n}", 4, 0, version=f"v{n % versions}"), 0.0)
    return balancer


def works(balancer: AiOptimized, results: list[tuple[str, str, bool, float]], start: float = 0.0) -> None:
    for n, (agent_id, task_type, ok, seconds) in enumerate(results):
        balancer.finished(agent_id, TaskView(f"t{n}", task_type), Outcome(ok, seconds), start + n)


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(finite(one) for one in value.values())
    return not isinstance(value, float) or math.isfinite(value)


@given(st.lists(garbage | near_misses, max_size=4))
def test_no_summary_does_harm(summaries: list[Any]) -> None:
    balancer = pool()
    works(balancer, [("a0", "log", True, 1.0)] * 5)
    balancer.merge(summaries, 10.0)
    learned = balancer.learned(11.0)
    assert set(learned["agents"]) == {"a0", "a1", "a2", "a3"}
    assert finite(learned)
    assert all(agent["slowness"] > 0 for agent in learned["agents"].values())
    assert len(balancer.ejected(11.0)) <= 1
    balancer.merge([], 12.0)
    assert balancer.summary(5.0) == _unmerged().summary(5.0)


def _unmerged() -> AiOptimized:
    balancer = pool()
    works(balancer, [("a0", "log", True, 1.0)] * 5)
    return balancer


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [True, 1, 0, 1, 0, 0],
        ["1", 1, 0, 1, 0, 0],
        [math.nan, 1, 0, 1, 0, 0],
        [math.inf, 1, 0, 1, 0, 0],
        [-1, 1, 0, 1, 0, 0],
        [100, 1, 0, 1, 0, 0],  # more than one answer may count
        [1, 1, 5, 1, 0, 0],  # more failures than attempts
        [1e12, 1e12, 0, 1e12, 0, 0],
        None,
        {},
    ],
)
def test_numbers_that_cannot_be(numbers: Any) -> None:
    assert not list(agents({"v": 1, "agents": {"a0": numbers}}))


def test_a_summary_is_json_and_is_understood() -> None:
    balancer = pool()
    works(balancer, [("a0", "log", True, 2.0), ("a1", "log", False, 2.0), ("a0", "scan", True, 3.0)])
    summary = json.loads(json.dumps(balancer.summary(3.0)))
    assert {agent_id for agent_id, _ in agents(summary)} == {"a0", "a1"}
    assert {(task_type, cls): read for task_type, cls, read in cells(summary)} == {
        ("log", "v0"): (2.0, 1.0, 0.0, 1.0),
        ("log", "v1"): (0.0, 0.0, 1.0, 1.0),
        ("scan", "v0"): (3.0, 1.0, 0.0, 1.0),
    }


def test_a_summary_is_bounded_and_keeps_those_with_most_to_tell() -> None:
    balancer = pool(MAX_AGENTS + 500)
    usual = [(f"a{n}", "log", True, 1.0) for n in range(1, MAX_AGENTS + 500)]
    works(balancer, usual + [("a0", "log", False, 1.0)] * 3)
    told = balancer.summary(0.0)["agents"]
    assert len(told) == MAX_AGENTS
    assert "a0" in told


def test_a_summary_leaves_out_what_others_told() -> None:
    one, other = pool(), pool(seed=2)
    works(one, [("a0", "log", True, 1.0)] * 20)
    other.merge([one.summary(20.0)], 20.0)
    told = other.summary(21.0)
    assert (told["agents"], told["types"]) == ({}, {})


def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Filled with the summaries whose agents are read."""
    seen: list[object] = []

    def read(summary: object) -> Iterator[tuple[str, Numbers]]:
        seen.append(summary)
        return agents(summary)

    monkeypatch.setattr(exchange, "agents", read)
    return seen


def test_the_same_told_again_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, one, other = looked_at(monkeypatch), pool(), pool(seed=2)
    works(one, [("a0", "log", True, 1.0)] * 20)
    other.merge([one.summary(20.0)], 20.0)
    other.merge([json.loads(json.dumps(one.summary(21.0)))], 21.0)
    assert len(seen) == 1
    works(one, [("a0", "log", True, 1.0)], start=22.0)
    other.merge([one.summary(22.0)], 22.0)
    assert len(seen) == 2
    assert other.learned(22.0)["types"]["log"]["v0"]["samples"] == 21
    other.merge([], 23.0)  # it is gone
    assert not other.learned(23.0)["types"]


def test_what_was_told_of_those_who_came_since_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, one, other = looked_at(monkeypatch), pool(4, versions=4), pool(3, versions=4, seed=2)
    works(one, [("a3", "log", True, 6.0), ("a2", "log", True, 1.0)] * 100)
    told = one.summary(200.0)
    other.merge([told], 200.0)
    other.joined(AgentView("a3", 4, 0, version="v3"), 200.0)
    other.merge([told], 201.0)
    assert len(seen) == 2
    assert other.learned(201.0)["types"]["log"]["v3"]["samples"] == 100


@pytest.mark.parametrize("seq", [None, "1", 1.5, True, [1]])
def test_a_summary_without_a_number_is_always_read(monkeypatch: pytest.MonkeyPatch, seq: Any) -> None:
    seen, other = looked_at(monkeypatch), pool()
    for _ in range(3):
        other.merge([{"v": 1, "seq": seq, "agents": {}, "types": {}}], 0.0)
    assert len(seen) == 3


def test_no_two_managers_count_alike() -> None:
    assert pool(seed=1).summary(0.0)["seq"] != pool(seed=2).summary(0.0)["seq"]


def test_types_of_others_leave_room_for_ours() -> None:
    balancer = pool()
    types = {f"t{n}": {"v0": [1.0, 1.0, 0.0, 1.0]} for n in range(10 * MAX_TYPES)}
    balancer.merge([{"v": 1, "types": types}], 0.0)
    works(balancer, [("a0", "ours", True, 1.0)])
    assert "ours" in balancer.learned(1.0)["types"]


def test_two_that_saw_half_know_what_one_that_saw_all_knows() -> None:
    rng = random.Random(5)
    slow = {"a0": 3.0}
    results = [
        (agent_id, "log", rng.random() > 0.05, slow.get(agent_id, 1.0) * rng.lognormvariate(0, 0.5))
        for agent_id in (f"a{n % 4}" for n in range(2_000))
    ]
    full, halves = pool(versions=1), [pool(versions=1, seed=seed) for seed in (2, 3)]
    for n, result in enumerate(results):
        works(full, [result], n * 0.1)
        works(halves[n % 8 < 4], [result], n * 0.1)
    halves[0].merge([halves[1].summary(200.0)], 200.0)
    known, both = full.learned(200.0), halves[0].learned(200.0)
    alone = halves[1].learned(200.0)
    for agent_id, agent in known["agents"].items():
        assert both["agents"][agent_id]["slowness"] == pytest.approx(agent["slowness"], rel=0.25)
    assert known["agents"]["a0"]["slowness"] > 1.5 * known["agents"]["a1"]["slowness"]
    assert both["types"]["log"]["v0"]["samples"] > 1.5 * alone["types"]["log"]["v0"]["samples"]
    assert both["types"]["log"]["v0"]["seconds"] == pytest.approx(known["types"]["log"]["v0"]["seconds"], rel=0.15)


def test_an_agent_that_another_manager_left_alone_is_left_alone_once() -> None:
    one, other = pool(), pool(seed=2)
    works(one, [("a0", "log", False, 0.01)] * 3)
    told = one.summary(3.0)
    assert set(one.ejected(3.0)) == {"a0"}
    other.merge([told], 3.0)
    assert set(other.ejected(3.0)) == {"a0"}
    works(other, [("a0", "log", True, 1.0)], start=100.0)  # a trial, by its time
    assert not other.ejected(101.0)
    other.merge([told], 101.0)  # the same old news
    assert not other.ejected(101.0)
