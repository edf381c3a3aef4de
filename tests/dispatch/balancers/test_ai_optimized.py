"""ai_optimized: each term of the score by hand, what is learned, and which agent wins."""

from __future__ import annotations

import math
import random

import pytest

from app.dispatch.balancers.ai_optimized import AiOptimized, Record, Terms, complexity_fitness, score
from app.dispatch.balancers.base import AgentView, Outcome, TaskView

from .offers import DONE, TASK, agent, choices, idle

FAILED = Outcome(ok=False, seconds=0.001)


def record(*results: Outcome) -> Record:
    learned = Record()
    for result in results:
        learned.add(result)
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
    got = score(task, view, learned)
    assert got == pytest.approx(terms)
    assert got.total == pytest.approx(sum(terms))


def test_the_success_rate_is_of_the_last_hundred() -> None:
    learned = record(*[FAILED] * 50, *[DONE] * 50)
    assert learned.success_rate == 0.5
    for forgotten in range(1, 51):
        learned.add(DONE)
        assert learned.success_rate == pytest.approx((50 + forgotten) / 100)
    learned.add(FAILED)
    assert learned.success_rate == 0.99


def test_response_time_is_a_moving_average_of_answers() -> None:
    learned = record(ok(10.0))
    assert learned.response_s == 10.0
    learned.add(ok(0.0))
    assert learned.response_s == pytest.approx(9.0)
    learned.add(ok(19.0))
    assert learned.response_s == pytest.approx(10.0)
    learned.add(FAILED)
    assert learned.response_s == pytest.approx(10.0)


def test_failing_fast_is_not_answering_fast() -> None:
    assert record(FAILED).response_s == math.inf
    assert record(FAILED, ok(3.0)).response_s == 3.0


def learned_by(balancer: AiOptimized, agent_id: str, *results: Outcome) -> None:
    balancer.joined(agent_id, 0.0)
    for result in results:
        balancer.finished(agent_id, TASK, result, 0.0)


def test_an_uncounted_outcome_teaches_nothing() -> None:
    balancer = AiOptimized(random.Random(1))
    learned_by(balancer, "a", Outcome(ok=False, seconds=9.0, counted=False))
    assert balancer.scores(TASK, idle("a"))["a"] == score(TASK, agent("a"), Record())


def test_scores_explain_the_choice_and_change_nothing() -> None:
    balancer = AiOptimized(random.Random(1))
    learned_by(balancer, "slow", ok(5.0))
    learned_by(balancer, "quick", ok(0.5))
    offer = idle(["slow", "quick"])
    terms = balancer.scores(TASK, offer)
    assert terms == balancer.scores(TASK, offer)
    assert terms["quick"].response == pytest.approx(0.25 / 1.5)
    assert balancer.choose(TASK, offer, 0.0) == max(terms, key=lambda name: terms[name].total) == "quick"


def test_a_new_agent_is_tried_before_a_proven_equal() -> None:
    balancer = AiOptimized(random.Random(1))
    learned_by(balancer, "proven", ok(1.0))
    assert balancer.choose(TASK, idle(["proven", "new"]), 0.0) == "new"


def test_an_agent_that_fails_at_once_does_not_draw_the_tasks_to_itself() -> None:
    balancer = AiOptimized(random.Random(1))
    learned_by(balancer, "healthy", *[ok(30.0)] * 10)
    learned_by(balancer, "broken", *[FAILED] * 10)
    offer = [agent("healthy", in_flight=3), agent("broken")]
    assert balancer.choose(TASK, offer, 0.0) == "healthy"


def test_equals_are_picked_from_at_random() -> None:
    assert set(choices(AiOptimized(random.Random(1)), idle("abc"), 60)) == set("abc")


def test_an_agent_that_left_and_returns_is_new() -> None:
    balancer = AiOptimized(random.Random(1))
    learned_by(balancer, "a", FAILED)
    balancer.left("a", 0.0)
    balancer.finished("a", TASK, FAILED, 0.0)
    assert balancer.scores(TASK, idle("a"))["a"].success == pytest.approx(0.30)
