"""Whether a history keeps the promises of a durable queue. Pure: `check(history)` names every breach.

The events of a task are replayed through its life (`MOVES`); what the rows say must be what the events tell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from app.tasks.models import FINAL_STATUSES
from tests.chaos.history import Attempt, Event, History, Task


class Violation(NamedTuple):
    """`rule` is stable; `task` is empty where it is about no single task."""

    rule: str
    task: str
    detail: str


FIRST = {"task.queued": "queued", "task.held": "held"}
MOVES: dict[str, tuple[frozenset[str], str | None]] = {
    "task.running": (frozenset({"queued"}), "running"),
    "task.progress": (frozenset({"running"}), None),
    "task.step": (frozenset({"running"}), None),
    "task.retrying": (frozenset({"running"}), "queued"),
    "task.returned": (frozenset({"running"}), "queued"),
    "task.parked": (frozenset({"queued"}), None),
    "task.rescued": (frozenset({"running"}), "queued"),
    "task.stopped": (frozenset({"running"}), "queued"),
    "task.waiting": (frozenset({"running"}), "waiting"),
    "task.children": (frozenset({"waiting"}), None),
    "task.resumed": (frozenset({"waiting"}), "queued"),
    "task.released": (frozenset({"held"}), "queued"),
    "task.replayed": (frozenset({"failed"}), "queued"),
    "task.succeeded": (frozenset({"running"}), "succeeded"),
    "task.failed": (frozenset({"running"}), "failed"),
    "task.cancelled": (frozenset({"held", "queued", "running", "waiting"}), "cancelled"),
    "task.expired": (frozenset({"held", "queued"}), "expired"),
    "approval.requested": (frozenset({"held", "waiting"}), None),
    "approval.voted": (frozenset({"held", "waiting"}), None),
    "approval.decided": (frozenset({"held", "waiting"}), None),
    "approval.escalated": (frozenset({"held", "waiting"}), None),
    "approval.superseded": (frozenset({"held", "queued", "running", "waiting", *FINAL_STATUSES}), None),
}
"""Event → (the statuses it may come in, the status after it or None for the same)."""


def check(history: History) -> list[Violation]:
    """Every breach of every rule, none for a good history."""
    found: list[Violation] = []
    for rule in (_accepted, _idempotency, _strangers, _waits, _parents, _approvals, _keys):
        found += rule(history)
    for task in history.tasks:
        events, attempts = history.events_of.get(task.id, []), history.attempts_of.get(task.id, [])
        found += _numbers(task, events)
        found += _life(task, events)
        found += _fences(task, events, attempts)
        found += _successes(task, attempts)
        found += _steps(history, task, events)
    return found


def _accepted(history: History) -> Iterator[Violation]:
    for item in history.accepted:
        if item.id not in history.by_id:
            yield Violation("accepted_task_lost", item.id, "a caller was told that it is taken, and it is not there")


def _idempotency(history: History) -> Iterator[Violation]:
    counts = Counter(task.idempotency for task in history.tasks if task.idempotency is not None)
    for key, count in counts.items():
        if count > 1:
            yield Violation("idempotency_key_twice", "", f"{count} tasks have the key {key}")
    told: dict[str, set[str]] = defaultdict(set)
    for item in history.accepted:
        if item.key is not None:
            told[item.key].add(item.id)
    for name, ids in told.items():
        if len(ids) > 1:
            yield Violation("idempotency_key_twice", "", f"callers were told {sorted(ids)} for the key {name!r}")


def _strangers(history: History) -> Iterator[Violation]:
    of = {"attempts": set(history.attempts_of), "events": set(history.events_of), "steps": set(history.steps_of)}
    for name, found in of.items():
        for task in found - history.by_id.keys():
            yield Violation("row_without_task", task, f"there are {name} of a task that is not there")


def _waits(history: History) -> Iterator[Violation]:
    waits = {wait.task: wait for wait in history.waits}
    for task_id, wait in waits.items():
        task = history.by_id.get(task_id)
        if task is None or task.status != "waiting":
            yield Violation("wait_of_no_waiting_task", task_id, f"{wait}; the task is {task and task.status}")
    for task in history.tasks:
        if task.status != "waiting":
            continue
        if task.id not in waits:
            yield Violation("waiting_for_nothing", task.id, "the task waits and there is no row of what for")
            continue
        asked = [event for event in history.events_of.get(task.id, []) if event.type == "task.waiting"]
        if not asked or asked[-1].data.get("step") != waits[task.id].step:
            yield Violation("wait_of_another_step", task.id, f"{waits[task.id]}; told: {asked[-1:]}")


def _parents(history: History) -> Iterator[Violation]:
    for task in history.tasks:
        parent = history.by_id.get(task.parent) if task.parent is not None else None
        if task.parent is not None and parent is None:
            yield Violation("child_without_parent", task.id, f"its parent {task.parent} is not there")
        elif parent is not None and parent.status in FINAL_STATUSES and task.status not in FINAL_STATUSES:
            yield Violation("child_outlives_parent", task.id, f"it is {task.status}, its parent is {parent.status}")


def _approvals(history: History) -> Iterator[Violation]:
    pending = [item for item in history.approvals if item.status == "pending"]
    for item in pending:
        task = history.by_id.get(item.task)
        held_up = "held" if item.kind == "start" else "waiting"
        if task is None or task.status != held_up:
            yield Violation("question_about_nothing", item.task, f"{item}; the task is {task and task.status}")
    asked = {item.task for item in pending}
    waits = {wait.task for wait in history.waits if wait.reason == "approval"}
    waits |= {task.id for task in history.tasks if task.status == "held"}
    for task_id in waits - asked:
        yield Violation("nobody_is_asked", task_id, "the task waits for an approval that is not pending")


def _keys(history: History) -> Iterator[Violation]:
    """No more attempts at once under a concurrency key than its pool allows."""
    spans: dict[tuple[str, str, str], list[Attempt]] = defaultdict(list)
    for task in history.tasks:
        if task.key is not None and task.pool in history.limits:
            spans[task.tenant, task.pool, task.key] += history.attempts_of.get(task.id, [])
    for key, attempts in spans.items():
        most = _most_at_once(attempts)
        if most > history.limits[key[1]]:
            yield Violation("key_over_its_limit", "", f"{most} at once under {key}; {history.limits[key[1]]} may be")


def _most_at_once(attempts: Sequence[Attempt]) -> int:
    ends = [(item.finished_at, -1) for item in attempts]
    running = most = 0
    for _, change in sorted([*ends, *((item.started_at, 1) for item in attempts)]):
        running += change
        most = max(most, running)
    return most


def _numbers(task: Task, events: Sequence[Event]) -> Iterator[Violation]:
    seqs = [event.seq for event in events]
    if seqs != list(range(1, len(seqs) + 1)):
        yield Violation("events_not_gapless", task.id, f"{seqs}")
    if task.event_seq != (seqs[-1] if seqs else 0):
        yield Violation("events_not_counted", task.id, f"the task counts {task.event_seq}, the last is {seqs[-1:]}")


def _life(task: Task, events: Sequence[Event]) -> Iterator[Violation]:
    status = ""
    for event in events:
        before = status
        if not before:
            status = FIRST.get(event.type, "?")
            fits = status != "?"
        else:
            allowed, after = MOVES.get(event.type, (frozenset(), None))
            fits, status = before in allowed, after or before
        if not fits:
            rule = "event_after_final" if before in FINAL_STATUSES else "impossible_event"
            yield Violation(rule, task.id, f"{event.seq}: {event.type} of a task that is {before or 'new'}")
    if status != task.status:
        yield Violation("status_disagrees", task.id, f"the task is {task.status}, its events end with {status!r}")


def _fences(task: Task, events: Sequence[Event], attempts: Sequence[Attempt]) -> Iterator[Violation]:
    runs = {event.data["fence"]: event.data["attempt"] for event in events if event.type == "task.running"}
    told = [event.data["fence"] for event in events if event.type == "task.running"]
    if any(later <= earlier for earlier, later in pairwise(told)):
        yield Violation("fences_do_not_increase", task.id, f"{told}")
    if task.fence != max(told, default=0):
        yield Violation("fence_disagrees", task.id, f"the task has {task.fence}, its events {told}")
    ended = [item.fence for item in attempts]
    current = {task.fence} if task.status == "running" else set()
    if sorted(set(told) - current) != ended:
        yield Violation("attempts_disagree", task.id, f"started {told}, ended {ended}")
    for item in attempts:
        if runs.get(item.fence, item.attempt) != item.attempt:
            yield Violation("attempts_disagree", task.id, f"{item} started as attempt {runs[item.fence]}")
    for earlier, later in pairwise(attempts):
        if later.started_at < earlier.finished_at:
            yield Violation("attempts_overlap", task.id, f"{later} began before {earlier} had ended")


def _successes(task: Task, attempts: Sequence[Attempt]) -> Iterator[Violation]:
    good = [item.fence for item in attempts if item.outcome == "succeeded"]
    if len(good) > 1:
        yield Violation("two_successes", task.id, f"fences {good}")
    if (task.status == "succeeded") != bool(good):
        yield Violation("success_disagrees", task.id, f"the task is {task.status}, successful fences {good}")


def _steps(history: History, task: Task, events: Sequence[Event]) -> Iterator[Violation]:
    """Steps of the time since the task was last replayed: those before may have been forgotten."""
    replays = [event.seq for event in events if event.type == "task.replayed"]
    names: Counter[str] = Counter()
    places: set[tuple[str, int]] = set()
    for event in events:
        if event.type in ("task.step", "task.resumed"):
            name = event.data["name" if event.type == "task.step" else "step"]
            places.add((name, event.seq))
            names[name] += event.seq > max(replays, default=0)
    for name, count in names.items():
        if count > 1:
            yield Violation("step_twice", task.id, f"{count} events tell of the step {name!r}")
    stored = {(step.name, step.ordinal) for step in history.steps_of.get(task.id, [])}
    for name, ordinal in stored - places:
        yield Violation("step_without_event", task.id, f"{name!r} at {ordinal}")
    for name in {name for name, count in names.items() if count} - {name for name, _ in stored}:
        yield Violation("step_lost", task.id, f"the events tell of {name!r}, which is not stored")
