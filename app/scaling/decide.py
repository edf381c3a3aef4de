"""How many replicas a pool needs. Pure: `(policy, demand, history, now) → decision`.

What the load asks for (`need`) is bounded by what can help and what is allowed (`bounds`), and held steady
(`steadiness`). Up at once, down slowly, and not at all on numbers that are missing, old or impossible.
"""

from __future__ import annotations

import math

from app.scaling import bounds, steadiness
from app.scaling.decision import STALE_S, Decision, Demand, History
from app.scaling.draft import Case, Draft
from app.scaling.floors import floor
from app.scaling.need import NEEDS, at_least_the_work, forecast
from app.scaling.policy import ScalePolicy
from app.scaling.wording import seconds

__all__ = ["STALE_S", "Decision", "Demand", "History", "decide"]

MOST_REPLICAS = 1_000_000
"""A recommendation beyond these is some number gone wrong."""


def decide(policy: ScalePolicy, demand: Demand | None, history: History, now: float) -> Decision:
    """How many replicas are wanted from `now` on (seconds since the epoch); `history` is that of the last decision."""
    blind = _blind(demand, now)
    if demand is None or blind:
        return _frozen(policy, demand, history, now, blind)
    case = Case(policy, demand, history, now)
    if policy.policy == "manual":
        return _manual(case)
    return _judged(case)


def _judged(case: Case) -> Decision:
    draft = NEEDS[case.policy.policy](case)
    draft = at_least_the_work(case, draft)
    draft = forecast(case, draft)
    wanted = min(draft.replicas, MOST_REPLICAS)
    draft = bounds.provider_limit(case, draft)
    history = steadiness.remember(case, min(draft.replicas, MOST_REPLICAS))
    allowed = bounds.room(case)
    draft = bounds.within(case, draft, allowed)
    draft = steadiness.tolerance(case, draft, allowed)
    draft = steadiness.down_window(case, draft, history, allowed)
    draft = steadiness.idle(case, draft, history, allowed)
    draft = steadiness.steps(case, draft)
    draft = bounds.at_last(case, draft, allowed)
    return Decision(draft.replicas, wanted, draft.code, _reason(case, draft), draft.workings, history)


def _blind(demand: Demand | None, now: float) -> str:
    """Why nothing can be told from these numbers; empty where it can."""
    if demand is None:
        return "nothing could be measured"
    measured = {
        "at": demand.at,
        "arrivals_per_s": demand.arrivals_per_s,
        "service_s": demand.service_s,
        "service_cv": demand.service_cv,
        "oldest_s": demand.oldest_s,
        "queued": demand.queued,
        "running": demand.running,
        "ready": demand.ready,
        "desired": demand.desired,
        "tokens_per_task": demand.tokens_per_task,
        "requests_per_task": demand.requests_per_task,
        "forecast_per_s": demand.forecast_per_s,
    }
    for name, value in measured.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"{name} was measured as {value}"
    if demand.slots < 1:
        return f"a replica has {demand.slots} slots"
    if abs(now - demand.at) > STALE_S:
        return f"the numbers are {seconds(abs(now - demand.at))} {'old' if now > demand.at else 'ahead of the clock'}"
    return ""


def _frozen(policy: ScalePolicy, demand: Demand | None, history: History, now: float, why: str) -> Decision:
    """No judgement: the present number stays, but for the bounds and the calendar, which need no measuring."""
    present = demand.desired if demand else max((count for _, count in history.recommended), default=0)
    if policy.policy == "manual":
        return Decision(present, present, "frozen", f"stays as it is: {why}", {}, history)
    raised = demand.raised if demand else 0
    desired = min(max(present, policy.min, floor(policy.schedule, now), raised), policy.max)
    stays = f"stays at {present}" if desired == present else f"{present} → {desired} by its bounds"
    return Decision(desired, present, "frozen", f"{stays}: {why}, and nothing shrinks blindly", {}, history)


def _manual(case: Case) -> Decision:
    present = case.demand.desired
    words = f"stays at {present}: this pool is scaled by hand"
    return Decision(present, present, "manual", words, {}, steadiness.remember(case, present))


def _reason(case: Case, draft: Draft) -> str:
    before, after = case.demand.desired, draft.replicas
    change = f"stays at {after}" if before == after else f"{before} → {after}"
    return f"{change}: " + "; ".join(words for words in (draft.load, draft.but) if words)
