"""What may be wanted at all: the calendar, the provider, money, the platform, the pool's min and max. Pure.

Where these contradict each other, the earlier of this list wins: `max` and the platform's quota, `min`, the budget, the
floor of the calendar or of an answer to an alert, the provider's limit. Only `max` and the quota may ask for less than
what runs needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.scaling.draft import Case, Draft
from app.scaling.floors import floor
from app.scaling.wording import number

MINUTE_S = 60.0
HUGE = 1e9


@dataclass(frozen=True, slots=True)
class Bound:
    """A number of replicas, the code of the rule that sets it, and the rule in words."""

    replicas: int
    code: str
    words: str


@dataclass(frozen=True, slots=True)
class Room:
    """`lower` ≤ replicas ≤ `upper`. `least` is what holds at any step: `min` and the work, without the calendar."""

    lower: Bound
    least: Bound
    upper: Bound


def room(case: Case) -> Room:
    policy = case.policy
    most = Bound(policy.max, "max", f"max is {policy.max}")
    if case.demand.quota is not None and case.demand.quota < most.replicas:
        quota = max(0, case.demand.quota)
        most = Bound(quota, "quota", f"the platform has room for {quota}")
    least = Bound(policy.min, "min", f"min is {policy.min}")
    if case.kept_replicas > least.replicas:
        least = Bound(case.kept_replicas, "running", case.kept_words)
    upper = min(most, _budget(case, least), key=lambda bound: bound.replicas)
    calendar = floor(policy.schedule, case.now)
    lower = least
    if calendar > least.replicas:
        lower = Bound(calendar, "schedule", f"the schedule asks for {calendar} now")
    if case.demand.raised > lower.replicas:
        lower = Bound(case.demand.raised, "raised", f"the answer to an alert asks for {case.demand.raised} for a while")
    return Room(_at_most(lower, upper), _at_most(least, upper), upper)


def within(case: Case, draft: Draft, allowed: Room) -> Draft:
    """Into the bounds of this moment."""
    draft = draft.noting(lower=allowed.lower.replicas, upper=allowed.upper.replicas)
    return _clamp(draft, allowed.lower, allowed.upper)


def at_last(case: Case, draft: Draft, allowed: Room) -> Draft:
    """Whatever was held back or cut into steps: `min`, `max`, quota, budget and what runs have the last word."""
    return _clamp(draft, allowed.least, allowed.upper)


def provider_limit(case: Case, draft: Draft) -> Draft:
    """More slots than the provider's rate keeps busy cannot help.

    By Little's law a rate of X tasks a second keeps X·S slots busy; X is what is allowed a minute / 60 / what a task
    uses.
    """
    rate, words = _provider_rate(case)
    if rate is None or not case.demand.service_s:
        return draft
    slots = min(HUGE, rate * case.demand.service_s)
    useful = max(1, case.replicas_for(slots), case.kept_replicas)
    why = f"the provider's {words} keep {number(slots)} slots busy: more replicas cannot help"
    return draft.noting(provider_slots=slots).to(min(draft.replicas, useful), "provider_limit", why)


def _provider_rate(case: Case) -> tuple[float | None, str]:
    """(tasks a second, which limit says so), None where none does."""
    limits = [
        (case.policy.tokens_per_min, case.demand.tokens_per_task, "tokens/min"),
        (case.policy.requests_per_min, case.demand.requests_per_task, "requests/min"),
    ]
    rates = [
        (allowed / MINUTE_S / used, f"{number(allowed)} {unit} at {number(used)} a task")
        for allowed, used, unit in limits
        if allowed is not None and used > 0.0
    ]
    return min(rates, default=(None, ""))


def _budget(case: Case, least: Bound) -> Bound:
    price, purse = case.policy.replica_usd_per_hour, case.policy.max_usd_per_hour
    if not price or purse is None:
        return Bound(case.policy.max, "max", f"max is {case.policy.max}")
    paid = int(min(HUGE, purse / price + 1e-9))
    words = f"{number(purse)} USD/h pay for {paid} at {number(price)} each"
    return Bound(max(paid, least.replicas), "budget", words)


def _clamp(draft: Draft, lower: Bound, upper: Bound) -> Draft:
    draft = draft.to(max(draft.replicas, lower.replicas), lower.code, lower.words)
    return draft.to(min(draft.replicas, upper.replicas), upper.code, upper.words)


def _at_most(bound: Bound, upper: Bound) -> Bound:
    return bound if bound.replicas <= upper.replicas else upper
