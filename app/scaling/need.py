"""How many replicas the load asks for, by policy. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from app.scaling.draft import Case, Draft
from app.scaling.erlang import slots_for, wait_tail
from app.scaling.wording import counted, number, percent, seconds

MOST_LOAD = 1e8
"""Busy slots; beyond these nobody's numbers are right, and arithmetic would take long."""
LEAST_S = 0.001
"""Tasks take no less time, to reckon with."""
BLIND_STEP = 4
"""Replicas to try at first, while nothing is known of how long a task takes."""


def queue_wait(case: Case) -> Draft:
    """The fewest slots with P(wait > T) ≤ p by Erlang's C, and a drain term for the backlog."""
    if not case.demand.service_s:
        return _unknown_service(case)
    service_s = max(LEAST_S, case.demand.service_s)
    load = _load(case.demand.arrivals_per_s, service_s)
    erlang = _slots(case, load)
    backlog, to_come = _backlog(case, service_s, erlang - load)
    drain = _drain(case, service_s, backlog, to_come, erlang)
    needed = min(float(erlang + drain), _in_sight(case, service_s))
    draft = Draft(case.replicas_for(needed), "queue_wait", _load_words(case, load, erlang, backlog, drain))
    return draft.noting(
        offered_load=load,
        erlang_slots=erlang,
        wait_share=wait_tail(erlang, load, service_s, case.policy.wait_s, case.demand.service_cv),
        to_come=to_come,
        backlog=backlog,
        drain_slots=drain,
        slots_needed=needed,
    )


def utilization(case: Case) -> Draft:
    """Above `high` of the slots busy: so many more that they would be at `high`, at least one; below `low`: so few that
    they would be half way between. Starting replicas count as capacity, hence what is `ready` grows, not `desired`."""
    demand, policy = case.demand, case.policy
    slots = demand.ready * demand.slots
    if slots == 0:
        words = f"{demand.queued} queued, {demand.running} running, no replica ready"
        return Draft(demand.desired if case.work else 0, "utilization", words)
    busy = demand.running / slots
    draft = Draft(demand.desired, "utilization", f"{demand.running} of {slots} slots busy, {percent(busy)}")
    draft = draft.noting(busy_share=busy)
    if busy > policy.high or (busy >= 1.0 and demand.queued):
        grown = max(demand.ready + 1, case.replicas_for(demand.running / policy.high))
        return draft.to(max(demand.desired, grown), "utilization", f"above {percent(policy.high)} it grows")
    if busy < policy.low:
        fewer = case.replicas_for(2.0 * demand.running / (policy.low + policy.high))
        return draft.to(min(demand.desired, fewer), "utilization", f"below {percent(policy.low)} it shrinks")
    return draft


NEEDS: Mapping[str, Callable[[Case], Draft]] = {"queue_wait": queue_wait, "utilization": utilization}


def at_least_the_work(case: Case, draft: Draft) -> Draft:
    """What runs keeps its slots, and work always has a replica: from none at all at once."""
    draft = draft.noting(load_replicas=draft.replicas, running_replicas=case.running_replicas)
    draft = draft.to(max(draft.replicas, case.kept_replicas), "running", case.kept_words)
    if case.work and case.demand.desired == 0:
        return draft.saying("first_task", "work came to an empty pool")
    return draft


def forecast(case: Case, draft: Draft) -> Draft:
    """What is expected once a replica started now is ready may only raise what the load asks for."""
    expected, service_s = case.demand.forecast_per_s, case.demand.service_s
    if not case.policy.forecast or not expected or not service_s:
        return draft
    slots = _slots(case, _load(expected, max(LEAST_S, service_s)))
    replicas = max(draft.replicas, case.replicas_for(slots))
    why = f"{number(expected)} tasks/s are expected as on earlier days, which need {counted(slots, 'slot')}"
    return draft.to(replicas, "forecast", why).noting(forecast_slots=slots)


def _load(arrivals_per_s: float, service_s: float) -> float:
    """a = λ·S, the mean number of busy slots (Little's law)."""
    return min(MOST_LOAD, arrivals_per_s * service_s)


def _slots(case: Case, load: float) -> int:
    service_s = max(LEAST_S, case.demand.service_s or 0.0)
    return slots_for(load, service_s, case.policy.wait_s, case.policy.wait_share, case.demand.service_cv)


def _backlog(case: Case, service_s: float, spare: float) -> tuple[float, float]:
    """(tasks queued beyond what is taken without more slots, tasks that starting slots will have taken of these).

    A free slot takes one in a moment. `spare` slots, those of the Erlang number that the arrivals leave free, work off
    their part within `drain_s`. A starting slot would have taken one at once and a further one each S for as long as
    the oldest waits.
    """
    demand = case.demand
    free = max(0, demand.ready * demand.slots - demand.running)
    starting = max(0, demand.desired - demand.ready) * demand.slots
    backlog = max(0.0, demand.queued - free - spare * case.policy.drain_s / service_s)
    return backlog, min(backlog, starting * (1.0 + demand.oldest_s / service_s))


def _drain(case: Case, service_s: float, backlog: float, to_come: float, erlang: int) -> float:
    """Q·S/T: with so many slots more, Q tasks have gone through after T = `drain_s`. Tasks that take longer than T
    cannot, and then a slot for each is all that helps.

    What starting slots will take calls for no more of them, so that replicas which never become ready are not followed
    by ever more; nor does it call for fewer than there are.
    """
    each = min(1.0, service_s / case.policy.drain_s)
    present = case.demand.desired * case.demand.slots - erlang
    return max((backlog - to_come) * each, min(backlog * each, present))


def _in_sight(case: Case, service_s: float) -> float:
    """Slots that could be busy before it is looked again: a slot for each task that is here, and for as many more as
    came in the last minute. A surge that just began is not yet believed to last for as long as its tasks take; what
    is usual is."""
    demand = case.demand
    if demand.usual_per_s is None:
        return math.inf
    return max(_slots(case, _load(demand.usual_per_s, service_s)), case.work + demand.came_lately)


def _load_words(case: Case, load: float, erlang: int, backlog: float, drain: float) -> str:
    demand, policy = case.demand, case.policy
    if load == 0.0 and not case.work:
        return "nothing comes and nothing runs"
    words = f"{number(demand.arrivals_per_s)} tasks/s × {seconds(demand.service_s)} = {number(load)} busy slots; "
    words += f"{erlang} keep P(wait > {seconds(policy.wait_s)}) ≤ {percent(policy.wait_share)}"
    if drain > 0.0:
        words += f", {math.ceil(drain)} more work off {math.ceil(backlog)} of {demand.queued} queued"
    return words if demand.slots == 1 else f"{words} ({demand.slots} a replica)"


def _unknown_service(case: Case) -> Draft:
    """Nobody knows how long a task takes: each may need a slot, yet not all replicas at once on a guess."""
    demand = case.demand
    words = f"{demand.queued} queued, {demand.running} running, and no attempt yet tells how long one takes"
    draft = Draft(case.replicas_for(case.work), "queue_wait", words).noting(slots_needed=case.work)
    step = max(BLIND_STEP, 2 * demand.ready, demand.desired)
    return draft.to(min(draft.replicas, step), "queue_wait", f"{counted(step, 'replica')} to begin with")
