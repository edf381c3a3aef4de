"""Why a task is where it is: pure judgement. `explainer.py` gathers the facts, `explain_rules.py` has the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.dispatch.explain_facts import AHEAD_CAP, Facts
from app.dispatch.explain_rules import RULES, Blocker, at, plural
from app.dispatch.timeline import Moment, timeline
from app.tasks.models import FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class Estimate:
    """When it may start; None: nobody can tell, `basis` says why."""

    starts_in_s: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`ahead` None: it stands in no queue."""

    summary: str
    timeline: list[Moment]
    blockers: list[Blocker]
    ahead: int | None
    ahead_more: bool
    estimate: Estimate | None


def explain(facts: Facts) -> Explanation:
    """The whole answer."""
    blockers = [found for rule in RULES if (found := rule(facts)) is not None]
    ahead = facts.ahead if facts.task.claimable else None
    more = ahead is not None and ahead > AHEAD_CAP
    return Explanation(
        _summary(facts, blockers),
        timeline(facts.events),
        blockers,
        None if ahead is None else min(ahead, AHEAD_CAP),
        more,
        estimate(facts, blockers),
    )


def estimate(facts: Facts, blockers: Sequence[Blocker]) -> Estimate | None:
    """When a claimable task may start, from what the pool finished lately; None for a task in no queue.

    Tasks ahead, and this one, over the rate at which the pool's attempts ended: an agent is free once for each.
    """
    if not facts.task.claimable:
        return None
    hindering = [item for item in blockers if item.code not in _PASSING]
    if hindering:
        until = hindering[0].until
        when = "nobody knows when it ends" if until is None else f"it lasts until {at(until)} at least"
        return Estimate(None, f"no estimate: {hindering[0].code}, and {when}.")
    if not blockers:
        return Estimate(0.0, "A slot is free, and nothing is before it.")
    ahead = min(facts.ahead or 0, AHEAD_CAP)
    queue = f"{ahead}{'+' if (facts.ahead or 0) > AHEAD_CAP else ''} {'task' if ahead == 1 else 'tasks'} ahead"
    lately = f"the last {_span(facts.done_s)}"
    if facts.done == 0:
        return Estimate(None, f"{queue}; no estimate: this pool finished nothing in {lately}.")
    seconds = (ahead + 1) * facts.done_s / facts.done
    basis = f"{queue}; this pool finished {plural(facts.done, 'attempt')} in {lately}."
    return Estimate(round(seconds, 3), basis)


def _summary(facts: Facts, blockers: Sequence[Blocker]) -> str:
    task = facts.task
    if task.status in FINAL_STATUSES:
        when = f" at {at(task.finished_at)}" if task.finished_at else ""
        why = " – ".join(filter(None, (task.error_code, task.error_message)))
        return f"The task {_ENDED[task.status]}{when}{f': {why}' if why else ''}"
    if task.status == "running":
        since = f" since {at(task.attempt_started_at)}" if task.attempt_started_at else ""
        return f"Agent {task.agent_id} works on it{since} (try {task.attempt} of {task.max_attempts})."
    if blockers:
        return blockers[0].message
    return "Nothing keeps it from starting; it is about to be claimed."


_PASSING = ("agents_full", "behind_others", "pinned_agent_busy", "emergency_cap")
"""What ends as tasks do."""

_ENDED = {
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "was cancelled",
    "expired": "expired",
}


def _span(seconds: float) -> str:
    minutes = timedelta(seconds=seconds) / timedelta(minutes=1)
    return f"{minutes:g} minutes" if minutes >= 2 else f"{seconds:.3g} s"
