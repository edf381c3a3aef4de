"""The rules: each names one thing that keeps a task from going on, or answers None.

A rule looks only at tasks of its status; of the rules about agents one speaks for all agents of the pool together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from app.dispatch.explain_facts import AHEAD_CAP, ApprovalFacts, Facts
from app.limits.restraints import Restraint
from app.tasks.models import FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that keeps the task from going on: a stable code and one sentence."""

    code: str
    message: str
    until: datetime | None = None
    ids: tuple[str, ...] = ()
    by: str | None = None


def held(facts: Facts) -> Blocker | None:
    """Not started until people agree."""
    if facts.task.status != "held":
        return None
    if not facts.approvals:
        return Blocker("held", "The task is held and no approval of it is pending: it is being released or ended.")
    asking = _asking("held_for_approval", "It starts when", facts.approvals[0])
    why = facts.approvals[0].risk  # of a start it is what makes people be asked: a budget, say
    return replace(asking, message=f"{asking.message} {why}") if why else asking


def waiting_approval(facts: Facts) -> Blocker | None:
    if facts.wait is None or facts.task.status != "waiting" or facts.wait.reason != "approval":
        return None
    if not facts.approvals:
        return Blocker("waiting_approval", f"Step {facts.wait.step!r} was decided; the task is about to go on.")
    return _asking("waiting_approval", f"Step {facts.wait.step!r} goes on when", facts.approvals[0])


def _asking(code: str, begins: str, asked: ApprovalFacts) -> Blocker:
    who = f"callers with {asked.scope}" + (f" in {' or '.join(asked.groups)}" if asked.groups else "")
    votes = f", {asked.votes} of {asked.quorum} have" if asked.quorum > 1 else ""
    until = "it never expires" if asked.expires_at is None else f"until {at(asked.expires_at)}"
    message = f"{begins} {asked.action!r} is approved by {who}{votes} ({until})."
    return Blocker(code, message, asked.expires_at, (str(asked.id),))


def waiting_call(facts: Facts) -> Blocker | None:
    if facts.wait is None or facts.task.status != "waiting" or facts.wait.reason != "call":
        return None
    open_ = [task for task, status in facts.children.items() if status not in FINAL_STATUSES]
    counts = Counter(facts.children.values())
    states = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    message = f"Step {facts.wait.step!r} waits for {plural(len(open_), 'sub-task')} ({states})."
    if not open_:
        message = f"All sub-tasks of step {facts.wait.step!r} have ended ({states}); the task is about to go on."
    return Blocker("waiting_call", message, ids=tuple(map(str, open_)))


def waiting_event(facts: Facts) -> Blocker | None:
    wait = facts.wait
    if wait is None or facts.task.status != "waiting" or wait.reason != "event":
        return None
    matching = f" with {wait.event_match}" if wait.event_match not in (None, "{}") else ""
    until = "for ever" if wait.due_at is None else f"until {at(wait.due_at)}"
    return Blocker(
        "waiting_event", f"Step {wait.step!r} waits for {wait.event_name!r}{matching}, {until}.", wait.due_at
    )


def waiting_timer(facts: Facts) -> Blocker | None:
    wait = facts.wait
    if wait is None or facts.task.status != "waiting" or wait.reason != "timer":
        return None
    until = "its end" if wait.due_at is None else at(wait.due_at)
    return Blocker("waiting_timer", f"Step {wait.step!r} sleeps until {until}.", wait.due_at)


def stopped(facts: Facts) -> Blocker | None:
    """A stop of its tenant or pool, before everything else that might hold it."""
    if facts.task.status not in ("queued", "held", "waiting") or not facts.stops:
        return None
    first = facts.stops[0]
    more = f" ({len(facts.stops) - 1} more stops stand)" if len(facts.stops) > 1 else ""
    message = f"Stopped by {first.by} since {at(first.since)} ({first.selects}): {first.reason}{more}"
    return Blocker("stopped", message, ids=tuple(str(stop.id) for stop in facts.stops), by=first.by)


def emergency(facts: Facts) -> Blocker | None:
    """A pause of its pool, emergency mode that it is too unimportant for, or the cap of that."""
    hold = facts.hold
    if hold is None or not facts.task.claimable:
        return None
    shed = hold.sheds(facts.task.priority)
    if hold.paused:
        by = next(item for item in hold.restraints if item.max_running == 0)
        return _held_back("pool_paused" if by.kind == "pause" else "emergency_mode", "Nothing starts", by)
    if shed is not None:
        begins = (
            f"Emergency mode starts nothing below priority {shed.min_priority}, and this has {facts.task.priority},"
        )
        return _held_back("emergency_mode", begins, shed)
    return None


def emergency_cap(facts: Facts) -> Blocker | None:
    """As many run as emergency mode lets run at once."""
    hold = facts.hold
    if hold is None or not hold.capped or hold.paused or not facts.task.claimable:
        return None
    working = [agent for agent in facts.agents if agent.state(facts.now) in ("free", "full")]
    cap = hold.cap(sum(agent.slots for agent in working))
    running = sum(agent.running for agent in facts.agents)
    if not working or running < cap:
        return None
    by = next(item for item in hold.restraints if item.max_running is not None or item.max_share is not None)
    return _held_back("emergency_cap", f"{running} run, and emergency mode lets {cap} run at once", by)


def _held_back(code: str, begins: str, by: Restraint) -> Blocker:
    of = "all pools" if by.pool is None else f"pool {by.pool!r}"
    message = f"{begins} until {at(by.expires_at)} at the latest ({of}, by {by.created_by}): {by.reason}"
    return Blocker(code, message, by.expires_at, (str(by.id),), by.created_by)


