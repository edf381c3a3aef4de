"""weighted_score: each term of the score by hand, what is learned, which agent wins, and what can be set."""

from __future__ import annotations

import math
import random

import pytest

from app.dispatch.balancers.base import AgentView, Outcome, TaskView
from app.dispatch.balancers.weighted_score import (
    WEIGHTS,
    Formula,
    Record,
    Terms,
    WeightedScore,
    complexity_fitness,
    score,
)
from app.settings import BalancerSettings

from .offers import DONE, FAILED, TASK, agent, choices, idle, offer

BRIEF = Formula()


def record(*results: Outcome, formula: Formula = BRIEF) -> Record:
    learned = Record()
    for result in results:
        learned.add(result, formula)
    return learned


def ok(seconds: float) -> Outcome:
    return Outcome(ok=True, seconds=seconds)


@pytest.mark.parametrize(
    ("complexity", "weight", "fitness"),
    [
        (0.0, 1.0, 1.0),
        (0.3, 10.0, 1.0),
        (0.31, 5.0, 1.0),
        (0.5, 1.0, 0.2),
        (0.5, 8.0, 0.4),
        (0.7, 10.0, 0.0),
        (0.71, 10.0, 1.0),
        (1.0, 5.0, 0.5),
        (1.0, 1.0, 0.1),
    ],
)
def test_complexity_fitness(complexity: float, weight: float, fitness: float) -> None:
    assert complexity_fitness(complexity, weight) == pytest.approx(fitness)


@pytest.mark.parametrize(
    ("task", "view", "learned", "terms"),
    [
        (  # a new idle agent is perfect but for the unknown type
            TaskView("t", "log", 0.2),
            AgentView("a", slots=4, in_flight=0),
            Record(),
            Terms(0.30, 0.25, 0.20, 0.075, 0.10),
        ),
        (  # 3 of 4 succeeded in 1 s each, 1 of 4 slots used, skill 0.8, weight 8 for a middling task
            TaskView("t", "log", 0.5),
            AgentView("a", slots=4, in_flight=1, weight=8, skills={"log": 0.8}),
            record(ok(1), ok(1), ok(1), FAILED),
            Terms(0.225, 0.125, 0.15, 0.12, 0.04),
        ),
        (  # 2 s, then 4 s: mean 2.2; a hard task on the lightest agent, which cannot do the type
            TaskView("t", "scan", 0.9),
            AgentView("a", slots=10, in_flight=9, weight=1, skills={"scan": 0.0, "log": 1.0}),
            record(ok(2), ok(4)),
            Terms(0.30, 0.078125, 0.02, 0.0, 0.01),
        ),
        (  # only failures: no success, and no answer either
            TaskView("t", "log", 0.0),
            AgentView("a", slots=1, in_flight=0, skills={"log": 1.0}),
            record(FAILED),
            Terms(0.0, 0.0, 0.20, 0.15, 0.10),
        ),
    ],
)
def test_score(task: TaskView, view: AgentView, learned: Record, terms: Terms) -> None:
    got = score(task, view, learned, BRIEF)
    assert got == pytest.approx(terms)
    assert got.total == pytest.approx(sum(terms))


def test_the_success_rate_is_of_the_last_hundred() -> None:
    learned = record(*[FAILED] * 50, *[DONE] * 50)
    assert learned.success_rate == 0.5
    for forgotten in range(1, 51):
        learned.add(DONE, BRIEF)
        assert learned.success_rate == pytest.approx((50 + forgotten) / 100)
    learned.add(FAILED, BRIEF)
    assert learned.success_rate == 0.99


def test_response_time_is_a_moving_average_of_answers() -> None:
    learned = record(ok(10.0))
    assert learned.response_s == 10.0
    learned.add(ok(0.0), BRIEF)
    assert learned.response_s == pytest.approx(9.0)
    learned.add(ok(19.0), BRIEF)
    assert learned.response_s == pytest.approx(10.0)
    learned.add(FAILED, BRIEF)
    assert learned.response_s == pytest.approx(10.0)


def test_a_clock_that_stepped_back_is_a_short_answer() -> None:
    assert record(ok(-5.0)).response_s == 0.0


def test_failing_fast_is_not_answering_fast() -> None:
    assert record(FAILED).response_s == math.inf
    assert record(FAILED, ok(3.0)).response_s == 3.0


def learned_by(balancer: WeightedScore, agent_id: str, *results: Outcome) -> None:
    balancer.joined(agent(agent_id), 0.0)
    for result in results:
        balancer.finished(agent_id, TASK, result, 0.0)


