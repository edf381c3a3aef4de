"""The checker finds what it is there to find: a good history has no violation, each broken one exactly its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.checker import MOVES, check
from tests.chaos.history import Accepted, Approval, Attempt, Event, History, Step, Task, Wait

START = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def run(fence: int, attempt: int = 1) -> tuple[str, dict[str, Any]]:
    return "task.running", {"fence": fence, "attempt": attempt}


def events(task: str, *told: str | tuple[str, dict[str, Any]]) -> list[Event]:
    """Events numbered from 1."""
    pairs = [(item, {}) if isinstance(item, str) else item for item in told]
    return [Event(task, seq, kind, data) for seq, (kind, data) in enumerate(pairs, 1)]


def ended(task: str, fence: int, outcome: str, second: float, attempt: int = 1) -> Attempt:
    return Attempt(task, fence, attempt, outcome, outcome == "succeeded", at(second), at(second + 1))


def good() -> History:
    """A task that was rescued, waited and was called again; its child; one that waits; one held; one retried."""
    parent = events(
        "parent",
        "task.queued",
        run(1),
        ("task.step", {"name": "one"}),
        "task.rescued",
        run(2),
        ("task.waiting", {"step": "call", "reason": "call"}),
        ("task.resumed", {"step": "call"}),
        run(3),
        "task.succeeded",
    )
    child = events("child", "task.queued", run(1), "task.succeeded")
    waiting = events(
        "waiting", "task.queued", run(1), ("task.waiting", {"step": "ask"}), ("approval.requested", {"step": "ask"})
    )
    held = events("held", "task.held", "approval.requested")
    again = events(
        "again",
        "task.queued",
        run(1),
        ("task.step", {"name": "one"}),
        "task.failed",
        "task.replayed",
        run(2),
        ("task.step", {"name": "one"}),
        "task.cancelled",
    )
    return History(
        tasks=[
            Task("parent", "succeeded", 3, 9, key="k", idempotency=("default", "a")),
            Task("child", "succeeded", 1, 3, parent="parent", key="k"),
            Task("waiting", "waiting", 1, 4),
            Task("held", "held", 0, 2),
            Task("again", "cancelled", 2, 8),
        ],
        attempts=[
            ended("parent", 1, "lost", 0),
            ended("parent", 2, "suspended", 2),
            ended("child", 1, "succeeded", 4),
            ended("parent", 3, "succeeded", 6),
            ended("waiting", 1, "suspended", 0),
            ended("again", 1, "failed", 0),
            ended("again", 2, "cancelled", 1),
        ],
        events=[*parent, *child, *waiting, *held, *again],
        steps=[Step("parent", "one", 3), Step("parent", "call", 7), Step("again", "one", 7)],
        waits=[Wait("waiting", "ask", "approval")],
        approvals=[Approval("1", "waiting", "action", "ask", "pending"), Approval("2", "held", "start", "", "pending")],
        accepted=[Accepted("parent", "a"), Accepted("parent", "a"), Accepted("held")],
        limits={"work": 1},
    )


def task_of(history: History, name: str, **fields: Any) -> None:
    history.tasks = [replace(item, **fields) if item.id == name else item for item in history.tasks]


def tell(history: History, name: str, seq: int, kind: str, **data: Any) -> None:
    """Put another event in the place of one, or add it."""
    kept = [item for item in history.events if (item.task, item.seq) != (name, seq)]
    history.events = [*kept, Event(name, seq, kind, data)]


def later_event(history: History) -> None:
    tell(history, "child", 4, "task.progress")
    task_of(history, "child", event_seq=4)


def second_success(history: History) -> None:
    history.attempts[0] = replace(history.attempts[0], outcome="succeeded")


def gap(history: History) -> None:
    history.events = [item for item in history.events if (item.task, item.seq) != ("again", 3)]
    history.steps = [item for item in history.steps if item.task != "again"]
    tell(history, "again", 7, "task.progress")


def lower_fence(history: History) -> None:
    tell(history, "parent", 5, "task.running", fence=3, attempt=1)
    tell(history, "parent", 8, "task.running", fence=2, attempt=1)


def same_step(history: History) -> None:
    history.events += events("twice", "task.queued", run(1), ("task.step", {"name": "s"}), ("task.step", {"name": "s"}))
    history.tasks.append(Task("twice", "running", 1, 4))
    history.steps.append(Step("twice", "s", 3))


def open_child(history: History) -> None:
    task_of(history, "child", status="queued", fence=0, event_seq=1)
    history.events = [item for item in history.events if item.task != "child" or item.seq == 1]
    history.attempts = [item for item in history.attempts if item.task != "child"]


def no_wait(history: History) -> None:
    history.waits.clear()


BROKEN: list[tuple[str, Callable[[History], object]]] = [
    ("accepted_task_lost", lambda h: h.accepted.append(Accepted("gone"))),
    ("idempotency_key_twice", lambda h: h.accepted.append(Accepted("child", "a"))),
    ("idempotency_key_twice", lambda h: task_of(h, "child", idempotency=("default", "a"))),
    ("row_without_task", lambda h: h.steps.append(Step("gone", "one", 1))),
    ("row_without_task", lambda h: h.attempts.append(ended("gone", 1, "lost", 0))),
    ("wait_of_no_waiting_task", lambda h: h.waits.append(Wait("child", "x", "timer"))),
    ("waiting_for_nothing", no_wait),
    ("wait_of_another_step", lambda h: h.waits.__setitem__(0, Wait("waiting", "other", "approval"))),
    ("child_without_parent", lambda h: task_of(h, "child", parent="gone")),
    ("child_outlives_parent", open_child),
    ("question_about_nothing", lambda h: h.approvals.append(Approval("3", "child", "action", "x", "pending"))),
    ("question_about_nothing", lambda h: h.approvals.append(Approval("3", "waiting", "start", "", "pending"))),
    ("nobody_is_asked", lambda h: h.approvals.pop()),
    ("nobody_is_asked", lambda h: h.approvals.pop(0)),
    ("key_over_its_limit", lambda h: h.attempts.__setitem__(2, ended("child", 1, "succeeded", 2.5))),
    ("events_not_gapless", gap),
    ("events_not_counted", lambda h: task_of(h, "held", event_seq=3)),
    ("event_after_final", later_event),
    ("impossible_event", lambda h: tell(h, "parent", 7, "task.returned")),
    ("impossible_event", lambda h: tell(h, "held", 1, "task.running", fence=1, attempt=1)),
    ("impossible_event", lambda h: tell(h, "held", 2, "task.dreamt")),
    ("status_disagrees", lambda h: task_of(h, "again", status="expired")),
    ("fences_do_not_increase", lower_fence),
    ("fence_disagrees", lambda h: task_of(h, "again", fence=4)),
    ("attempts_disagree", lambda h: h.attempts.append(ended("again", 3, "lost", 9))),
    ("attempts_disagree", lambda h: h.attempts.pop()),
    ("attempts_disagree", lambda h: h.attempts.__setitem__(0, ended("parent", 1, "lost", 0, attempt=2))),
    ("attempts_overlap", lambda h: h.attempts.__setitem__(1, ended("parent", 2, "suspended", 0.5))),
    ("two_successes", second_success),
    ("success_disagrees", lambda h: h.attempts.__setitem__(2, ended("child", 1, "failed", 4))),
    ("step_twice", same_step),
    ("step_without_event", lambda h: h.steps.append(Step("parent", "other", 3))),
    ("step_lost", lambda h: h.steps.pop(1)),
]


def test_a_good_history_keeps_every_promise() -> None:
    assert check(good()) == []


@pytest.mark.parametrize(("rule", "breaks"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_each_breach_is_found(rule: str, breaks: Callable[[History], object]) -> None:
    history = good()
    breaks(history)
    found = check(history)
    assert rule in {item.rule for item in found}, found


def test_every_move_is_known_by_an_event_of_the_catalog() -> None:
    from app.events.catalog import TYPES

    of_tasks = {name for name in TYPES if not name.startswith("budget.")}
    assert of_tasks <= MOVES.keys() | {"task.queued", "task.held"}
