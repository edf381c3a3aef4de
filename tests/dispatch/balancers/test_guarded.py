"""The guard: what is counted, what is reported, and where the task goes instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.dispatch.balancers.base import AgentView, Offer, TaskView
from app.dispatch.balancers.guarded import Guarded, NotOfferedError
from app.dispatch.balancers.passive import Passive

from .offers import DONE, TASK, agent, idle, offer

OFFER = offer(agent("busy", in_flight=3), agent("free"), agent("half", in_flight=2))


class Answering(Passive):
    """Answers with what `answer` returns for the offer."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer

    def choose(self, task: TaskView, offer: Offer, now: float) -> Any:
        return self._answer(offer)


def fail(_: object) -> str:
    raise LookupError("no idea")


def guarded(answer: Callable[[Any], Any]) -> tuple[Guarded, list[tuple[str, Exception | None]]]:
    reported: list[tuple[str, Exception | None]] = []
    guard = Guarded(Answering(answer), on_error=lambda reason, error: reported.append((reason, error)))
    return guard, reported


@pytest.mark.parametrize("answer", ["half", None])
def test_a_good_answer_passes(answer: str | None) -> None:
    guard, reported = guarded(lambda _: answer)
    assert guard.choose(TASK, OFFER, 0.0) == answer
    assert (guard.errors, reported) == (0, [])


@pytest.mark.parametrize(
    ("answer", "reason", "error"),
    [
        (fail, "choose_raised", LookupError),
        (lambda offer: offer.clear(), "choose_raised", AttributeError),
        (lambda _: "stranger", "unknown_agent", NotOfferedError),
        (lambda _: 42, "unknown_agent", NotOfferedError),
        (lambda offer: next(iter(offer)), "unknown_agent", NotOfferedError),
        (lambda _: "x" * 10_000, "unknown_agent", NotOfferedError),
    ],
)
def test_a_bad_answer_is_counted_and_the_least_loaded_chosen(
    answer: Callable[[Any], Any], reason: str, error: type[Exception]
) -> None:
    guard, reported = guarded(answer)
    assert [guard.choose(TASK, OFFER, 0.0) for _ in range(3)] == ["free"] * 3
    assert guard.errors == 3
    assert [(got, type(raised)) for got, raised in reported] == [(reason, error)] * 3
    assert len(str(reported[0][1])) < 300


def test_an_empty_offer_keeps_the_task_waiting() -> None:
    guard, reported = guarded(fail)
    assert guard.choose(TASK, offer(), 0.0) is None
    assert reported == []


def test_notifications_reach_the_balancer_and_their_failures_are_counted() -> None:
    calls: list[tuple[str, str]] = []

    class Recording(Answering):
        def joined(self, agent: AgentView, now: float) -> None:
            calls.append(("joined", agent.id))

        def started(self, agent_id: str, task: TaskView, now: float) -> None:
            calls.append(("started", agent_id))

        def finished(self, *_: object) -> None:
            raise RuntimeError("full")

        def left(self, agent_id: str, now: float) -> None:
            calls.append(("left", agent_id))

    reported: list[str] = []
    guard = Guarded(Recording(fail), on_error=lambda reason, _: reported.append(reason))
    guard.joined(agent("a"), 0.0)
    guard.started("a", TASK, 0.0)
    guard.finished("a", TASK, DONE, 0.0)
    guard.left("a", 0.0)
    assert calls == [("joined", "a"), ("started", "a"), ("left", "a")]
    assert (reported, guard.errors) == (["notify_raised"], 1)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (offer(agent("large", in_flight=2, slots=8), agent("small", in_flight=1, slots=2)), "large"),
        (idle("cab"), "a"),
        (offer(agent("none", slots=0), agent("busy", in_flight=1)), "none"),
    ],
)
def test_the_least_loaded_is_by_share_then_by_id(offered: Offer, chosen: str) -> None:
    guard, _ = guarded(fail)
    assert guard.choose(TASK, offered, 0.0) == chosen


def test_of_many_agents_some_are_compared() -> None:
    guard, _ = guarded(fail)
    busy = [agent(f"a{n}", in_flight=n % 3) for n in range(1_000)]
    chosen = {guard.choose(TASK, offer(*busy), 0.0) for _ in range(20)}
    assert len(chosen) > 5
    assert {int(str(name)[1:]) % 3 for name in chosen} == {0}