@pytest.mark.parametrize("silent", [{"counted": False}, {"agents_fault": False}])
def test_an_outcome_that_says_nothing_about_the_agent_teaches_nothing(silent: dict[str, bool]) -> None:
    balancer = WeightedScore(random.Random(1))
    learned_by(balancer, "a", Outcome(ok=False, seconds=9.0, **silent))
    assert balancer.scores(TASK, idle("a"))["a"] == score(TASK, agent("a"), Record(), BRIEF)


def test_scores_explain_the_choice_and_change_nothing() -> None:
    balancer = WeightedScore(random.Random(1))
    learned_by(balancer, "slow", ok(5.0))
    learned_by(balancer, "quick", ok(0.5))
    offered = idle(["slow", "quick"])
    terms = balancer.scores(TASK, offered)
    assert terms == balancer.scores(TASK, offered)
    assert terms["quick"].response == pytest.approx(0.25 / 1.5)
    assert balancer.choose(TASK, offered, 0.0) == max(terms, key=lambda name: terms[name].total) == "quick"


def test_a_new_agent_is_tried_before_a_proven_equal() -> None:
    balancer = WeightedScore(random.Random(1))
    learned_by(balancer, "proven", ok(1.0))
    assert balancer.choose(TASK, idle(["proven", "new"]), 0.0) == "new"


def test_an_agent_that_fails_at_once_does_not_draw_the_tasks_to_itself() -> None:
    balancer = WeightedScore(random.Random(1))
    learned_by(balancer, "healthy", *[ok(30.0)] * 10)
    learned_by(balancer, "broken", *[FAILED] * 10)
    assert balancer.choose(TASK, offer(agent("healthy", in_flight=3), agent("broken")), 0.0) == "healthy"


def test_equals_are_picked_from_at_random() -> None:
    assert set(choices(WeightedScore(random.Random(1)), idle("abc"), 60)) == set("abc")


def test_an_agent_that_left_and_returns_is_new() -> None:
    balancer = WeightedScore(random.Random(1))
    learned_by(balancer, "a", FAILED)
    balancer.left("a", 0.0)
    balancer.finished("a", TASK, FAILED, 0.0)
    assert balancer.scores(TASK, idle("a"))["a"].success == pytest.approx(0.30)


def test_of_many_agents_the_best_drawn_is_chosen() -> None:
    """60 of 600 agents skilled in the type: a draw of 64 misses all of them once in some 900 times."""
    views = [AgentView(f"a{n}", 4, 0, skills={"log": 1.0 if n % 10 == 0 else 0.1}) for n in range(600)]
    chosen = choices(WeightedScore(random.Random(1)), offer(*views), 50)
    assert {str(name)[-1] for name in chosen} == {"0"}


def test_the_settings_default_to_the_brief() -> None:
    assert Formula.of(BalancerSettings().score_params()) == Formula() == Formula(0.30, 0.25, 0.20, 0.15, 0.10, 0.1, 100)


@pytest.mark.parametrize("term", WEIGHTS)
def test_with_one_weight_alone_its_term_decides(term: str) -> None:
    """Each of five agents is the best in one term and worst in the others."""
    task, best = TaskView("t", "log", 0.9), {}
    balancer = WeightedScore(random.Random(1), Formula.of({name: float(name == term) for name in WEIGHTS}))
    for name in WEIGHTS:
        view = AgentView(
            id=name,
            slots=4,
            in_flight=0 if name == "free" else 3,
            weight=10 if name == "complexity" else 1,
            skills={"log": float(name == "compatibility")},
        )
        best[name] = view
        learned_by(
            balancer, name, *([ok(9.0)] if name == "success" else [ok(0.1 if name == "response" else 9.0), FAILED])
        )
    assert balancer.choose(task, offer(*best.values()), 0.0) == term


def test_alpha_and_window_are_what_was_set() -> None:
    formula = Formula(alpha=0.5, window=2)
    learned = record(FAILED, ok(1.0), ok(3.0), formula=formula)
    assert (learned.success_rate, learned.response_s) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"success": -0.1}, "success"),
        ({"response": math.nan}, "response"),
        ({"free": math.inf}, "free"),
        ({"compatibility": "0.15"}, "compatibility"),
        ({"complexity": True}, "complexity"),
        ({"complexity": None}, "complexity"),
        ({"free": 10**400}, "free"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": 1.5}, "alpha"),
        ({"window": 0}, "window"),
        ({"window": 10.0}, "window"),
        ({"window": True}, "window"),
        ({"speed": 1}, "speed"),
        (dict.fromkeys(WEIGHTS, 0), "success, response, free, compatibility, complexity"),
    ],
)
def test_a_formula_that_cannot_be_used_names_the_field(params: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Formula.of(params)
