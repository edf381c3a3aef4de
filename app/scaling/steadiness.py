"""What keeps a pool from going up and down with every breath. Pure."""

from __future__ import annotations

from app.scaling.bounds import Room
from app.scaling.decision import STALE_S, History
from app.scaling.draft import Case, Draft
from app.scaling.wording import number, percent, seconds

MERGE_S = 5.0
WINDOW_PARTS = 60


def remember(case: Case, recommended: int) -> History:
    """The history with this recommendation in it.

    Where nothing is known of the window (a new pool, or nobody decided for long), the present number counts as
    recommended: it is not taken back before somebody has looked for a whole window. Only what can still be the highest
    of some later window is kept, and one entry for each 5 s or sixtieth of the window: about sixty at most.
    """
    policy, now = case.policy, case.now
    seen = [(min(at, now), count) for at, count in case.history.recommended]
    if not seen or now - seen[-1][0] > policy.down_window_s + STALE_S:
        seen = [(now, case.demand.desired)]
    entries = [(at, count) for at, count in seen if at > now - policy.down_window_s]
    width = max(MERGE_S, policy.down_window_s / WINDOW_PARTS)
    kept: list[tuple[float, int]] = []
    for at, count in [*entries, (now, recommended)]:
        highest = count
        while kept and (kept[-1][1] <= highest or kept[-1][0] // width == at // width):
            highest = max(highest, kept.pop()[1])
        kept.append((at, highest))
    return History(tuple(kept), _busy_at(case))


def tolerance(case: Case, draft: Draft, allowed: Room) -> Draft:
    """A small change is not made, unless a bound asks for it, work would have no slot, or the queue would only grow."""
    desired = case.demand.desired
    small = abs(draft.replicas - desired) < case.policy.tolerance * desired
    flooded = draft.replicas > desired and desired * case.demand.slots <= draft.workings.get("offered_load", 0.0)
    if not small or flooded or not allowed.lower.replicas <= desired <= allowed.upper.replicas:
        return draft
    return draft.to(desired, "tolerance", f"the change is less than {percent(case.policy.tolerance)}")


def down_window(case: Case, draft: Draft, recent: History, allowed: Room) -> Draft:
    """Down only to the highest recommendation of the window, as far as the bounds allow."""
    desired = case.demand.desired
    highest = max((count for at, count in recent.recommended if at > case.now - case.policy.down_window_s), default=0)
    held = max(draft.replicas, min(highest, desired, allowed.upper.replicas))
    draft = draft.noting(window_max=highest)
    if draft.replicas >= desired:
        return draft
    return draft.to(held, "down_window", f"{highest} were needed within the last {seconds(case.policy.down_window_s)}")


def idle(case: Case, draft: Draft, recent: History, allowed: Room) -> Draft:
    """To zero where there was no work for `idle_s`, and only there.

    That time is the last replica's down window: the rate of arrivals, averaged over minutes, would keep it for longer.
    But where so many come that one is to be expected within the idle time, it is not worth the cold start.
    """
    if draft.replicas > 1 or case.demand.desired == 0 or allowed.lower.replicas > 0:
        return draft
    quiet_s = case.now - (case.now if recent.busy_at is None else recent.busy_at)
    draft = draft.noting(idle_s=quiet_s)
    expected = case.demand.arrivals_per_s * case.policy.idle_s
    if expected >= 1.0 and not case.work:
        return draft.to(
            1, "not_idle_yet", f"{number(expected)} tasks are to be expected in {seconds(case.policy.idle_s)}"
        )
    if not case.work and quiet_s >= case.policy.idle_s:
        return draft.to(0, "idle", f"no work for {seconds(quiet_s)}").saying("idle", f"no work for {seconds(quiet_s)}")
    why = f"idle for {seconds(quiet_s)}, and to zero only after {seconds(case.policy.idle_s)}"
    return draft.to(1, "not_idle_yet", why)


def steps(case: Case, draft: Draft) -> Draft:
    """At most `max_up` more or `max_down` fewer by one decision."""
    desired, policy = case.demand.desired, case.policy
    if policy.max_up is not None:
        up = desired + policy.max_up
        draft = draft.to(min(draft.replicas, up), "max_up", f"at most {policy.max_up} more at a time")
    if policy.max_down is not None:
        down = desired - policy.max_down
        draft = draft.to(max(draft.replicas, down), "max_down", f"at most {policy.max_down} fewer at a time")
    return draft


def _busy_at(case: Case) -> float:
    """Now where there is work. What came and went between two looks is for the caller to note in the history."""
    if case.work or case.history.busy_at is None:
        return case.now
    return min(case.history.busy_at, case.now)