def run_at(facts: Facts) -> Blocker | None:
    task = facts.task
    due = _due(facts)
    if due is None or task.parked or task.run_at is None or task.fence > 0 or due < task.run_at:
        return None
    return Blocker("run_at", f"It was asked to start no earlier than {at(due)}.", due)


def budget(facts: Facts) -> Blocker | None:
    """A budget has no room for it: which, of whom, how much, until when."""
    of = facts.budget
    if of is None or not facts.task.parked:
        return None
    if of.reason == "throttled":
        message = f"The budget {of.name!r} ({of.scope}) lets its tasks start one after the other by now."
        return Blocker("budget_throttled", message, facts.task.wake_at)
    needs = "more than is left" if of.needed is None else f"{of.needed} {of.unit}"
    until = "it is raised or spending is booked back" if of.until is None else f"{at(of.until)}, or until it is raised"
    message = (
        f"The budget {of.name!r} ({of.scope}) has no room: {of.spent} of {of.limit} {of.unit} are spent, {of.reserved} "
        f"reserved, and the task is expected to take {needs}. It waits until {until}."
    )
    return Blocker("budget_exhausted", message, of.until)


def retry_backoff(facts: Facts) -> Blocker | None:
    due = _due(facts)
    if due is None or facts.task.parked or run_at(facts) is not None:
        return None
    task = facts.task
    tries = f"{task.attempt} of {task.max_attempts} tries are used"
    return Blocker("retry_backoff", f"It is tried again at {at(due)}; {tries}.", due)


def _due(facts: Facts) -> datetime | None:
    """The time before which it may not be claimed; None: there is none."""
    task = facts.task
    if task.status != "queued" or task.gated or task.wake_at is None or task.wake_at <= facts.now:
        return None
    return task.wake_at


def concurrency_key(facts: Facts) -> Blocker | None:
    task, key = facts.task, facts.key
    if not task.gated:
        return None
    if key is None or key.limit is None or key.held < key.limit:
        return Blocker("concurrency_key", f"It is about to be admitted under the key {task.concurrency_key!r}.")
    message = (
        f"{plural(key.held, 'task')} with the key {task.concurrency_key!r} may run or run now; "
        f"the limit of the {key.of} is {key.limit}."
    )
    return Blocker("concurrency_key", message, ids=tuple(map(str, key.holders)))


def pinned_agent(facts: Facts) -> Blocker | None:
    """Only one agent may run it, and that one cannot."""
    pinned = facts.task.pinned_agent_id
    if not facts.task.claimable or pinned is None:
        return None
    agent = next((agent for agent in facts.agents if agent.id == pinned), None)
    if agent is None:
        return Blocker(
            "pinned_agent_gone", f"Only agent {pinned} may run it, and it is gone; cancel it.", ids=(str(pinned),)
        )
    state = agent.state(facts.now)
    if state == "free":
        return None
    code = "pinned_agent_busy" if state == "full" else "pinned_agent_unavailable"
    until = agent.ejected_until if state == "ejected" else None
    message = f"Only agent {pinned} may run it, and that one is {_WORDS.get(state, state)}."
    return Blocker(code, message, until, (str(pinned),))


def no_agent(facts: Facts) -> Blocker | None:
    if not facts.task.claimable or facts.task.pinned_agent_id is not None or facts.agents:
        return None
    return Blocker("no_agent", f"No agent is registered in {facts.task.pool!r}.")


def agents(facts: Facts) -> Blocker | None:
    """None of the pool's agents can take it: named after what is nearest to an end, full before ejected before dead."""
    if not facts.task.claimable or facts.task.pinned_agent_id is not None or not facts.agents:
        return None
    states = [agent.state(facts.now) for agent in facts.agents]
    if "free" in states:
        return None
    worst = next(state for state in _BY_HOPE if state in states)
    until = min((agent.ejected_until for agent in facts.agents if agent.ejected_until), default=None)
    counts = Counter(states)
    listed = ", ".join(f"{counts[state]} {_WORDS.get(state, state)}" for state in _BY_HOPE if state in counts)
    message = f"None of the {len(states)} agents of {facts.task.pool!r} can take a task now: {listed}."
    if len(states) == 1:
        message = f"The only agent of {facts.task.pool!r} is {_WORDS.get(worst, worst)}."
    stop = facts.agent_stops[0] if "stopped" in counts and facts.agent_stops else None
    if stop is not None:
        message += f" Stopped by {stop.by} since {at(stop.since)} ({stop.selects}): {stop.reason}"
    ids = tuple(str(item.id) for item in facts.agent_stops) if stop is not None else ()
    by = None if stop is None else stop.by
    return Blocker(f"agents_{worst}", message, until if worst == "ejected" else None, ids, by)


def behind(facts: Facts) -> Blocker | None:
    if not facts.task.claimable or not facts.ahead:
        return None
    count = f"{AHEAD_CAP}+" if facts.ahead > AHEAD_CAP else str(facts.ahead)
    verb = "task is" if facts.ahead == 1 else "tasks are"
    return Blocker("behind_others", f"{count} {verb} before it in the queue.")


type Rule = Callable[[Facts], Blocker | None]

RULES: tuple[Rule, ...] = (
    stopped,
    held,
    waiting_approval,
    waiting_call,
    waiting_event,
    waiting_timer,
    emergency,
    run_at,
    budget,
    retry_backoff,
    concurrency_key,
    pinned_agent,
    no_agent,
    agents,
    emergency_cap,
    behind,
)

_WORDS = {"maintenance": "in maintenance", "paused": "left alone for a moment after it refused a call"}
_BY_HOPE = ("full", "paused", "ejected", "starting", "stopped", "draining", "maintenance", "failed")


def at(time: datetime) -> str:
    """A moment in a sentence."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def plural(count: int, noun: str) -> str:
    """So many of something."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
