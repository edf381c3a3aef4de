"""What a task type costs on a class: the configured prior, what results make of it, and the limits of memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.balancers.ai.costs import HALVE_AT, MAX_CLASSES, MAX_TYPES, REST, Costs, mismatch


def matrix(*versions: str, **skills: float) -> Costs:
    costs = Costs()
    for version in versions:
        costs.enter(version, skills if version == versions[0] else {})
    return costs


def teach(costs: Costs, task_type: str, cls: str, seconds: float, count: int = 1, ok: bool = True) -> None:
    for _ in range(count):
        costs.count(costs.row_of_result(task_type, 0.0), cls, ok, seconds)


@pytest.mark.parametrize(
    ("skills", "factor"), [({"log": 1.0}, 1.0), ({"log": 0.5}, 2.0), ({"log": 0.0}, 4.0), ({}, 1.0), ({"log": 7}, 1.0)]
)
def test_the_prior_of_a_compatibility(skills: dict[str, float], factor: float) -> None:
    assert mismatch(skills, "log") == factor


def test_an_untried_class_is_judged_by_its_configuration() -> None:
    costs = Costs()
    costs.enter("fits", {"log": 1.0})
    costs.enter("does not", {"log": 0.5})
    row = costs.row("log", 0.0)
    assert row.home == "fits"
    assert row.cells["does not"].seconds == pytest.approx(2 * row.cells["fits"].seconds)


def test_results_overrule_the_configuration() -> None:
    costs = Costs()
    costs.enter("said to fit", {"log": 1.0})
    costs.enter("fits", {"log": 0.2})
    teach(costs, "log", "said to fit", 10.0, 100)
    teach(costs, "log", "fits", 2.0, 100)
    row = costs.row("log", 1.0)
    assert row.home == "fits"
    assert row.cells["fits"].seconds == pytest.approx(2.0, rel=0.3)
    assert row.cells["said to fit"].seconds == pytest.approx(10.0, rel=0.1)


def test_a_class_where_tasks_fail_is_no_home() -> None:
    costs = matrix("steady", "quick")
    teach(costs, "log", "steady", 2.0, 100)
    teach(costs, "log", "quick", 1.0, 60)
    teach(costs, "log", "quick", 0.1, 40, ok=False)
    assert costs.row("log", 1.0).home == "steady"


def test_an_untried_class_is_tried() -> None:
    """It is expected to be as quick as what is known, so that its agents get work and show what they are."""
    costs = matrix("old")
    teach(costs, "log", "old", 3.0, 500)
    costs.enter("new", {})
    row = costs.row("log", 1.0)
    assert row.cells["new"].seconds == pytest.approx(3.0, rel=0.01)


def test_what_a_class_has_become_outweighs_what_it_was() -> None:
    costs = matrix("v")
    teach(costs, "log", "v", 1.0, 5_000)
    teach(costs, "log", "v", 3.0, int(1.5 * HALVE_AT))
    assert costs.row("log", 1.0).cells["v"].seconds > 2.5


def test_a_class_without_agents_is_no_home_and_not_forgotten() -> None:
    costs = matrix("a", "b")
    teach(costs, "log", "a", 1.0, 50)
    teach(costs, "log", "b", 5.0, 50)
    costs.leave("a")
    assert costs.row("log", 1.0).home == "b"
    costs.enter("a", {})
    assert costs.row("log", 2.0).home == "a"


def test_types_of_which_nothing_is_known_share_a_row() -> None:
    costs = matrix("v", known=0.5)
    assert {costs.row(f"t{n}", 0.0).name for n in range(10)} == {REST}
    assert costs.row("known", 0.0).name == "known"
    assert not list(costs.cells())


def test_the_type_unused_for_longest_makes_room() -> None:
    costs = matrix("v")
    for n in range(MAX_TYPES):
        teach(costs, f"t{n}", "v", 1.0)
    costs.row("t0", 1.0)  # a choice is a use
    teach(costs, "one more", "v", 1.0)
    kept = {task_type for task_type, _, _ in costs.cells()}
    assert kept == {"one more", "t0"} | {f"t{n}" for n in range(2, MAX_TYPES)}


@pytest.mark.parametrize("with_results", [False, True])
def test_no_number_of_other_types_keeps_one_from_learning(with_results: bool) -> None:
    costs = matrix("quick", "slow")
    for n in range(1_000):
        costs.row(f"junk-{n}", 0.0)
        if with_results:
            teach(costs, f"junk-{n}", "slow", 1.0)
    teach(costs, "log", "slow", 60.0, 100)
    teach(costs, "log", "quick", 1.0, 100)
    row = costs.row("log", 1.0)
    assert (row.name, row.home) == ("log", "quick")
    assert row.cells["slow"].seconds > 20 * row.cells["quick"].seconds
    assert len({task_type for task_type, _, _ in costs.cells()}) <= MAX_TYPES


def test_configured_types_without_results_are_bounded() -> None:
    skills = {f"t{n}": n / 1_000 for n in range(10 * MAX_TYPES)}
    costs = matrix("v", "w", **skills)
    for name, compatibility in skills.items():
        assert costs.row(name, 0.0).cells["v"].factor == mismatch({name: compatibility}, name)
    assert len(costs._drafts) <= MAX_TYPES + 1


def test_a_class_that_comes_later_is_known_to_every_type() -> None:
    costs = matrix("v", log=1.0)
    for name in ("log", "unheard of"):
        costs.row(name, 0.0)
    costs.enter("w", {"log": 0.5})
    assert costs.row("log", 0.0).cells["w"].factor == 2.0
    assert costs.row("unheard of", 0.0).cells["w"].factor == 1.0


def test_classes_past_the_limit_share() -> None:
    costs = matrix("v")
    teach(costs, "log", "v", 1.0)
    classes = {costs.enter(f"v{n}", {}) for n in range(10 * MAX_CLASSES)}
    assert len(classes) == MAX_CLASSES
    assert REST in classes
    assert all(len(costs.row(name, 1.0).cells) <= MAX_CLASSES + 1 for name in ("log", "other"))


def test_versions_that_come_and_go_take_no_more_room() -> None:
    costs = matrix("v")
    teach(costs, "log", "v", 1.0)
    for n in range(10 * MAX_CLASSES):
        assert costs.enter(f"v{n}", {}) == f"v{n}"
        costs.leave(f"v{n}")
    assert len(costs.row("log", 1.0).cells) <= MAX_CLASSES


def test_other_managers_sums_are_replaced_not_added() -> None:
    costs = matrix("v")
    teach(costs, "log", "v", 1.0, 10)
    for _ in range(5):
        costs.merge({("log", "v"): (300.0, 100.0, 0.0, 100.0), ("log", "unknown"): (1.0, 1.0, 0.0, 1.0)})
    cell = costs.row("log", 1.0).cells["v"]
    assert cell.attempts + cell.peer[3] == 110
    costs.merge({})
    assert costs.row("log", 1.0).cells["v"].peer[3] == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from("xy"), st.booleans(), st.floats(0, 1e7), st.floats(-1e6, 1e6)
        ),
        max_size=60,
    )
)
def test_every_number_stays_usable(results: list[tuple[str, str, bool, float, float]]) -> None:
    costs = matrix("x", "y", a=1.0, b=0.0)
    for task_type, cls, ok, seconds, now in results:
        costs.count(costs.row_of_result(task_type, now), cls, ok, seconds)
        row = costs.row(task_type, now)
        assert row.home in {"x", "y"}
        assert 0.0 <= row.home_cost < math.inf
        assert 0.0 <= row.penalty < math.inf
        for cell in row.cells.values():
            assert 0.0 <= cell.seconds < math.inf
            assert 0.0 <= cell.failing <= 1.0
